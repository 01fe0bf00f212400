//! A connection that publishes messages to the log and looks at each acknowledgement.
//!
//! The server reports a missing permission to publish only by an asynchronous error, and leaves the request
//! itself unanswered: so every wait for an acknowledgement watches those errors too.
//! Does not retry and does not spool; see [`crate::keep`].

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::connection::State;
use async_nats::{
    Client, ConnectErrorKind, ConnectOptions, Event, HeaderMap, ReconnectToServer, Request, RequestError,
};
use serde::Deserialize;
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use crate::message::Message;
use crate::nats::NatsConfig;
use crate::refusal::{Refusal, chain, is_denial, redact};
use crate::subject::Names;

/// A connection to the log. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Publisher {
    client: Client,
    names: Names,
    server: String,
    api: String,
    inbox: String,
    denials: broadcast::Sender<String>,
    locked_out: LockedOut,
    link: watch::Receiver<Link>,
}

/// The state of a connection, which is made again whenever it is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// There is a connection now.
    pub up: bool,
    /// Number of times that it was lost.
    pub lost: u64,
}

/// The server's reason for refusing our credentials, until it accepts them again.
type LockedOut = Arc<Mutex<Option<String>>>;

/// The log's acknowledgement of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The message's sequence in the log.
    pub sequence: u64,
    /// The log had it already.
    pub duplicate: bool,
}

#[derive(Deserialize)]
struct PubAck {
    stream: Option<String>,
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    duplicate: bool,
    error: Option<PubError>,
}

#[derive(Deserialize)]
struct PubError {
    err_code: Option<u64>,
    description: Option<String>,
}

impl Publisher {
    /// One connection for a command that ends soon: tries each server once, all before `deadline`.
    /// `name` is what the server's connection list shows.
    pub async fn connect(nats: &NatsConfig, name: &str, deadline: Instant) -> Result<Self, Refusal> {
        let Prepared { options, denials, locked_out, link, names } = prepare(nats, name)?;
        let servers = nats.servers();
        let mut refused = None;
        for (tried, server) in servers.iter().enumerate() {
            let left = deadline.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(servers.len() - tried).unwrap_or(1);
            let options = quick(options.clone(), share);
            let shown = redact(server);
            // All servers, this one first: a long connection may need the others later.
            let mut pool = servers.clone();
            pool.rotate_left(tried);
            match tokio::time::timeout(share, Box::pin(options.connect(pool))).await {
                Ok(Ok(client)) => {
                    return Ok(Publisher {
                        client,
                        names,
                        server: shown,
                        api: nats.api().into(),
                        inbox: inbox(nats),
                        denials,
                        locked_out,
                        link,
                    });
                }
                Ok(Err(error)) if error.kind() != ConnectErrorKind::TimedOut => {
                    refused = worse(refused, Refusal::connecting(&shown, &error));
                }
                Ok(Err(_)) | Err(_) => {
                    let after = format!("within {}", humantime::format_duration(round(share)));
                    refused = worse(refused, Refusal::Silent { server: shown, after });
                }
            }
        }
        Err(refused.unwrap_or_else(|| Refusal::Config("nats.url is an empty list".into())))
    }

    /// A connection for a service: returns at once, and connects and reconnects in the background for
    /// ever. Must be called within a tokio runtime. Fails only on a configuration that cannot work.
    pub async fn service(nats: &NatsConfig, name: &str) -> Result<Self, Refusal> {
        let Prepared { options, denials, locked_out, link, names } = prepare(nats, name)?;
        let servers = nats.servers();
        let shown: Vec<String> = servers.iter().map(|server| redact(server)).collect();
        let server = shown.join(", ");
        let client = options
            .retry_on_initial_connect()
            .connect(servers)
            .await
            .map_err(|error| Refusal::connecting(&server, &error))?;
        let (api, inbox) = (nats.api().into(), inbox(nats));
        Ok(Publisher { client, names, server, api, inbox, denials, locked_out, link })
    }

