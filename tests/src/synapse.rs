//! A real Matrix homeserver (Synapse), and its users, who speak by plain requests that share no code with the product's.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::find;
use crate::http::{get, request_as};
use crate::line_client::LineClient;
use crate::ports::Port;
use crate::process::Process;
use crate::wait::{SOON, wait_until};

/// The largest file that it takes, in bytes: less than a message may have.
pub const LARGEST_UPLOAD: usize = 600 * 1024;
/// The server's name, the last part of user ids and aliases.
pub const SERVER_NAME: &str = "matrix.example.com";
/// It needs three seconds of processor time to start.
const START: Duration = Duration::from_secs(90);
/// Of each user's messages the server takes ten at once, and then one each five seconds: its own default.
const LIMIT: &str = "{per_second: 0.2, burst_count: 10}";

/// A running Synapse; killed when dropped.
#[derive(Debug)]
pub struct Synapse {
    // The first field, so that the process ends before its folder is removed.
    process: Process,
    _dir: TempDir,
    port: Port,
}

impl Synapse {
    /// A server without users or rooms. Its limits are those of a usual one for messages, and none for anything else.
    pub async fn start() -> Synapse {
        Synapse::limited(LIMIT).await
    }

    /// The same without limits, as an administrator sets it for a robot.
    pub async fn without_limits() -> Synapse {
        Synapse::limited("{per_second: 1000, burst_count: 1000}").await
    }

    async fn limited(messages: &str) -> Synapse {
        let dir = TempDir::new().expect("a folder for synapse");
        let port = Port::free();
        let write =
            |name: &str, text: String| std::fs::write(dir.path().join(name), text).expect("its folder");
        write("homeserver.yaml", configuration(dir.path(), port.number(), messages));
        let handler = "handlers: {out: {class: logging.StreamHandler}}";
        write("log.yaml", format!("version: 1\n{handler}\nroot: {{level: WARNING, handlers: [out]}}\n"));
        // An Ed25519 key of 32 zeros: nobody else trusts it.
        write("signing.key", format!("ed25519 a_1 {}\n", "A".repeat(43)));
        let mut command = Command::new(find::in_venv("matrix", "python3"));
        command.args(["-m", "synapse.app.homeserver", "-c"]).arg(dir.path().join("homeserver.yaml"));
        let process = Process::start("synapse", &mut command, &dir.path().join("log"));
        let mut server = Synapse { process, _dir: dir, port };
        server.wait_ready().await;
        server
    }

    /// The address for clients.
    pub fn url(&self) -> String {
        format!("http://{}", self.port.addr())
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// A new user.
    pub async fn user(&self, name: &str) -> MatrixUser {
        let body = json!({ "username": name, "password": "x", "auth": { "type": "m.login.dummy" } });
        let nobody = MatrixUser::new(self.port.addr(), "", "");
        let user = nobody.ask("POST", "register", &body).await;
        let text = |key: &str| user[key].as_str().unwrap_or_else(|| panic!("no {key} in {user}")).to_owned();
        MatrixUser::new(self.port.addr(), &text("user_id"), &text("access_token"))
    }

    async fn wait_ready(&mut self) {
        let (addr, process) = (self.port.addr(), &mut self.process);
        let healthy = async || {
            assert!(process.is_running(), "synapse ended\n{}", process.log());
            matches!(get(addr, "/health").await, Ok((200, _)))
        };
        wait_until("synapse is ready", START, healthy).await;
    }
}

fn configuration(dir: &Path, port: u16, messages: &str) -> String {
    let dir = dir.display();
    format!(
        "server_name: {SERVER_NAME}\npid_file: {dir}/pid\n\
         listeners: [{{port: {port}, bind_addresses: [\"127.0.0.1\"], tls: false, type: http, \
         resources: [{{names: [client], compress: false}}]}}]\n\
         database: {{name: sqlite3, args: {{database: {dir}/db}}}}\n\
         log_config: {dir}/log.yaml\nmedia_store_path: {dir}/media\nmax_upload_size: {LARGEST_UPLOAD}\nsigning_key_path: {dir}/signing.key\n\
         macaroon_secret_key: m\nform_secret: f\nreport_stats: false\ntrusted_key_servers: []\n\
         presence: {{enabled: false}}\nbcrypt_rounds: 4\n\
         enable_registration: true\nenable_registration_without_verification: true\n\
         rc_message: {messages}\nrc_registration: &r {{per_second: 1000, burst_count: 1000}}\n\
         rc_joins: {{local: *r, remote: *r}}\nrc_joins_per_room: *r\n\
         rc_invites: {{per_room: *r, per_user: *r, per_issuer: *r}}\n"
    )
}

/// A message that a client has received.
#[derive(Clone, Debug, Deserialize)]
pub struct Received {
    /// The user id of the one who said it.
    pub sender: String,
    /// The text, after an edit the new one.
    pub body: String,
    /// Such as `m.notice`.
    #[serde(rename = "type")]
    pub type_: String,
}

/// A matrix-nio client in one room; killed when dropped.
#[derive(Debug)]
pub struct Nio(LineClient<Received>);

impl Nio {
    /// Logs in as a user who is in the room.
    pub async fn start(user: &MatrixUser, room: &str) -> Nio {
        let mut command = Command::new(find::in_venv("matrix", "python3"));
        command.arg(find::repository().join("tests/src/matrix_client.py"));
        command.args([&format!("http://{}", user.addr), &user.id, &user.token, room]);
        let client = Nio(LineClient::start(command));
        client.until("it listens", |message| message.type_ == "ready").await;
        client
    }

