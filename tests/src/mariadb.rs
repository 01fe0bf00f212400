//! MariaDB: a server that may replicate from another one.

use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::find;
use crate::ports::Port;
use crate::process::Process;

/// A running `mariadbd`; killed when dropped.
#[derive(Debug)]
pub struct MariaDb {
    // The first field, so that the process ends before its folder is removed.
    process: Process,
    number: u8,
    dir: TempDir,
    port: Port,
}

impl MariaDb {
    /// Starts a server with this number, which differs among those that replicate.
    pub async fn start(number: u8) -> MariaDb {
        let (dir, port) = (TempDir::new().expect("a folder for MariaDB"), Port::free());
        let data = format!("--datadir={}", dir.path().join("data").display());
        let mut install = Command::new(find::theirs("mariadb-install-db"));
        install
            .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"])
            .arg(data);
        let made = install.output().expect("mariadb-install-db starts");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
        let process = run(&dir, &port, number);
        let mut server = MariaDb { process, number, dir, port };
        server.ready().await;
        server
    }

    /// Kills it (-9).
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again.
    pub async fn restart(&mut self) {
        self.process = run(&self.dir, &self.port, self.number);
        self.ready().await;
    }

    /// Replicates from `source` from now on; its user for that is made.
    pub fn replicate_from(&self, source: &MariaDb) {
        source.query("CREATE USER r IDENTIFIED BY 'r'; GRANT REPLICATION SLAVE ON *.* TO r");
        let port = source.port.number();
        self.query(&format!(
            "CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={port}, MASTER_USER='r', MASTER_PASSWORD='r', \
             MASTER_CONNECT_RETRY=1; START SLAVE"
        ));
    }

    /// Runs a statement, and returns the client's output.
    pub fn query(&self, statement: &str) -> String {
        let output = self.client().args(["--execute", statement]).output().expect("mysql starts");
        assert!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// The client `mysql`, connected to this server.
    pub fn client(&self) -> Command {
        let mut command = Command::new(find::theirs("mysql"));
        command.args(["--no-defaults", "--user=root"]).arg(format!("--socket={}", self.socket()));
        command
    }

    /// The path of its socket.
    pub fn socket(&self) -> String {
        self.dir.path().join("socket").display().to_string()
    }

    async fn ready(&mut self) {
        let mut ping = self.client();
        ping.args(["--execute", "SELECT 1"]).stdout(Stdio::null()).stderr(Stdio::null());
        self.process.ready("it answers", async || ping.status().is_ok_and(|status| status.success())).await;
    }
}

fn run(dir: &TempDir, port: &Port, number: u8) -> Process {
    let mut command = Command::new(find::theirs("mariadbd"));
    let path = |name: &str| dir.path().join(name).display().to_string();
    command
        .args(["--no-defaults", "--bind-address=127.0.0.1", "--log-bin=log", "--innodb-buffer-pool-size=16M"])
        .args([
            format!("--datadir={}", path("data")),
            format!("--socket={}", path("socket")),
            format!("--port={}", port.number()),
            format!("--server-id={number}"),
        ]);
    if rustix::process::geteuid().is_root() {
        command.arg("--user=root");
    }
    Process::start("mariadbd", &mut command, &dir.path().join("log"))
}
