//! Socket Mode: Slack delivers over a WebSocket that we open, and connects us again now and then. A delivery is acknowledged once
//! its line was taken; Slack sends one that is not acknowledged again, over another connection.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Bytes;
use futures_util::future::{BoxFuture, ready};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_tungstenite::tungstenite::Message as Frame;

use super::client::{Client, Us};
use super::config::Api;
use super::event::{self, Delivery, Heard, command_json};
use crate::http::{Endpoint, WebSocket, address_problem};
use crate::platform::Failure;
use crate::secret::Secret;

/// The interval of our pings, and the time without a sign of life after which a connection is given up.
const PING: Duration = Duration::from_secs(3);
const SILENCE: Duration = Duration::from_secs(9);
/// The longest time until Slack says hello.
const HELLO: Duration = Duration::from_secs(10);
/// The pauses before the next connection.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A connection that has held this long was a good one.
const GOOD: Duration = Duration::from_secs(60);

/// A line, on its way to the one who takes it.
pub struct Incoming {
    pub heard: Heard,
    /// To be sent once the line is taken: it would be delivered again otherwise.
    pub taken: oneshot::Sender<()>,
}

/// The connections of one app.
pub struct Socket {
    client: Client,
    api: Api,
}

#[derive(Deserialize)]
struct Opened {
    url: String,
}

/// A message of Slack over the connection.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    envelope_id: Option<&'a str>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
    #[serde(default)]
    accepts_response_payload: bool,
}

/// The end of a connection.
enum End {
    /// Slack asks to connect again.
    Renewal,
    Lost(Failure),
}

impl Socket {
    /// `token` is the app's, with the scope `connections:write`.
    pub fn open(api: &Api, token: &Secret) -> anyhow::Result<Socket> {
        Ok(Socket { client: Client::with_token(api, token)?, api: api.clone() })
    }

    /// Stays connected, and passes on what is heard. `told` hears that a connection stands, or why there is none.
    pub async fn stay(
        &self,
        us: &Us,
        heard: &mpsc::Sender<Incoming>,
        told: impl Fn(Result<(), &Failure>),
    ) -> Infallible {
        let mut failures = 0;
        loop {
            let begun = Instant::now();
            let end = match self.connect().await {
                Ok(socket) => Connection { socket, us, heard }.listen(&told).await,
                Err(failure) => End::Lost(failure),
            };
            failures = if begun.elapsed() >= GOOD { 0 } else { failures + 1 };
            let wish = match &end {
                End::Renewal => Duration::ZERO,
                End::Lost(failure) => {
                    told(Err(failure));
                    failure.wait()
                }
            };
            let doubled = FIRST_PAUSE.saturating_mul(1 << failures.min(16)).min(LONGEST_PAUSE);
            sleep(doubled.mul_f64(0.5 + fastrand::f64() / 2.0).max(wish)).await;
        }
    }

    async fn connect(&self) -> Result<WebSocket, Failure> {
        let Opened { url } = self.client.ask("apps.connections.open").await?;
        // The same address with the schemes that calls have: wss is https.
        let url = url.strip_prefix("ws").map(|rest| format!("http{rest}")).unwrap_or_default();
        if let Some(problem) = address_problem("url", &url, self.api.allow_private) {
            return Err(self.client.later(&format!("the address for Socket Mode: {}", problem.what)));
        }
        let endpoint = Endpoint::new(&url, &self.api.reach());
        endpoint.map_err(|error| self.client.later(&format!("{error:#}")))?.websocket().await
    }
}

struct Connection<'a> {
    socket: WebSocket,
    us: &'a Us,
    heard: &'a mpsc::Sender<Incoming>,
}

/// The acknowledgement of a delivery, once it is due; `None` if it never is.
type Reply = BoxFuture<'static, Option<Frame>>;

/// The outcome of a frame.
enum Step {
    Hello,
    Renewal,
    Acknowledge(Reply),
    Nothing,
}

impl Connection<'_> {
    async fn listen(mut self, told: impl Fn(Result<(), &Failure>)) -> End {
        let lost = |why: &str| End::Lost(Failure::transient(format!("slack: {why}")));
        let (begun, mut alive, mut is_greeted) = (Instant::now(), Instant::now(), false);
        let mut pings = interval(PING);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut waiting = FuturesUnordered::<Reply>::new();
        loop {
            let reply = tokio::select! {
                frame = self.socket.next() => {
                    let Some(Ok(frame)) = frame else { return lost("the connection was lost") };
                    alive = Instant::now();
                    match self.read(&frame) {
                        Step::Renewal => return End::Renewal,
                        Step::Acknowledge(reply) => waiting.push(reply),
                        Step::Hello => {
                            is_greeted = true;
                            told(Ok(()));
                        }
                        Step::Nothing => {}
                    }
                    continue;
                }
                Some(reply) = waiting.next() => match reply {
                    Some(reply) => reply,
                    None => continue,
                },
                _ = pings.tick() => Frame::Ping(Bytes::new()),
            };
            if alive.elapsed() > SILENCE || !is_greeted && begun.elapsed() > HELLO {
                return lost("the connection is silent");
            }
            if !matches!(timeout(SILENCE, self.socket.send(reply)).await, Ok(Ok(()))) {
                return lost("the connection was lost");
            }
        }
    }

    fn read(&self, frame: &Frame) -> Step {
        let Frame::Text(text) = frame else { return Step::Nothing };
        let Ok(envelope) = serde_json::from_str::<Envelope<'_>>(text) else { return Step::Nothing };
        match (envelope.kind, envelope.envelope_id) {
            ("hello", _) => Step::Hello,
            ("disconnect", _) => Step::Renewal,
            (_, Some(id)) => self.take(&envelope, id).map_or(Step::Nothing, Step::Acknowledge),
            (_, None) => Step::Nothing,
        }
    }

    /// Passes on what was said. `None` while too much waits: Slack delivers it again.
    fn take(&self, envelope: &Envelope<'_>, id: &str) -> Option<Reply> {
        let json = envelope.payload.map(|payload| payload.get().as_bytes()).unwrap_or_default();
        let delivery = match envelope.kind {
            "events_api" => event::event(json, self.us),
            "slash_commands" => command_json(json, self.us),
            _ => Delivery::Other,
        };
        let Delivery::Line(heard) = delivery else {
            if delivery == Delivery::Foreign {
                tracing::warn!("a delivery of another workspace is not heard");
            }
            return Some(ready(Some(acknowledgement(id, false))).boxed());
        };
        let reply = acknowledgement(id, heard.is_slash && envelope.accepts_response_payload);
        let (taken, is_taken) = oneshot::channel();
        if self.heard.try_send(Incoming { heard, taken }).is_err() {
            tracing::warn!("lines come faster than they are read; Slack delivers one again");
            return None;
        }
        Some(async move { is_taken.await.ok().map(|()| reply) }.boxed())
    }
}

/// The acknowledgement of an envelope, which may show the room a slash command.
fn acknowledgement(id: &str, shown: bool) -> Frame {
    let mut reply = json!({ "envelope_id": id });
    if shown {
        reply["payload"] = event::slash_answer();
    }
    Frame::text(reply.to_string())
}