    /// The connection itself, for what is not publishing a message.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The names on the bus under the configured prefix.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The server's address, without secrets.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// First tokens of JetStream's API, such as `$JS.API` or, for a domain, `$JS.hub.API`.
    pub fn api(&self) -> &str {
        &self.api
    }

    /// True while there is a connection.
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// The reason why there is no connection.
    pub fn lost(&self) -> Refusal {
        let server = self.server.clone();
        match self.locked_out.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            Some(reason) => Refusal::NotPermitted(format!("{server} refused the credentials: {reason}")),
            None => Refusal::Down { server, what: "there is no connection".into() },
        }
    }

    /// The connection's state and its changes.
    pub fn link(&self) -> watch::Receiver<Link> {
        self.link.clone()
    }

    /// The server's errors about missing permissions, as they arrive.
    pub fn denials(&self) -> broadcast::Receiver<String> {
        self.denials.subscribe()
    }

    /// Publishes `message` under its id and waits until `deadline` for the log's acknowledgement.
    /// Any number of calls may run at once. A message that timed out may still reach the log: send it
    /// again only under the same id.
    pub async fn publish(&self, message: &Message, deadline: Instant) -> Result<Ack, Refusal> {
        let start = Instant::now();
        let subject = self.names.ops(&message.source, &message.tag);
        let payload = serde_json::to_vec(message).map_err(|error| Refusal::Stream(error.to_string()))?;
        let size = payload.len();
        let mut headers = HeaderMap::new();
        headers.insert(async_nats::header::NATS_MESSAGE_ID, message.id.as_str());
        let request = Request::new().headers(headers).payload(payload.into()).timeout(None);
        let mut denials = self.denials.subscribe();

        let answer = tokio::select! {
            biased;
            answer = self.client.send_request(subject.clone(), request) => answer,
            denial = self.denied(&mut denials, &subject) => return Err(Refusal::NotPermitted(denial)),
            () = tokio::time::sleep_until(deadline) => return Err(self.silent(start)),
        };
        let answer = answer.map_err(|error| self.unanswered(&error, &subject, size))?;
        self.judge(&answer.payload, &subject, size)
    }

    /// Waits for an error of the server about `subject`, about our replies, or about the credentials.
    async fn denied(&self, denials: &mut broadcast::Receiver<String>, subject: &str) -> String {
        let concerns_us = |denial: &str| match denial.split_once(" to \"") {
            Some((_, about)) => about.starts_with(&format!("{subject}\"")) || about.starts_with(&self.inbox),
            None => true,
        };
        loop {
            match denials.recv().await {
                Ok(denial) if concerns_us(&denial) => return denial,
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        }
    }

    fn silent(&self, start: Instant) -> Refusal {
        if !self.is_connected() {
            return self.lost();
        }
        let server = self.server.clone();
        Refusal::Silent {
            server,
            after: format!("within {}", humantime::format_duration(round(start.elapsed()))),
        }
    }

    fn unanswered(&self, error: &RequestError, subject: &str, size: usize) -> Refusal {
        match error.kind() {
            RequestErrorKind::NoResponders => {
                Refusal::NoStream { subject: subject.into(), stream: self.names.ops_stream() }
            }
            RequestErrorKind::MaxPayloadExceeded => {
                Refusal::TooLarge { size, limit: self.client.server_info().max_payload }
            }
            _ => Refusal::Down { server: self.server.clone(), what: chain(error) },
        }
    }

    /// Only an acknowledgement of our own log counts: the relay does not read another stream on the subject.
    fn judge(&self, answer: &[u8], subject: &str, size: usize) -> Result<Ack, Refusal> {
        let want = self.names.ops_stream();
        let Ok(ack) = serde_json::from_slice::<PubAck>(answer) else {
            return Err(Refusal::Stream(format!("the answer on {subject} is not an acknowledgement")));
        };
        if let Some(error) = ack.error {
            let description = error.description.as_deref().unwrap_or("no reason given");
            return Err(Refusal::answered(error.err_code.unwrap_or(0), description, size));
        }
        match ack.stream {
            Some(got) if got == want && ack.seq > 0 => {
                Ok(Ack { sequence: ack.seq, duplicate: ack.duplicate })
            }
            Some(got) => Err(Refusal::WrongStream { subject: subject.into(), got, want }),
            None => Err(Refusal::Stream(format!("the answer on {subject} is not an acknowledgement"))),
        }
    }
}

