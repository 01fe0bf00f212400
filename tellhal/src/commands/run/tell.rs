//! Tells about the command from a thread beside it: a connection is made while it runs, and when there is
//! none at its end, the message goes to the spool at once.

use std::thread::JoinHandle;
use std::time::Duration;

use tellhal::keep::Kept;
use tellhal::{Message, Publisher, Refusal};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::job::Ended;
use super::{Story, send_older};
use crate::commands::{block_on, fall_back};
use crate::config::{Flags, Settings, load};
use crate::exit::say;

/// A connection that is still being made when a short command ends may take until this long after its
/// start: else every short command's message would be spooled. One that was lost has as long to come back.
const GRACE: Duration = Duration::from_millis(250);
/// The first and the longest pause before connecting is tried again during a long command.
const PAUSE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

/// The thread that tells.
pub(super) struct Teller {
    ended: oneshot::Sender<Ended>,
    thread: JoinHandle<()>,
}

impl Teller {
    /// `running` says whether there is a start to tell.
    pub(super) fn start(flags: Flags, story: Story, running: bool) -> Teller {
        let (ended, coming) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let settings = load(&flags);
            let started = running.then(|| story.started(&settings));
            let coming = async { coming.await.ok().and_then(|ended| story.ended(&settings, ended)) };
            let telling = Telling { settings: &settings, said: None };
            if let Err(failure) = block_on(telling.tell(started, coming)) {
                say(failure.what);
            }
        });
        Teller { ended, thread }
    }

    /// Waits until the end is told or spooled.
    pub(super) fn finish(self, ended: Ended) {
        let _ = self.ended.send(ended);
        let _ = self.thread.join();
    }
}

struct Telling<'a> {
    settings: &'a Settings,
    /// The last reason that was said: the same is not said twice.
    said: Option<Refusal>,
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
                    let late = Refusal::Silent { server: self.servers(), after: "the command's end".into() };
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

    async fn connect(&self, deadline: Instant) -> Result<Publisher, Refusal> {
        match self.settings.broken() {
            Some(broken) => Err(Refusal::Config(broken)),
            None => Publisher::connect(&self.settings.nats, "tellhal run", deadline).await,
        }
    }

    /// While the command runs: sends what waits in the spool, and connects again where that failed.
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

    /// The connection again if it is good for more.
    async fn publish(&mut self, publisher: Publisher, message: &Message) -> Result<Publisher, Refusal> {
        // A connection that was lost a moment ago may be back in another, or the server says why not.
        let answer = match publisher.is_connected() {
            true => publisher.publish(message, Instant::now() + self.settings.timeout).await,
            false => match publisher.lost() {
                Refusal::Down { .. } => publisher.publish(message, Instant::now() + GRACE).await,
                known => Err(known),
            },
        };
        match answer {
            Ok(_) => Ok(publisher),
            Err(refusal) => self.spool(message, refusal),
        }
    }

    fn spool(&mut self, message: &Message, refusal: Refusal) -> Result<Publisher, Refusal> {
        let (kept, line) = fall_back(self.settings, message, refusal.clone());
        let known = self.said.as_ref().is_some_and(|said| said.label() == refusal.label());
        if !(known && matches!(kept, Ok(Kept::Spooled(_)))) {
            say(line);
        }
        self.said = Some(refusal.clone());
        Err(refusal)
    }

    fn servers(&self) -> String {
        self.settings
            .nats
            .servers()
            .iter()
            .map(|url| tellhal::refusal::redact(url))
            .collect::<Vec<_>>()
            .join(", ")
    }
}