    /// Says something in the room.
    pub fn say(&mut self, text: &str) {
        self.0.send(text);
    }

    /// Waits for a message of somebody else, and returns the first one.
    pub async fn until(&self, what: &str, wanted: impl Fn(&Received) -> bool) -> Received {
        wait_until(what, SOON * 2, async || self.0.received().iter().any(&wanted)).await;
        self.0.received().into_iter().find(wanted).expect("it was there")
    }
}

/// A user of a homeserver.
#[derive(Debug)]
pub struct MatrixUser {
    addr: SocketAddr,
    /// Such as `@alice:matrix.example.com`.
    pub id: String,
    /// The access token.
    pub token: String,
    transactions: AtomicU64,
}

impl MatrixUser {
    fn new(addr: SocketAddr, id: &str, token: &str) -> MatrixUser {
        MatrixUser { addr, id: id.into(), token: token.into(), transactions: AtomicU64::new(0) }
    }

    /// The address of the homeserver.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Status and answer of a request below `/_matrix/client/v3/`.
    pub async fn request(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let path = format!("/_matrix/client/v3/{path}");
        let answer = request_as(self.addr, method, &self.token, &path, &body.to_string()).await;
        let (status, body) = answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        (status, serde_json::from_str(&body).unwrap_or_else(|_| panic!("{method} {path}: {status} {body}")))
    }

    /// The answer of a request that succeeds.
    pub async fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.request(method, path, body).await;
        assert_eq!(status, 200, "{method} {path}: {answer}");
        answer
    }

    /// A new room with these settings; returns its id.
    pub async fn create_room(&self, settings: Value) -> String {
        let room = self.ask("POST", "createRoom", &settings).await;
        room["room_id"].as_str().expect("a room has an id").to_owned()
    }

    /// Joins a room by its id.
    pub async fn join(&self, room: &str) {
        self.ask("POST", &format!("join/{room}"), &json!({})).await;
    }

    /// Sends a message with this content; returns its event id.
    pub async fn send(&self, room: &str, content: Value) -> String {
        let transaction = self.transactions.fetch_add(1, Ordering::Relaxed);
        let path = format!("rooms/{room}/send/m.room.message/test{transaction}");
        self.ask("PUT", &path, &content).await["event_id"].as_str().expect("an event has an id").to_owned()
    }

    /// Sends a text; returns its event id.
    pub async fn say(&self, room: &str, text: &str) -> String {
        self.send(room, json!({ "msgtype": "m.text", "body": text })).await
    }

    /// The last hundred messages of a room, oldest first.
    pub async fn messages(&self, room: &str) -> Vec<Value> {
        let filter = "%7B%22types%22:%5B%22m.room.message%22%5D%7D";
        let path = format!("rooms/{room}/messages?dir=b&limit=100&filter={filter}");
        let answer = self.ask("GET", &path, &json!({})).await;
        answer["chunk"].as_array().expect("a list of events").iter().rev().cloned().collect()
    }

    /// The number of messages in a room that rang this user's bell by a mention.
    pub async fn mentions(&self, room: &str) -> usize {
        let answer = self.ask("GET", "notifications?only=highlight", &json!({})).await;
        let mentions = answer["notifications"].as_array().expect("a list of notifications");
        mentions.iter().filter(|mention| mention["room_id"] == room).count()
    }
}
