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
        Inspircd::with("", "").await
    }

    /// The same with more settings for clients, and with more lines of configuration.
    async fn with(clients: &str, more: &str) -> Inspircd {
        let dir = TempDir::new().expect("a folder for inspircd");
        let port = Port::free();
        let text = inspircd_conf(port.number(), dir.path(), clients) + more;
        std::fs::write(dir.path().join("inspircd.conf"), text).expect("inspircd.conf");
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

fn inspircd_conf(port: u16, dir: &Path, clients: &str) -> String {
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
         resolvehostnames=\"no\" useident=\"no\" {clients}>\n\
         <path datadir=\"{data}\" logdir=\"{data}\" runtimedir=\"{data}\">\n\
         <options prefixquit=\"Quit: \">\n\
         <log method=\"file\" type=\"*\" level=\"default\" target=\"inspircd.log\">\n{modules}"
    )
}

/// A running InspIRCd with Anope's services: nicks can be registered, and the server vouches for accounts (SASL, account-tag).
#[derive(Debug)]
pub struct IrcNetwork {
    // The first fields, so that the processes end before the folders are removed.
    services: Process,
    server: Inspircd,
    _dir: TempDir,
}

impl IrcNetwork {
    /// A server with its services linked.
    pub async fn start() -> IrcNetwork {
        IrcNetwork::with("").await
    }

    /// The same, which takes any number of lines a second from each client.
    pub async fn without_limits() -> IrcNetwork {
        IrcNetwork::with("fakelag=\"off\" commandrate=\"100000\" threshold=\"1000\"").await
    }

    async fn with(clients: &str) -> IrcNetwork {
        let link = Port::free();
        let server = Inspircd::with(clients, &inspircd_link(link.number())).await;
        let dir = TempDir::new().expect("a folder for anope");
        let services = spawn_anope(dir.path(), link.number());
        let network = IrcNetwork { services, server, _dir: dir };
        let offers = async || crate::irc::offers(network.addr(), "sasl=").await;
        crate::wait::wait_until("the services are linked", crate::wait::SOON, offers).await;
        network
    }

    /// The address for clients.
    pub fn addr(&self) -> SocketAddr {
        self.server.addr()
    }

    /// The server's process, to stop (SIGSTOP), resume, kill or terminate.
    pub fn server(&mut self) -> &mut Process {
        self.server.process()
    }

    /// The services' process.
    pub fn services(&mut self) -> &mut Process {
        &mut self.services
    }
}

fn inspircd_link(port: u16) -> String {
    let modules = ["hidechans", "sasl", "spanningtree"];
    let modules: String = modules.iter().map(|name| format!("<module name=\"{name}\">\n")).collect();
    format!(
        "{modules}<bind address=\"127.0.0.1\" port=\"{port}\" type=\"servers\">\n\
         <sasl target=\"services.example.com\"><uline server=\"services.example.com\" silent=\"yes\">\n\
         <link name=\"services.example.com\" ipaddr=\"127.0.0.1\" port=\"{port}\" allowmask=\"127.0.0.1\" sendpass=\"lnk\" recvpass=\"lnk\">\n"
    )
}

fn spawn_anope(dir: &Path, port: u16) -> Process {
    let file = |name: &str, text: String| std::fs::write(dir.join(name), text).expect(name);
    file("services.motd", String::new());
    file("services.conf", anope_conf(port, &dir.join("db/anope.pid")));
    // As root it would wait for three seconds, to let somebody think about it.
    let is_root = rustix::process::geteuid().is_root();
    let mut command = if is_root {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(find::theirs("anope"));
        command
    } else {
        Command::new(find::theirs("anope"))
    };
    for name in ["db", "logs"] {
        std::fs::create_dir_all(dir.join(name)).expect(name);
    }
    if is_root {
        let paths = [
            dir.to_owned(),
            dir.join("db"),
            dir.join("logs"),
            dir.join("services.conf"),
            dir.join("services.motd"),
        ];
        for path in paths {
            std::os::unix::fs::chown(&path, Some(65534), Some(65534)).expect("a folder for anope");
        }
    }
    let path = |option: &str, path: &Path| format!("--{option}={}", path.display());
    command.args(["--nofork", "--modulesdir=/usr/lib/anope"]).arg(path("confdir", dir));
    command.arg(path("dbdir", &dir.join("db"))).arg(path("logdir", &dir.join("logs")));
    Process::start("anope", &mut command, &dir.join("log"))
}

fn anope_conf(port: u16, pid: &Path) -> String {
    let pid = pid.display();
    format!(
        r#"
uplink {{ host = "127.0.0.1"; port = {port}; password = "lnk" }}
serverinfo {{ name = "services.example.com"; description = "Services"; id = "00A"; pid = "{pid}"; motd = "services.motd" }}
module {{ name = "inspircd3" }}
networkinfo {{ networkname = "Tests"; nicklen = 30; userlen = 10; hostlen = 64; chanlen = 64 }}
options {{ casemap = "rfc1459"; seed = 12345; nickregdelay = 0s; passlen = 32; readtimeout = 5s; warningtimeout = 4h; retrywait = 1s; updatetimeout = 1s; expiretimeout = 30m; regexengine = "" }}
log {{ target = "services.log"; other = "*" }}
service {{ nick = "NickServ"; user = "services"; host = "services.host"; gecos = "NickServ" }}
module {{ name = "nickserv"; client = "NickServ"; forceemail = no }}
module {{ name = "ns_register"; registration = "none" }}
command {{ service = "NickServ"; name = "REGISTER"; command = "nickserv/register" }}
module {{ name = "enc_sha256" }}
module {{ name = "m_sasl" }}
module {{ name = "db_flatfile"; database = "anope.db"; keepbackups = 0; nobackupokay = yes }}
"#
    )
}

async fn listens(process: &mut Process, addr: SocketAddr) {
    process.ready("it takes connections", async || TcpStream::connect(addr).await.is_ok()).await;
}
