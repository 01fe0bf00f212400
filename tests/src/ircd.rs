//! Real IRC servers: ngIRCd (plain, optionally TLS) and InspIRCd (message tags, account-tag, echo-message, msgid).

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::find;
use crate::ports::Port;
use crate::process::Process;
use crate::tls::Certificates;

/// A running ngIRCd; killed when dropped.
#[derive(Debug)]
pub struct Ngircd {
    // The first field, so that the process ends before its folder is removed.
    process: Process,
    dir: TempDir,
    port: Port,
    tls_port: Option<Port>,
}

impl Ngircd {
    /// A plain server.
    pub async fn start() -> Ngircd {
        Ngircd::with(None).await
    }

    /// A server that also speaks TLS on [`Ngircd::tls_addr`].
    pub async fn with_tls(certificates: &Certificates) -> Ngircd {
        Ngircd::with(Some(certificates)).await
    }

    async fn with(certificates: Option<&Certificates>) -> Ngircd {
        let dir = TempDir::new().expect("a folder for ngircd");
        let port = Port::free();
        let mut text = ngircd_conf(port.number());
        let tls_port = certificates.map(|certificates| {
            let port = Port::free();
            let (cert, key) = (certificates.cert.display(), certificates.key.display());
            text += &format!("[SSL]\nCertFile = {cert}\nKeyFile = {key}\nPorts = {}\n", port.number());
            port
        });
        std::fs::write(dir.path().join("ngircd.conf"), text).expect("ngircd.conf");
        let process = spawn_ngircd(dir.path());
        let mut server = Ngircd { dir, port, tls_port, process };
        listens(&mut server.process, server.port.addr()).await;
        server
    }

    /// The address for clients without TLS.
    pub fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    /// The address for clients with TLS.
    pub fn tls_addr(&self) -> SocketAddr {
        self.tls_port.as_ref().expect("started with certificates").addr()
    }

    /// The process, to stop (SIGSTOP), resume, kill or terminate.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Kills it (-9) and waits until it is gone.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on the same port; kills it first if it still runs.
    pub async fn restart(&mut self) {
        self.process.kill();
        self.process = spawn_ngircd(self.dir.path());
        listens(&mut self.process, self.port.addr()).await;
    }
}

fn spawn_ngircd(dir: &Path) -> Process {
    let mut command = Command::new(find::theirs("ngircd"));
    command.arg("-n").arg("-f").arg(dir.join("ngircd.conf"));
    Process::start("ngircd", &mut command, &dir.join("log"))
}

fn ngircd_conf(port: u16) -> String {
    format!(
        "[Global]\nName = irc.example.com\nInfo = tests\nListen = 127.0.0.1\nPorts = {port}\nMotdPhrase = hello\n\
         AdminInfo1 = tests\nAdminInfo2 = tests\nAdminEMail = tests@example.com\n\
         [Limits]\nMaxConnectionsIP = 0\nMaxJoins = 0\nMaxNickLength = 30\nPingTimeout = 120\nPongTimeout = 20\n\
         [Options]\nDNS = no\nIdent = no\nPAM = no\n"
    )
}

/// A running InspIRCd; killed when dropped.
#[derive(Debug)]
pub struct Inspircd {
    // The first field, so that the process ends before its folder is removed.
    process: Process,
    dir: TempDir,
    port: Port,
}

impl Inspircd {
    /// A server with the IRCv3 modules; it has no services, so there are no accounts and no SASL.
    pub async fn start() -> Inspircd {
        let dir = TempDir::new().expect("a folder for inspircd");
        let port = Port::free();
        std::fs::write(dir.path().join("inspircd.conf"), inspircd_conf(port.number(), dir.path()))
            .expect("inspircd.conf");
        let process = spawn_inspircd(dir.path());
        let mut server = Inspircd { dir, port, process };
        listens(&mut server.process, server.port.addr()).await;
        server
    }

    /// The address for clients.
    pub fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    /// The process, to stop (SIGSTOP), resume, kill or terminate.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Starts it again on the same port; kills it first if it still runs.
    pub async fn restart(&mut self) {
        self.process.kill();
        self.process = spawn_inspircd(self.dir.path());
        listens(&mut self.process, self.port.addr()).await;
    }
}

fn spawn_inspircd(dir: &Path) -> Process {
    let mut command = Command::new(find::theirs("inspircd"));
    // Without this option it refuses to run as root.
    command.args(["--runasroot", "--nofork", "--nopid"]).arg("--config").arg(dir.join("inspircd.conf"));
    Process::start("inspircd", &mut command, &dir.join("log"))
}

fn inspircd_conf(port: u16, dir: &Path) -> String {
    let modules = [
        "blockcolor",
        "cap",
        "ircv3",
        "ircv3_accounttag",
        "ircv3_batch",
        "ircv3_capnotify",
        "ircv3_ctctags",
        "ircv3_echomessage",
        "ircv3_labeledresponse",
        "ircv3_msgid",
        "ircv3_servertime",
        "services_account",
    ];
    let modules: String = modules.iter().map(|name| format!("<module name=\"{name}\">\n")).collect();
    let data = dir.display();
    format!(
        "<server name=\"irc.example.com\" description=\"tests\" network=\"Tests\" id=\"97K\">\n\
         <admin name=\"tests\" nick=\"tests\" email=\"tests@example.com\">\n\
         <bind address=\"127.0.0.1\" port=\"{port}\" type=\"clients\">\n\
         <connect allow=\"*\" timeout=\"60\" pingfreq=\"120\" localmax=\"1000\" globalmax=\"1000\" maxconnwarn=\"off\" \
         resolvehostnames=\"no\" useident=\"no\">\n\
         <path datadir=\"{data}\" logdir=\"{data}\" runtimedir=\"{data}\">\n\
         <options prefixquit=\"Quit: \">\n\
         <log method=\"file\" type=\"*\" level=\"default\" target=\"inspircd.log\">\n{modules}"
    )
}

async fn listens(process: &mut Process, addr: SocketAddr) {
    process.ready("it takes connections", async || TcpStream::connect(addr).await.is_ok()).await;
}