fn inbox(nats: &NatsConfig) -> String {
    nats.inbox_prefix.clone().unwrap_or_else(|| "_INBOX".into())
}

struct Prepared {
    options: ConnectOptions,
    denials: broadcast::Sender<String>,
    locked_out: LockedOut,
    link: watch::Receiver<Link>,
    names: Names,
}

// Not inlined, nor is `quick`: their copies of the options would stay on the stack below the connection.
#[inline(never)]
fn prepare(nats: &NatsConfig, name: &str) -> Result<Prepared, Refusal> {
    // A workspace build may link two TLS providers, and rustls then refuses to choose. It costs nothing
    // when TLS is not used; a server may ask for it in its first line.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = |error: crate::nats::BadNats| Refusal::Config(error.to_string());
    let names = nats.names().map_err(config)?;
    let (denials, _) = broadcast::channel(64);
    let locked_out = LockedOut::default();
    let (sender, out) = (denials.clone(), locked_out.clone());
    let (changes, link) = watch::channel(Link::default());
    let options = nats.options().map_err(config)?.name(name).event_callback(move |event| {
        changes.send_modify(|link| link.note(&event));
        listen(&event, &sender, &out);
        std::future::ready(())
    });
    Ok(Prepared { options, denials, locked_out, link, names })
}

impl Link {
    fn note(&mut self, event: &Event) {
        match event {
            Event::Connected => self.up = true,
            Event::Disconnected => *self = Link { up: false, lost: self.lost + 1 },
            _ => {}
        }
    }
}

/// Notes the server's errors about our credentials.
fn listen(event: &Event, denials: &broadcast::Sender<String>, locked_out: &LockedOut) {
    let reason = match event {
        Event::Connected => {
            locked_out.lock().unwrap_or_else(PoisonError::into_inner).take();
            return;
        }
        Event::ServerError(error) => error.to_string(),
        Event::ClientError(error) => error.to_string(),
        _ => return,
    };
    if !is_denial(&reason) {
        return;
    }
    let reason = reason.trim_start_matches("nats: ").to_owned();
    // An error about one subject leaves the connection usable.
    if !reason.contains(" to \"") {
        *locked_out.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.clone());
    }
    let _ = denials.send(reason);
}

/// Small buffers, and no pause before the first connect: async-nats rounds even a delay of zero up to
/// a timer's tick unless the server is chosen by a callback.
#[inline(never)]
fn quick(options: ConnectOptions, within: Duration) -> ConnectOptions {
    options
        .connection_timeout(within)
        // A server that hangs is noticed within twenty seconds.
        .ping_interval(Duration::from_secs(5))
        .read_buffer_capacity(4096)
        .client_capacity(16)
        .subscription_capacity(16)
        .ignore_discovered_servers()
        .retain_servers_order()
        .reconnect_to_server_callback(|servers, _| {
            let first = servers.into_iter().find(|server| server.failed_attempts == 0 && !server.did_connect);
            let delay = Some(Duration::ZERO);
            std::future::ready(first.map(|server| ReconnectToServer { addr: server.addr, delay }))
        })
}

/// The more useful of two servers' refusals: refused credentials over silence over absence.
fn worse(before: Option<Refusal>, now: Refusal) -> Option<Refusal> {
    let rank = |refusal: &Refusal| match refusal {
        Refusal::NotPermitted(_) | Refusal::Config(_) => 2,
        Refusal::Silent { .. } => 1,
        _ => 0,
    };
    match before {
        Some(before) if rank(&before) > rank(&now) => Some(before),
        Some(Refusal::Down { server, what }) if rank(&now) == 0 => match now {
            Refusal::Down { server: other, .. } => {
                Some(Refusal::Down { server: format!("{server}, {other}"), what })
            }
            now => Some(now),
        },
        _ => Some(now),
    }
}

fn round(duration: Duration) -> Duration {
    Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}
