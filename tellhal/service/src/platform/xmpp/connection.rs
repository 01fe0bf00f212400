//! One connection, shared by all users of an account: opened by the first message or listener, closed with the last user.

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};
use tokio_xmpp::jid::Jid;

use super::ears::Ears;
use super::pending::{Say, Target};
use super::session::Session;
use super::stream::connect;
use super::{Heard, Muc, Settings, stanza};
use crate::platform::attempt::{Attempt, State};
use crate::platform::stage::Stage;
use crate::platform::{Failure, Limiter, Sent, TIMEOUT};

/// Shorter than [`TIMEOUT`], so that the connection can say whether the message was written.
const DEADLINE: Duration = TIMEOUT.saturating_sub(Duration::from_millis(300));
/// The longest time that connecting may take; a message that waits for it gives up earlier and is tried again.
const CONNECT: Duration = Duration::from_secs(30);
/// The number of messages that may wait for the connection's task.
const WAITING: usize = 16;

/// A message of ours.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Our id of the message, by which it can be corrected. The same message again with the same id is a retry.
    pub id: &'a str,
    /// Characters that XML does not allow are left out, and what is above 12,000 bytes is cut.
    pub text: &'a str,
    /// The first id of the message that this one corrects (XEP-0308).
    pub replaces: Option<&'a str>,
}

/// A connection, shared by all users with the same settings.
#[derive(Debug)]
pub struct Connection {
    settings: Arc<Settings>,
    tls: Option<Arc<rustls::ClientConfig>>,
    pub limiter: Arc<Limiter>,
    ears: Arc<Ears>,
    attempt: Attempt<Say>,
}

impl Connection {
    pub(super) fn new(settings: Settings, tls: Option<Arc<rustls::ClientConfig>>) -> Self {
        Connection {
            limiter: Arc::new(Limiter::new(settings.message_every, settings.burst)),
            settings: Arc::new(settings),
            tls,
            ears: Arc::default(),
            attempt: Attempt::default(),
        }
    }

    /// Posts a message into a room, and waits until the room shows it or refuses it.
    pub async fn post(&self, room: &Muc, message: Message<'_>) -> Result<Sent, Failure> {
        let sent = self.say(Target::Room(room.clone()), message).await;
        sent.map_err(|failure| failure.without(room.password.as_ref()))
    }

    /// Sends a message to a person, or to an occupant of a room in private, and waits until our server has taken it.
    pub async fn tell(&self, to: &str, message: Message<'_>) -> Result<Sent, Failure> {
        let Ok(to) = Jid::from_str(to) else {
            return Err(Failure::Permanent {
                reason: self.settings.reason("the receiver's address is not one"),
            });
        };
        self.say(Target::Person(to), message).await
    }

    /// The reason why there is no connection now; `None` if there is one.
    pub fn trouble(&self) -> Option<String> {
        self.attempt.trouble()
    }

    /// The messages in `rooms` and to our own address, while the connection is open.
    pub(super) fn hear(&self, rooms: Vec<Muc>) -> mpsc::Receiver<Heard> {
        self.ears.add(rooms)
    }

    async fn say(&self, target: Target, message: Message<'_>) -> Result<Sent, Failure> {
        let deadline = Instant::now() + DEADLINE;
        let up = self.up(deadline).await?;
        let (reply, answer) = oneshot::channel();
        let stage = Arc::new(Stage::default());
        let say = Say {
            target,
            id: stanza::id(message.id),
            text: message.text.to_owned(),
            replaces: message.replaces.map(stanza::id),
            stage: stage.clone(),
            reply,
        };
        let handed = timeout_at(deadline, up.send(say)).await;
        if !matches!(handed, Ok(Ok(()))) {
            return Err(self.settings.transient("the connection was lost"));
        }
        match timeout_at(deadline, answer).await {
            Ok(Ok(answer)) => answer,
            _ if stage.give_up() => Err(self.settings.transient("no way into the room in time")),
            _ => Err(Failure::Transient {
                reason: self.settings.reason("the message was not confirmed"),
                wait: None,
                ambiguous: true,
            }),
        }
    }

    /// The running connection, or one attempt to get it.
    pub(super) async fn up(&self, deadline: Instant) -> Result<mpsc::Sender<Say>, Failure> {
        let start = |state| {
            tokio::spawn(run(self.settings.clone(), self.tls.clone(), self.ears.clone(), state));
        };
        self.attempt.up(deadline, start, |reason| self.settings.transient(reason)).await
    }
}

/// A connection's whole life.
async fn run(
    settings: Arc<Settings>,
    tls: Option<Arc<rustls::ClientConfig>>,
    ears: Arc<Ears>,
    state: watch::Sender<State<Say>>,
) {
    let connected = tokio::select! {
        connected = tokio::time::timeout(CONNECT, connect(&settings, tls)) => connected,
        () = state.closed() => return,
    };
    let stream = match connected.unwrap_or_else(|_| Err(settings.transient("no way in in time"))) {
        Ok(stream) => stream,
        Err(failure) => {
            tracing::debug!(server = settings.host, %failure, "xmpp connection failed");
            state.send_replace(State::Down(failure));
            return;
        }
    };
    tracing::info!(server = settings.host, account = %settings.jid, "xmpp connected");
    let (up, says) = mpsc::channel(WAITING);
    state.send_replace(State::Up(up));
    let ended = Session::new(&settings, stream, &ears).run(says, &state).await;
    tracing::info!(server = settings.host, reason = %ended, "xmpp connection ended");
}
