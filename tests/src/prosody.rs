//! A real XMPP server, Prosody, with rooms; and an independent client, slixmpp in Python, that sends stanzas as they are
//! given to it and tells what it receives.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::find;
use crate::line_client::LineClient;
use crate::ports::Port;
use crate::process::Process;
use crate::tls::{Certificates, Flaw};
use crate::wait::{SOON, wait_until};

/// The domain of all accounts.
pub const DOMAIN: &str = "localhost";
/// A service of rooms that show everybody's real address. `alice` is an owner of each room.
pub const ROOMS: &str = "conference.localhost";
/// A service of rooms that show real addresses to their moderators only.
pub const HIDDEN: &str = "hidden.localhost";

/// A running Prosody; killed when dropped. Its rooms are gone after a restart, the accounts are not.
#[derive(Debug)]
pub struct Prosody {
    // The first field, so that the process ends before its folder is removed.
    process: Process,
    dir: TempDir,
    port: Port,
    certificates: Certificates,
}

impl Prosody {
    /// A server with these accounts at [`DOMAIN`]; the password of each is [`password`]. TLS is offered, not required.
    pub async fn start(users: &[&str]) -> Prosody {
        let dir = TempDir::new().expect("a folder for prosody");
        let port = Port::free();
        let certificates = Certificates::create(dir.path(), Flaw::None);
        std::fs::write(dir.path().join("prosody.cfg.lua"), configuration(dir.path(), &port, &certificates))
            .expect("prosody.cfg.lua");
        for user in users {
            let mut register = command("prosodyctl", dir.path());
            register.args(["register", user, DOMAIN, &password(user)]);
            let output = register.output().expect("prosodyctl runs");
            assert!(output.status.success(), "{output:?}");
        }
        let process = spawn(dir.path());
        let mut server = Prosody { process, dir, port, certificates };
        server.ready().await;
        server
    }

    /// The address for clients.
    pub fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    /// The CA of its certificate.
    pub fn ca(&self) -> &Path {
        &self.certificates.ca
    }

    /// Kills it (-9) and waits until it is gone.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on the same port; kills it first if it still runs.
    pub async fn restart(&mut self) {
        self.process.kill();
        self.process = spawn(self.dir.path());
        self.ready().await;
    }

    /// An independent client that is logged in.
    pub async fn client(&self, user: &str) -> XmppClient {
        XmppClient::start(self.addr(), user).await
    }

    async fn ready(&mut self) {
        let addr = self.port.addr();
        self.process.ready("it takes connections", async || TcpStream::connect(addr).await.is_ok()).await;
    }
}

/// The password of an account.
pub fn password(user: &str) -> String {
    format!("secret-of-{user}")
}

fn command(program: &str, dir: &Path) -> Command {
    let mut command = Command::new(find::theirs(program));
    command.arg("--config").arg(dir.join("prosody.cfg.lua"));
    command
}

fn spawn(dir: &Path) -> Process {
    let mut command = command("prosody", dir);
    command.arg("-F");
    Process::start("prosody", &mut command, &dir.join("log"))
}

fn configuration(dir: &Path, port: &Port, certificates: &Certificates) -> String {
    let (data, port) = (dir.join("data"), port.number());
    std::fs::create_dir_all(dir.join("certs")).expect("a folder for certificates");
    format!(
        "pidfile = {:?}\ndata_path = {data:?}\nrun_as_root = true\ndaemonize = false\ncertificates = {:?}\n\
         interfaces = {{ \"127.0.0.1\" }}\nc2s_ports = {{ {port} }}\nc2s_direct_tls_ports = {{}}\ns2s_ports = {{}}\n\
         http_ports = {{}}\nhttps_ports = {{}}\n\
         modules_enabled = {{ \"roster\", \"saslauth\", \"disco\", \"ping\", \"tls\" }}\n\
         modules_disabled = {{ \"s2s\", \"admin_socket\" }}\n\
         c2s_require_encryption = false\nallow_unencrypted_plain_auth = true\nauthentication = \"internal_hashed\"\n\
         storage = \"internal\"\nlog = {{ info = \"*console\" }}\nadmins = {{ \"alice@{DOMAIN}\" }}\n\
         ssl = {{ certificate = {:?}; key = {:?} }}\n\
         VirtualHost \"{DOMAIN}\"\n\
         Component \"{ROOMS}\" \"muc\"\n  modules_enabled = {{ \"muc_mam\" }}\n  muc_room_default_public_jids = true\n\
         Component \"{HIDDEN}\" \"muc\"\n  modules_enabled = {{ \"muc_mam\" }}\n  muc_room_locking = false\n",
        dir.join("pid"),
        dir.join("certs"),
        certificates.cert,
        certificates.key,
    )
}

/// A stanza that a client has received.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Received {
    /// `message` or `presence`.
    pub kind: String,
    pub from: String,
    #[serde(rename = "type")]
    pub type_: String,
    pub id: String,
    /// The message that this one corrects.
    pub replaces: String,
    pub body: String,
    /// It was said before the client came.
    pub is_old: bool,
    /// The room's statements about an occupant.
    pub codes: Vec<u16>,
}

/// A logged-in slixmpp client; killed when dropped.
#[derive(Debug)]
pub struct XmppClient(LineClient<Received>);

impl XmppClient {
    async fn start(addr: SocketAddr, user: &str) -> XmppClient {
        let mut command = Command::new(find::in_venv("xmpp", "python3"));
        command.arg(find::repository().join("tests/src/prosody.py"));
        command.args([&addr.port().to_string(), &format!("{user}@{DOMAIN}"), &password(user)]);
        let client = XmppClient(LineClient::start(command));
        client.until("it is logged in", |stanza| stanza.kind == "ready").await;
        client
    }

    /// Sends XML as it is, without line ends.
    pub fn send(&mut self, xml: &str) {
        self.0.send(xml);
    }

    /// Enters a room, and waits until it is in. The room sends what was said before.
    pub async fn join(&mut self, room: &str, nick: &str) {
        let occupant = format!("{room}/{nick}");
        self.send(&format!(
            "<presence to='{occupant}'><x xmlns='http://jabber.org/protocol/muc'/></presence>"
        ));
        self.until(&format!("{nick} enters {room}"), |stanza| {
            stanza.kind == "presence" && stanza.from == occupant && stanza.codes.contains(&110)
        })
        .await;
    }

    /// Says something in a room.
    pub fn say(&mut self, room: &str, text: &str) {
        self.send(&format!(
            "<message to='{room}' type='groupchat' id='{text}'><body>{text}</body></message>"
        ));
    }

    /// All stanzas so far.
    pub fn received(&self) -> Vec<Received> {
        self.0.received()
    }

    /// The texts said in a room so far.
    pub fn texts(&self, room: &str) -> Vec<String> {
        let said = self.received().into_iter().filter(|stanza| {
            stanza.type_ == "groupchat"
                && !stanza.body.is_empty()
                && stanza.from.starts_with(&format!("{room}/"))
        });
        said.map(|stanza| stanza.body).collect()
    }

    /// Waits for a stanza, and returns the first one.
    pub async fn until(&self, what: &str, wanted: impl Fn(&Received) -> bool) -> Received {
        wait_until(what, SOON * 2, async || self.received().iter().any(&wanted)).await;
        self.received().into_iter().find(wanted).expect("it was there")
    }
}
