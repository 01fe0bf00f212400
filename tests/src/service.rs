//! Our own programs: guards for relay and bridge, and commands of `tellhal`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::find;
use crate::http::get;
use crate::ports::Port;
use crate::process::{Process, Signal};
use crate::users;

/// A command of `tellhal` without this machine's configuration: it connects to `url` and spools to `home/spool`.
pub fn tellhal(url: &str, home: &Path) -> Command {
    let mut command = Command::new(find::ours("tellhal"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("HOME", home).env("TELLHAL_URL", url).env("TELLHAL_SPOOL", home.join("spool"));
    command
}

/// The same with the credentials of a `handler` or a `listener`, unless the address has a login; without either, it is a host.
pub fn tellhal_as(kind: &str, url: &str, home: &Path) -> Command {
    let mut command = tellhal(url, home);
    if !url.contains('@') {
        // Not in the environment, which programs that it runs inherit: those are a host's.
        command.arg("--config").arg(users::config(kind));
    }
    command
}

/// A service with a configuration file and an HTTP address.
#[derive(Debug)]
struct Service {
    // The first field, so that the process ends before its folder is removed.
    process: Process,
    binary: &'static str,
    dir: TempDir,
    http: Port,
}

impl Service {
    /// Starts `binary` without waiting for it.
    fn spawn(binary: &'static str, http: Port, configuration: &str) -> Service {
        let dir = TempDir::new().expect("a folder for the service");
        std::fs::write(dir.path().join("config.toml"), configuration).expect("config.toml");
        let process = run(binary, dir.path());
        Service { binary, dir, http, process }
    }

    async fn ready(&mut self) {
        let addr = self.http.addr();
        self.process
            .ready("/readyz answers 200", async || matches!(get(addr, "/readyz").await, Ok((200, _))))
            .await;
    }

    fn respawn(&mut self) {
        self.process.kill();
        self.process = run(self.binary, self.dir.path());
    }

    async fn restart(&mut self) {
        self.respawn();
        self.ready().await;
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(find::ours(self.binary));
        command.args(arguments).arg("--config").arg(self.config_path());
        command
    }

    fn config_path(&self) -> PathBuf {
        self.dir.path().join("config.toml")
    }
}

fn run(binary: &'static str, dir: &Path) -> Process {
    let mut command = Command::new(find::ours(binary));
    command.arg("run").arg("--config").arg(dir.join("config.toml"));
    command.env("STATE_DIRECTORY", dir.join("state")).env("TELLHAL_SPOOL", dir.join("spool"));
    std::fs::create_dir_all(dir.join("state")).expect("a state folder");
    Process::start(binary, &mut command, &dir.join("log"))
}

/// The methods of both services.
macro_rules! service {
    ($name:ident) => {
        impl $name {
            /// The address of its health, its metrics and (for the relay) its page.
            pub fn http(&self) -> SocketAddr {
                self.0.http.addr()
            }

            /// Status and body of one of its pages.
            pub async fn get(&self, path: &str) -> (u16, String) {
                get(self.http(), path).await.unwrap_or_else(|error| panic!("GET {path}: {error}"))
            }

            /// Waits until `/readyz` answers 200.
            pub async fn ready(&mut self) {
                self.0.ready().await;
            }

            /// The process, to stop (SIGSTOP), resume, kill or terminate.
            pub fn process(&mut self) -> &mut Process {
                &mut self.0.process
            }

            /// Kills it (-9) and waits until it is gone.
            pub fn kill(&mut self) {
                self.0.process.kill();
            }

            /// The same without waiting.
            pub fn respawn(&mut self) {
                self.0.respawn();
            }

            /// Starts it again with the same files; kills it first if it still runs. Waits for `/readyz`.
            pub async fn restart(&mut self) {
                self.0.restart().await;
            }

            /// All its output so far.
            pub fn log(&self) -> String {
                self.0.process.log()
            }

            /// Its folder: `config.toml`, `log`, `state`, `spool`.
            pub fn dir(&self) -> &Path {
                self.0.dir.path()
            }

            /// Another command of the same program on the same configuration: `["explain", "backup"]`.
            pub fn command(&self, arguments: &[&str]) -> Command {
                self.0.command(arguments)
            }
        }
    };
}

/// A running `hal-relay`; killed when dropped.
#[derive(Debug)]
pub struct Relay(Service);
service!(Relay);

impl Relay {
    /// Starts a relay and waits until it is ready. `configuration` has everything but `[nats]` and `[page]`.
    pub async fn start(nats_url: &str, configuration: &str) -> Relay {
        let mut relay = Relay::spawn(nats_url, configuration);
        relay.ready().await;
        relay
    }

    /// Starts it without waiting, for a server that is not there yet.
    pub fn spawn(nats_url: &str, configuration: &str) -> Relay {
        let http = Port::free();
        let text = full(configuration, nats_url, "page", &http);
        Relay(Service::spawn("hal-relay", http, &text))
    }

    /// Writes a new configuration (again without `[nats]` and `[page]`) and tells the relay to read it.
    pub fn reload(&mut self, nats_url: &str, configuration: &str) {
        let text = full(configuration, nats_url, "page", &self.0.http);
        std::fs::write(self.0.config_path(), text).expect("config.toml");
        self.0.process.signal(Signal::HUP);
    }
}

/// A running `hal-bridge`; killed when dropped.
#[derive(Debug)]
pub struct Bridge(Service);
service!(Bridge);

impl Bridge {
    /// Starts a bridge and waits until it is ready. `configuration` has everything but `[nats]` and `[http]`.
    pub async fn start(nats_url: &str, configuration: &str) -> Bridge {
        let mut bridge = Bridge::spawn(nats_url, configuration);
        bridge.ready().await;
        bridge
    }

    /// Starts it without waiting, for a server that is not there yet.
    pub fn spawn(nats_url: &str, configuration: &str) -> Bridge {
        let http = Port::free();
        let text = full(configuration, nats_url, "http", &http);
        Bridge(Service::spawn("hal-bridge", http, &text))
    }

    /// The public key that it signs its requests with.
    pub fn key(&self) -> String {
        let mut command = self.command(&["key"]);
        command.env("STATE_DIRECTORY", self.dir().join("state"));
        let output = command.output().expect("hal-bridge starts");
        String::from_utf8(output.stdout).expect("a key").trim().to_owned()
    }

    /// Writes a new configuration (again without `[nats]` and `[http]`) and tells the bridge to read it.
    pub fn reload(&mut self, nats_url: &str, configuration: &str) {
        let text = full(configuration, nats_url, "http", &self.0.http);
        std::fs::write(self.0.config_path(), text).expect("config.toml");
        self.0.process.signal(Signal::HUP);
    }
}

/// Adds the harness' tables at the end, since top-level keys must precede all tables. A `[nats]` table of the test
/// (credentials, TLS) stays unchanged; a `[page]` or `[http]` table of the test gets the key `listen`. An address without a login
/// gets the service's key.
fn full(configuration: &str, nats_url: &str, listen_table: &str, http: &Port) -> String {
    let (head, listen) =
        (format!("[{listen_table}]"), format!("[{listen_table}]\nlisten = \"{}\"\n", http.addr()));
    let mut text = match configuration.contains(&head) {
        true => configuration.replace(&head, &listen),
        false => format!("{configuration}\n{listen}"),
    };
    let has = |table: &str| configuration.lines().any(|line| line.trim() == table);
    let mut connection = |table: &str, key: &str| {
        text += &format!("\n[{table}]\nurl = \"{nats_url}\"\n");
        if !nats_url.contains('@') {
            text += &format!("nkey_file = {:?}\n", users::key(key));
        }
    };
    let is_bridge = listen_table == "http";
    if !has("[nats]") {
        connection("nats", if is_bridge { "bridge" } else { "relay" });
        if is_bridge && !has("[handlers.nats]") && !nats_url.contains('@') {
            connection("handlers.nats", "commands");
        }
    }
    text
}
