//! A real nats-server with JetStream. Its port and its folder stay the same over restarts.

use std::path::PathBuf;
use std::process::Command;

use async_nats::ConnectOptions;
use async_nats::jetstream::stream::Config;
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::find;
use crate::ports::Port;
use crate::process::Process;
use crate::tls::Certificates;
use crate::users;

/// Differences from a plain server.
#[derive(Clone, Debug, Default)]
pub struct NatsOptions {
    /// The largest payload, in bytes; the server's own default when absent.
    pub max_payload: Option<usize>,
    /// The limit of JetStream's storage on disk, such as `1MB`.
    pub max_store: Option<String>,
    /// Certificates for TLS.
    pub tls: Option<Certificates>,
    /// Ask clients for a certificate too; needs `tls`.
    pub verify_clients: bool,
    /// The domain of its JetStream.
    pub domain: Option<String>,
    /// A server without JetStream.
    pub without_jetstream: bool,
    /// No accounts: everybody may do everything.
    pub open: bool,
    /// More lines of the server's configuration. Accounts or users in them replace those of [`crate::users`].
    pub extra: String,
}

/// The login of one of the tests' own users, which a server without users takes too.
pub fn login(user: &str) -> ConnectOptions {
    ConnectOptions::with_user_and_password(user.into(), user.into())
}

impl NatsOptions {
    /// True for a server with the users of [`crate::users`].
    fn has_users(&self) -> bool {
        let own = ["accounts", "authorization"].iter().any(|word| self.extra.contains(word));
        !(self.open || own || self.without_jetstream)
    }
}

/// A running nats-server; killed when dropped.
#[derive(Debug)]
pub struct NatsServer {
    // The first field, so that the process ends before its folder is removed.
    process: Process,
    dir: TempDir,
    port: Port,
    scheme: &'static str,
    has_users: bool,
}

impl NatsServer {
    /// A plain server with JetStream.
    pub async fn start() -> NatsServer {
        NatsServer::with(NatsOptions::default()).await
    }

    /// A server with `options`.
    pub async fn with(options: NatsOptions) -> NatsServer {
        let dir = TempDir::new().expect("a folder for nats-server");
        let port = Port::free();
        std::fs::write(dir.path().join("nats.conf"), configuration(&options, &port, &dir))
            .expect("nats.conf");
        let process = spawn(&dir);
        let scheme = if options.tls.is_some() { "tls" } else { "nats" };
        let has_users = options.has_users();
        let mut server = NatsServer { dir, port, scheme, has_users, process };
        server.wait_ready().await;
        server
    }

