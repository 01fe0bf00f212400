//! A real PostgreSQL, whose files are in a folder of its own.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::ports::Port;
use crate::process::Process;

/// The password of the superuser `postgres`.
pub const PASSWORD: &str = "sup3r-s3cret";

/// A running server; killed when dropped.
#[derive(Debug)]
pub struct Postgres {
    // The first field, so that the process ends before its folder is removed.
    _process: Process,
    dir: TempDir,
    port: Port,
}

impl Postgres {
    /// Starts a server over plain TCP on loopback, with the database `postgres`.
    pub async fn start() -> Postgres {
        let (dir, port) = (TempDir::new().expect("a folder for the server"), Port::free());
        let data = dir.path().join("data");
        let password = dir.path().join("password");
        std::fs::write(&password, PASSWORD).expect("a password");
        let user = user();
        if let Some(user) = user {
            std::fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("permissions");
            for path in [dir.path(), &password] {
                chown(path, Some(user), None).expect("the folder is the server's");
            }
        }
        let command = |program: &str| {
            let mut command = Command::new(program_of(program));
            command.arg("-D").arg(&data).current_dir(dir.path());
            if let Some(user) = user {
                command.uid(user);
            }
            command
        };
        let mut initdb = command("initdb");
        initdb.args(["-U", "postgres", "-A", "scram-sha-256", "--no-sync", "--pwfile"]).arg(&password);
        let made = tokio::task::spawn_blocking(move || initdb.output()).await.expect("no panic");
        let made = made.expect("initdb starts");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let addr = port.addr();
        let mut server = command("postgres");
        server.args(["-F", "-h", "127.0.0.1", "-p", &addr.port().to_string(), "-k"]).arg(dir.path());
        let mut process = Process::start("postgres", &mut server, &dir.path().join("log"));
        process.ready("it listens", async || TcpStream::connect(addr).await.is_ok()).await;
        let postgres = Postgres { _process: process, dir, port };
        postgres.ready().await;
        postgres
    }

    /// It listens a moment before it answers.
    async fn ready(&self) {
        let answers = async || self.psql("SELECT 1").await.is_ok();
        crate::wait_until("PostgreSQL answers", crate::wait::SOON, answers).await;
    }

    /// The address of its database, for a user and a password.
    pub fn url(&self, user: &str, password: &str) -> String {
        format!("postgres://{user}:{password}@{}/postgres", self.port.addr())
    }

    /// Runs statements as the superuser.
    pub async fn run(&self, statements: &str) {
        self.psql(statements).await.expect("the statements run");
    }

    async fn psql(&self, statements: &str) -> Result<(), String> {
        let mut command = Command::new(program_of("psql"));
        command.arg(self.url("postgres", PASSWORD)).args(["-v", "ON_ERROR_STOP=1", "-q", "-c", statements]);
        command.current_dir(self.dir.path());
        let output = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic");
        let output = output.map_err(|error| error.to_string())?;
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }
}

/// The user of Debian's package, if we are root: the server does not run as root.
fn user() -> Option<u32> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").expect("users");
    let line = users.lines().find(|line| line.starts_with("postgres:")).expect("the user postgres");
    line.split(':').nth(2)?.parse().ok()
}

/// A program of Debian's newest PostgreSQL, which is not on the path.
fn program_of(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let programs = versions.map(|version| version.path().join("bin").join(name));
    let program = programs.filter(|program: &PathBuf| Path::is_file(program)).max();
    program.unwrap_or_else(|| panic!("{name} is not installed: run `tests/run --tools` once"))
}
