//! Socket Mode of the fake: connections that say hello, deliver envelopes, each over one of them, and deliver again what is not
//! acknowledged in three seconds.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

/// The only app's token that the fake accepts.
pub const APP_TOKEN: &str = "xapp-1-fake";

const DEADLINE: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(10);

/// All connections. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Sockets {
    addr: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    _accepting: Arc<Accepting>,
}

#[derive(Debug)]
struct Accepting(JoinHandle<()>);

impl Drop for Accepting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[derive(Debug, Default)]
struct Shared {
    count: usize,
    /// The addresses that were given and not used yet.
    tickets: Vec<String>,
    unacknowledged: Vec<Envelope>,
    acknowledged: Vec<Value>,
    /// The number of connections so far. Each has the number that was this.
    connections: usize,
    /// Connections up to this number are dead, or to be closed.
    frozen: usize,
    closed: usize,
}

#[derive(Debug)]
struct Envelope {
    value: Value,
    sent: Option<Instant>,
}

impl Sockets {
    pub(super) async fn start() -> Sockets {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port for a fake");
        let addr = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::<Mutex<Shared>>::default();
        let for_connections = shared.clone();
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(connection(stream, for_connections.clone()));
            }
        });
        Sockets { addr, shared, _accepting: Arc::new(Accepting(accepting)) }
    }

    /// An address for one connection.
    pub(super) fn url(&self) -> String {
        let mut shared = lock(&self.shared);
        shared.count += 1;
        let path = format!("/link/?ticket=secret-ticket-{}&app_id=A0001", shared.count);
        shared.tickets.push(path.clone());
        format!("ws://{}{path}", self.addr)
    }

    pub(super) fn push(&self, kind: &str, payload: &Value) {
        let mut shared = lock(&self.shared);
        shared.count += 1;
        let value = json!({ "envelope_id": format!("e{}", shared.count), "type": kind, "payload": payload,
            "accepts_response_payload": kind == "slash_commands", "retry_attempt": 0, "retry_reason": "" });
        shared.unacknowledged.push(Envelope { value, sent: None });
    }

    /// The same if an app uses Socket Mode.
    pub(super) fn push_if_heard(&self, kind: &str, payload: &Value) {
        if self.connections() > 0 {
            self.push(kind, payload);
        }
    }

    pub(super) fn acknowledged(&self) -> Vec<Value> {
        lock(&self.shared).acknowledged.clone()
    }

    pub(super) fn connections(&self) -> usize {
        lock(&self.shared).connections
    }

    pub(super) fn disconnect(&self) {
        let mut shared = lock(&self.shared);
        shared.closed = shared.connections;
    }

    pub(super) fn freeze(&self) {
        let mut shared = lock(&self.shared);
        shared.frozen = shared.connections;
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().expect("no test panics here")
}

impl Shared {
    /// The next envelope to be sent over connection `number`, for the first time or again.
    fn due_for(&mut self, number: usize) -> Option<Message> {
        if number <= self.frozen.max(self.closed) {
            return None;
        }
        let is_due = |envelope: &&mut Envelope| envelope.sent.is_none_or(|sent| sent.elapsed() >= DEADLINE);
        let envelope = self.unacknowledged.iter_mut().find(is_due)?;
        if envelope.sent.is_some() {
            let attempt = envelope.value["retry_attempt"].as_u64().unwrap_or_default() + 1;
            envelope.value["retry_attempt"] = attempt.into();
            envelope.value["retry_reason"] = "timeout".into();
        }
        envelope.sent = Some(Instant::now());
        Some(Message::text(envelope.value.to_string()))
    }

    fn acknowledge(&mut self, text: &str) {
        let Ok(value) = serde_json::from_str::<Value>(text) else { return };
        // An envelope that was sent twice may be acknowledged twice.
        let before = self.unacknowledged.len();
        self.unacknowledged.retain(|envelope| envelope.value["envelope_id"] != value["envelope_id"]);
        if self.unacknowledged.len() < before {
            self.acknowledged.push(value);
        }
    }
}

async fn connection(stream: TcpStream, shared: Arc<Mutex<Shared>>) -> Option<()> {
    #[expect(clippy::result_large_err, reason = "the library's own type")]
    let enter = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        let path = request.uri().to_string();
        let mut shared = lock(&shared);
        let is_known = shared.tickets.iter().any(|ticket| path.ends_with(ticket.as_str()));
        shared.tickets.retain(|ticket| !path.ends_with(ticket.as_str()));
        if is_known { Ok(response) } else { Err(ErrorResponse::new(Some("no such ticket".into()))) }
    };
    let mut socket = accept_hdr_async(stream, enter).await.ok()?;
    let number = {
        let mut shared = lock(&shared);
        shared.connections += 1;
        shared.connections
    };
    let hello = json!({ "type": "hello", "num_connections": 1, "connection_info": { "app_id": "A0001" },
        "debug_info": { "host": "applink-1", "approximate_connection_time": 18060 } });
    socket.send(Message::text(hello.to_string())).await.ok()?;
    let mut look = tokio::time::interval(LOOK);
    loop {
        let due = tokio::select! {
            frame = socket.next() => {
                if let Message::Text(text) = frame?.ok()? {
                    lock(&shared).acknowledge(&text);
                }
                continue;
            }
            _ = look.tick() => {
                let mut shared = lock(&shared);
                (number <= shared.frozen, number <= shared.closed, shared.due_for(number))
            }
        };
        match due {
            (true, ..) => std::future::pending().await,
            (_, true, _) => {
                let leave = json!({ "type": "disconnect", "reason": "refresh_requested", "debug_info": { "host": "applink-1" } });
                socket.send(Message::text(leave.to_string())).await.ok()?;
                return socket.close(None).await.ok();
            }
            (.., Some(envelope)) => socket.send(envelope).await.ok()?,
            (.., None) => {}
        }
    }
}