    /// The address for clients, such as `nats://127.0.0.1:4222`.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.port.addr())
    }

    /// The port it listens on, also while it is down.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The process, to stop (SIGSTOP), resume, kill or terminate.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Kills it (-9) and waits until it is gone.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on the same port and data; kills it first if it still runs.
    pub async fn restart(&mut self) {
        self.process.kill();
        self.process = spawn(&self.dir);
        self.wait_ready().await;
    }

    /// Writes `options` as the new configuration (same port, same data) and makes the server read it.
    /// Settings that a running server cannot change (store size, TLS) need [`NatsServer::restart`] after it.
    pub fn reconfigure(&mut self, options: &NatsOptions) {
        let text = configuration(options, &self.port, &self.dir);
        std::fs::write(self.dir.path().join("nats.conf"), text).expect("nats.conf");
        self.has_users = options.has_users();
        self.process.signal(crate::process::Signal::HUP);
    }

    /// The folder with the server's configuration, log and data.
    pub fn dir(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    /// A file that the services have kept.
    pub async fn file(&self, name: &str) -> Vec<u8> {
        let files = self.jetstream().await.get_object_store("HAL_FILES").await.expect("HAL_FILES");
        let mut bytes = Vec::new();
        files.get(name).await.expect(name).read_to_end(&mut bytes).await.expect("the whole file");
        bytes
    }

    /// Creates the log, for tests of a bridge without a relay: it is not ready before there is one.
    pub async fn create_log(&self) {
        let log = Config { name: "HAL_OPS".into(), subjects: vec!["hal.ops.>".into()], ..Config::default() };
        self.jetstream().await.create_stream(log).await.expect("the log is created");
    }

    /// The address with the login of one of the tests' own users in it; see [`crate::users`].
    pub fn url_as(&self, user: &str) -> String {
        match self.has_users {
            true => format!("{}://{user}:{user}@{}", self.scheme, self.port.addr()),
            false => self.url(),
        }
    }

    /// A client that may do everything.
    pub async fn client(&self) -> async_nats::Client {
        self.client_as("admin").await
    }

    /// A client of one of the tests' own users.
    pub async fn client_as(&self, user: &str) -> async_nats::Client {
        login(user).connect(self.url()).await.expect("users of the tests may connect")
    }

    /// JetStream for a client that may do everything.
    pub async fn jetstream(&self) -> async_nats::jetstream::Context {
        async_nats::jetstream::new(self.client().await)
    }

    /// The number of messages in `stream`.
    pub async fn messages(&self, stream: &str) -> u64 {
        let stream = self.jetstream().await.get_stream(stream).await.expect("the stream is there");
        stream.cached_info().state.messages
    }

    /// True if `room` has handled its deliveries of every message in the log, by its last receipt.
    pub async fn is_through(&self, room: &str) -> bool {
        let js = self.jetstream().await;
        let log = js.get_stream("HAL_OPS").await.expect("the log is there");
        let Ok(last) = log.direct_get_last_for_subject("hal.ops.>").await else { return true };
        let sent = js.get_stream("HAL_SENT").await.expect("the stream of receipts is there");
        let Ok(receipt) = sent.direct_get_last_for_subject(format!("hal.sent.{room}")).await else {
            return false;
        };
        let receipt: serde_json::Value = serde_json::from_slice(&receipt.payload).expect("a receipt is JSON");
        receipt["place"]["sequence"].as_u64() >= Some(last.sequence)
    }

    async fn wait_ready(&mut self) {
        let (dir, addr) = (self.dir.path().to_owned(), self.port.addr());
        let pid = self.process.pid();
        let condition = async || {
            // The pid distinguishes the line of this start from one of an earlier start.
            let log = std::fs::read_to_string(dir.join("log")).unwrap_or_default();
            let mine = format!("[{pid}]");
            let ready = log.lines().any(|line| line.contains(&mine) && line.contains("Server is ready"));
            ready && TcpStream::connect(addr).await.is_ok()
        };
        self.process.ready("nats-server is ready", condition).await;
    }
}

fn spawn(dir: &TempDir) -> Process {
    let mut command = Command::new(find::theirs("nats-server"));
    command.arg("-c").arg(dir.path().join("nats.conf"));
    Process::start("nats-server", &mut command, &dir.path().join("log"))
}

fn configuration(options: &NatsOptions, port: &Port, dir: &TempDir) -> String {
    let store = dir.path().join("data");
    let mut text = format!("listen: \"{}\"\n", port.addr());
    if !options.without_jetstream {
        let max = options.max_store.as_ref().map(|max| format!(", max_file_store: {max}"));
        let domain = options.domain.as_ref().map(|domain| format!(", domain: {domain}"));
        let (max, domain) = (max.unwrap_or_default(), domain.unwrap_or_default());
        text += &format!("jetstream {{ store_dir: {store:?}{max}{domain} }}\n");
    }
    if let Some(max) = options.max_payload {
        text += &format!("max_payload: {max}\n");
    }
    if let Some(tls) = &options.tls {
        let verify = if options.verify_clients { ", verify: true" } else { "" };
        text += &format!(
            "tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}{verify} }}\n",
            tls.cert, tls.key, tls.ca
        );
    }
    if options.has_users() {
        text += &users::accounts();
    }
    text + &options.extra + "\n"
}

/// A message about as large as the server takes, each value within its own limit: control characters take six bytes each as JSON.
pub fn largest_message(text: &str) -> String {
    let control = |count: usize| "\\u0001".repeat(count);
    let link = format!("{{\"url\":\"{}\",\"title\":\"{}\"}},", control(4096), control(1024));
    let (links, field) = (link.repeat(20), control(64 * 1024 - 1));
    format!(
        "{{\"v\":1,\"text\":\"{text}\",\"fields\":{{\"f\":\"{field}\"}},\"links\":[{links}{}]}}",
        link.trim_end_matches(',')
    )
}
