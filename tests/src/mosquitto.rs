//! A real MQTT broker, mosquitto, and its own clients, which know nothing of ours.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::find;
use crate::ports::Port;
use crate::process::{Process, Signal};
use crate::tls::{Certificates, Flaw};
use crate::wait::SOON;

/// The user and the password of a broker that asks for them.
pub const USER: (&str, &str) = ("hal", "open-the-pod-bay-doors");

/// How a broker behaves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Sessions and retained messages are there after a restart.
    pub persistent: bool,
    /// It lets in [`USER`] alone.
    pub asks: bool,
    /// TLS alone is spoken.
    pub tls: bool,
    /// It lets in clients with a certificate alone; needs `tls`.
    pub verifies: bool,
}

/// A running broker; killed when dropped.
#[derive(Debug)]
pub struct Mosquitto {
    // The first field, so that the process ends before its folder is removed.
    process: Process,
    dir: TempDir,
    port: Port,
    options: Options,
    certificates: Certificates,
}

impl Mosquitto {
    /// A broker on a port of its own.
    pub async fn start(options: Options) -> Mosquitto {
        let (dir, port) = (TempDir::new().expect("a folder for mosquitto"), Port::free());
        let certificates = Certificates::create(dir.path(), Flaw::None);
        let at = |name: &str| dir.path().join(name).display().to_string();
        // Started by root it would become another user, who may not read these files.
        let mut text = format!(
            "user root\nlistener {} 127.0.0.1\nlog_dest stderr\nmax_queued_messages 0\nsys_interval 1\n\
             persistence {}\npersistence_location {}/\nallow_anonymous {}\nmessage_size_limit 0\n",
            port.number(),
            options.persistent,
            dir.path().display(),
            !options.asks
        );
        if options.asks {
            let (user, password) = USER;
            let mut made = Command::new(find::theirs("mosquitto_passwd"));
            let made = made.args(["-c", "-b", &at("users"), user, password]).status();
            assert!(made.expect("mosquitto_passwd runs").success());
            text += &format!("password_file {}\n", at("users"));
        }
        if options.tls {
            let (cert, key) = (certificates.cert.display(), certificates.key.display());
            text += &format!("certfile {cert}\nkeyfile {key}\n");
            if options.verifies {
                text += &format!("cafile {}\nrequire_certificate true\n", certificates.ca.display());
            }
        }
        std::fs::write(dir.path().join("mosquitto.conf"), text).expect("mosquitto.conf");
        let process = spawn(&dir);
        let mut broker = Mosquitto { process, dir, port, options, certificates };
        broker.ready().await;
        broker
    }

    /// The address for clients.
    pub fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    /// The address as our configuration has it.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.options.tls { "mqtts" } else { "mqtt" }, self.addr())
    }

    /// The certificates: `ca` signed the broker's.
    pub fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// Ends it in order, and waits until it is gone.
    pub async fn stop(&mut self) {
        self.process.signal(Signal::TERM);
        self.process.ended(SOON).await;
    }

    /// Starts it again on the same port.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.process = spawn(&self.dir);
        self.ready().await;
    }

    /// All its output so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Publishes at QoS 1 and waits for the acknowledgement. `more` are arguments of `mosquitto_pub`, such as `-r`.
    pub fn publish(&self, topic: &str, payload: &[u8], more: &[&str]) {
        let mut command = self.client("mosquitto_pub");
        self.written(command.args(["-q", "1", "-t", topic, "-s"]).args(more), payload);
    }

    /// Publishes each line as a message of its own.
    pub fn publish_lines(&self, topic: &str, lines: &str) {
        let mut command = self.client("mosquitto_pub");
        self.written(command.args(["-q", "1", "-t", topic, "-l"]), lines.as_bytes());
    }

    fn written(&self, command: &mut Command, input: &[u8]) {
        let mut child = command.stdin(Stdio::piped()).spawn().expect("mosquitto_pub starts");
        child.stdin.take().expect("a pipe").write_all(input).expect("it reads");
        assert!(child.wait().expect("it ends").success(), "{command:?}\n{}", self.log());
    }

    /// The retained messages that a client which comes now gets, with their topics.
    pub fn retained(&self, filter: &str) -> Vec<(String, String)> {
        let mut command = self.client("mosquitto_sub");
        command.args(["-q", "1", "-t", filter, "--retained-only", "-W", "1", "-F", "%t\n%p"]);
        let output = command.output().expect("mosquitto_sub runs");
        let text = String::from_utf8(output.stdout).expect("it is UTF-8");
        let lines: Vec<&str> = text.lines().collect();
        lines.chunks(2).map(|pair| (pair[0].to_owned(), pair[1..].concat())).collect()
    }

    /// Hears a topic until it is dropped; the lines are topic and payload with a blank between.
    pub fn hear(&self, filter: &str) -> Process {
        let mut command = self.client("mosquitto_sub");
        command.args(["-q", "1", "-v", "-t", filter]);
        Process::start("mosquitto_sub", &mut command, &self.dir.path().join("heard"))
    }

    fn client(&self, name: &str) -> Command {
        let mut command = Command::new(find::theirs(name));
        command.args(["-h", "127.0.0.1", "-p", &self.port.number().to_string()]);
        if self.options.asks {
            command.args(["-u", USER.0, "-P", USER.1]);
        }
        if self.options.tls {
            command.arg("--cafile").arg(&self.certificates.ca);
        }
        if self.options.verifies {
            let Certificates { client_cert, client_key, .. } = &self.certificates;
            command.arg("--cert").arg(client_cert).arg("--key").arg(client_key);
        }
        command
    }

    async fn ready(&mut self) {
        let addr = self.port.addr();
        self.process.ready("it takes connections", async || TcpStream::connect(addr).await.is_ok()).await;
    }
}

fn spawn(dir: &TempDir) -> Process {
    let mut command = Command::new(find::theirs("mosquitto"));
    command.arg("-c").arg(dir.path().join("mosquitto.conf"));
    Process::start("mosquitto", &mut command, &dir.path().join("log"))
}
