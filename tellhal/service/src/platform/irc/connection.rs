//! One connection, shared by rooms: opened by the first line, closed with the last room. One that listens is a chat's own, and
//! is kept up.
//!
//! `say` waits until a line is confirmed or refused; the connection's own task reads, answers PING and matches the
//! answers of the server with the lines that wait.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout_at};

use super::Settings;
use super::hear::Heard;
use super::register::register;
use super::say::Say;
use super::session::Session;
use super::stream::Stream;
use crate::platform::attempt::{Attempt, State};
use crate::platform::stage::Stage;
use crate::platform::{Failure, Limiter, Sent, TIMEOUT};
use crate::secret::Secret;
use crate::tls;

/// Shorter than [`TIMEOUT`], so that the connection can say whether the line was written.
const DEADLINE: Duration = TIMEOUT.saturating_sub(Duration::from_millis(300));
/// The longest time that connecting may take; a line that waits for it gives up earlier and is tried again.
const CONNECT: Duration = Duration::from_secs(30);
/// The number of lines that may wait for the connection's task.
const WAITING: usize = 16;
/// The number of lines that were heard and wait to be read; further ones are lost, with a warning.
const HEARD: usize = 1024;
/// The first and the longest pause before a connection that listens is made again.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// A connection, shared by all users with the same settings.
#[derive(Debug)]
pub struct Connection {
    settings: Arc<Settings>,
    tls: Option<Arc<rustls::ClientConfig>>,
    pub limiter: Arc<Limiter>,
    /// The longest `nick!user@host` of ours that was seen.
    mask: Arc<AtomicUsize>,
    /// The way of what is heard, if this connection listens.
    ears: Option<mpsc::Sender<Heard>>,
    attempt: Attempt<Say>,
}

impl Connection {
    /// A connection of its own that hears what is said in the channels of `settings` and in private, and the way to hear it.
    /// It is up only while [`Connection::stay`] runs.
    pub fn listening(settings: Settings) -> anyhow::Result<(Arc<Self>, mpsc::Receiver<Heard>)> {
        let tls = settings.tls.then(|| tls::client(settings.tls_ca.as_deref()).map(Arc::new)).transpose()?;
        let (ears, heard) = mpsc::channel(HEARD);
        Ok((Arc::new(Connection { ears: Some(ears), ..Connection::new(settings, tls) }), heard))
    }

    /// Keeps the connection up, and never returns: one that is lost is made again after a pause. Says through `told` when it is
    /// up, and why it is not.
    pub async fn stay(&self, told: impl Fn(Result<(), &Failure>)) -> Infallible {
        let mut pause = PAUSE.0;
        loop {
            match self.up(Instant::now() + CONNECT).await {
                Ok(up) => {
                    told(Ok(()));
                    let since = Instant::now();
                    up.closed().await;
                    told(Err(&self.settings.transient("the connection was lost")));
                    if since.elapsed() > PAUSE.1 {
                        pause = PAUSE.0;
                    }
                }
                Err(failure) => told(Err(&failure)),
            }
            sleep(pause.mul_f64(0.75 + fastrand::f64() / 2.0)).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    pub(super) fn new(settings: Settings, tls: Option<Arc<rustls::ClientConfig>>) -> Self {
        Connection {
            limiter: Arc::new(Limiter::new(settings.line_every, settings.burst)),
            settings: Arc::new(settings),
            tls,
            mask: Arc::default(),
            ears: None,
            attempt: Attempt::default(),
        }
    }

    /// The length of the longest `nick!user@host` of ours that was seen, in bytes.
    pub fn mask(&self) -> usize {
        self.mask.load(Ordering::Relaxed)
    }

    /// Posts one line and waits until the server confirms or refuses it.
    /// `id` is that of the message: the same line of the same message again is a retry.
    pub async fn say(
        &self,
        channel: &str,
        key: Option<&Secret>,
        id: &str,
        line: &str,
    ) -> Result<Sent, Failure> {
        let deadline = Instant::now() + DEADLINE;
        let up = self.up(deadline).await?;
        let (reply, answer) = oneshot::channel();
        let stage = Arc::new(Stage::default());
        let say = Say {
            id: id.to_owned(),
            channel: channel.to_owned(),
            key: key.cloned(),
            line: line.to_owned(),
            stage: stage.clone(),
            reply,
        };
        let handed = timeout_at(deadline, up.send(say)).await;
        if !matches!(handed, Ok(Ok(()))) {
            return Err(self.settings.transient("the connection was lost"));
        }
        match timeout_at(deadline, answer).await {
            Ok(Ok(answer)) => answer.map_err(|failure| failure.without(key)),
            _ if stage.give_up() => Err(self.settings.transient(&format!("no way into {channel} in time"))),
            _ => Err(Failure::Transient {
                reason: self.settings.reason("the server did not confirm the line"),
                wait: None,
                ambiguous: true,
            }),
        }
    }

    /// The running connection, or one attempt to get it.
    async fn up(&self, deadline: Instant) -> Result<mpsc::Sender<Say>, Failure> {
        let start = |state| {
            let (settings, tls) = (self.settings.clone(), self.tls.clone());
            tokio::spawn(run(settings, tls, self.mask.clone(), self.ears.clone(), state));
        };
        self.attempt.up(deadline, start, |reason| self.settings.transient(reason)).await
    }
}

/// A connection's whole life.
async fn run(
    settings: Arc<Settings>,
    tls: Option<Arc<rustls::ClientConfig>>,
    mask: Arc<AtomicUsize>,
    ears: Option<mpsc::Sender<Heard>>,
    state: watch::Sender<State<Say>>,
) {
    let connect = async {
        let mut stream = Stream::connect(&settings.host, settings.port, tls).await?;
        let registered = register(&mut stream, &settings).await?;
        Ok((stream, registered))
    };
    let connected = tokio::select! {
        connected = tokio::time::timeout(CONNECT, connect) => connected,
        () = state.closed() => return,
    };
    let (stream, registered) =
        match connected.unwrap_or_else(|_| Err(settings.transient("no way in in time"))) {
            Ok(connected) => connected,
            Err(failure) => {
                tracing::debug!(server = settings.host, %failure, "irc connection failed");
                state.send_replace(State::Down(failure));
                return;
            }
        };
    tracing::info!(server = settings.host, nick = registered.nick, "irc connected");
    let (up, says) = mpsc::channel(WAITING);
    state.send_replace(State::Up(up));
    let ended = Session::new(&settings, stream, registered, &mask, ears).run(says, &state).await;
    tracing::info!(server = settings.host, reason = %ended, "irc connection ended");
}
