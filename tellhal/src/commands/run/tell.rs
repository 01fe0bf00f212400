//! Sends the messages about a command, from a thread of its own: it connects while the command runs. If there
//! is no connection at the command's end, the message goes to the spool at once.

use std::thread::JoinHandle;
use std::time::Duration;

use tellhal::keep::Kept;
use tellhal::{Message, Publisher, Refusal, Spool};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::job::Ended;
use super::story::Story;
use crate::commands::{block_on, fall_back};
use crate::config::{Flags, Settings, load};
use crate::exit::say;

/// Time from the start of a short command until its connection must be ready: without it, every short
/// command's message would be spooled. A lost connection has the same time to come back.
const GRACE: Duration = Duration::from_millis(250);
/// The first and the longest pause between attempts to connect during a long command.
const PAUSE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

/// The thread that sends the messages.
pub(super) struct Teller {
    ended: oneshot::Sender<Ended>,
    thread: JoinHandle<()>,
}

impl Teller {
    /// With `running`, a message about the start is sent first.
    pub(super) fn start(flags: Flags, story: Story, running: bool) -> Teller {
        let (ended, coming) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let settings = load(&flags);
            let started = running.then(|| story.started(&settings));
            let ending = |ended| story.ended(&settings, ended);
            let mut telling = Telling { settings: &settings, reported: None };
            if let Some(what) = tellhal::file::too_few() {
                telling.spool_all(
                    started.into_iter().chain(coming.blocking_recv().ok().and_then(ending)),
                    &what,
                );
            } else if let Err(failure) =
                block_on(telling.tell(started, async { coming.await.ok().and_then(ending) }))
            {
                say(failure.what);
            }
        });
        Teller { ended, thread }
    }

    /// Waits until the message about the end is sent or spooled.
    pub(super) fn finish(self, ended: Ended) {
        let _ = self.ended.send(ended);
        let _ = self.thread.join();
    }
}

struct Telling<'a> {
    settings: &'a Settings,
    /// The last reason that was printed: the same reason is not printed twice.
    reported: Option<Refusal>,
}

impl Telling<'_> {
    async fn tell(mut self, started: Option<Message>, ended: impl Future<Output = Option<Message>>) {
        let mut ended = std::pin::pin!(ended);
        let began = Instant::now();
        let mut over = None;
        let connected = {
            let connecting = self.connect(began + self.settings.timeout);
            let mut connecting = std::pin::pin!(connecting);
            tokio::select! {
                connected = &mut connecting => connected,
                message = &mut ended => {
                    over = Some(message);
                                        let late = Refusal::Silent { server: self.settings.servers(), after: "before the command ended".into() };
                    timeout_at(began + GRACE, connecting).await.unwrap_or(Err(late))
                }
            }
        };
        let mut connection = match (connected, &started) {
            (Ok(publisher), Some(message)) => self.publish(publisher, message).await,
            (Err(refusal), Some(message)) => self.spool(message, refusal),
            (connected, None) => connected,
        };
        let message = match over {
            Some(message) => message,
            None => {
                tokio::select! {
                    message = &mut ended => message,
                    never = self.meanwhile(&mut connection) => match never {},
                }
            }
        };
        let Some(message) = message else { return };
        let _ = match connection {
            Ok(publisher) => self.publish(publisher, &message).await,
            Err(refusal) => self.spool(&message, refusal),
        };
    }

    /// For a process that cannot connect at all, for the reason `what`.
    fn spool_all(&mut self, messages: impl Iterator<Item = Message>, what: &str) {
        for message in messages {
            let refusal = Refusal::Down { server: self.settings.servers(), what: what.into() };
            let _ = self.spool(&message, refusal);
        }
    }

    async fn connect(&self, deadline: Instant) -> Result<Publisher, Refusal> {
        match self.settings.broken() {
            Some(broken) => Err(Refusal::Config(broken)),
            None => Publisher::connect(&self.settings.nats, "tellhal run", deadline).await,
        }
    }

    /// While the command runs: sends the messages in the spool, and retries a failed connection.
    async fn meanwhile(&self, connection: &mut Result<Publisher, Refusal>) -> std::convert::Infallible {
        let mut pause = PAUSE.0;
        loop {
            if let Ok(publisher) = connection {
                send_older(self.settings, publisher).await;
                return std::future::pending().await;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
            *connection = self.connect(Instant::now() + self.settings.timeout).await;
        }
    }

    /// Returns the connection if it can still be used.
    async fn publish(&mut self, publisher: Publisher, message: &Message) -> Result<Publisher, Refusal> {
        // A connection that was just lost may come back at once, or the server says why it does not.
        let answer = match publisher.is_connected() {
            true => publisher.publish(message, Instant::now() + self.settings.timeout).await,
            false => match publisher.lost() {
                Refusal::Down { .. } => publisher.publish(message, Instant::now() + GRACE).await,
                refusal => Err(refusal),
            },
        };
        match answer {
            Ok(_) => Ok(publisher),
            Err(refusal) => self.spool(message, refusal),
        }
    }

    fn spool(&mut self, message: &Message, refusal: Refusal) -> Result<Publisher, Refusal> {
        let (kept, line) = fall_back(self.settings, message, refusal.clone());
        let repeated = self.reported.as_ref().is_some_and(|before| before.label() == refusal.label());
        if !(repeated && matches!(kept, Ok(Kept::Spooled(_)))) {
            say(line);
        }
        self.reported = Some(refusal.clone());
        Err(refusal)
    }
}

/// Sends the messages in the spool while the command runs.
async fn send_older(settings: &Settings, publisher: &Publisher) {
    let deadline = tokio::time::Instant::now() + settings.timeout;
    for path in settings.spools() {
        if let Ok(Some(spool)) = Spool::existing(path)
            && let Ok(flushed) = tellhal::flush::flush(publisher, &spool, deadline).await
        {
            crate::commands::send::say_about(&flushed, &spool);
        }
    }
}
