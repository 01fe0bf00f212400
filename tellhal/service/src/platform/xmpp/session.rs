//! A logged-in connection: reads, writes, and looks after silence. What stanzas mean is decided in [`Rooms`].

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};

use super::ears::Ears;
use super::pending::Say;
use super::rooms::Rooms;
use super::stream::{Stream, read, write};
use super::{Settings, stanza};
use crate::platform::Failure;

/// The interval between looks at what time brings.
const LOOK: Duration = Duration::from_secs(1);
/// The silence after which the server is asked for a sign of life: while it owes an answer, and otherwise.
const OWING: Duration = Duration::from_secs(4);
const SILENCE: Duration = Duration::from_secs(60);
/// The silence after that question, after which the connection is lost.
const DEAD: Duration = Duration::from_secs(10);
/// The longest time for a farewell.
const FAREWELL: Duration = Duration::from_secs(1);

pub(super) struct Session<'a> {
    settings: &'a Settings,
    stream: Stream,
    rooms: Rooms<'a>,
    ears: &'a Ears,
    /// The server knows that we take messages to our own address.
    is_available: bool,
    last_read: Instant,
    /// The first stanza that was written since then.
    first_written: Option<Instant>,
    asked: Option<Instant>,
}

impl<'a> Session<'a> {
    pub(super) fn new(settings: &'a Settings, stream: Stream, ears: &'a Ears) -> Self {
        Session {
            settings,
            stream,
            rooms: Rooms::new(settings),
            ears,
            is_available: false,
            last_read: Instant::now(),
            first_written: None,
            asked: None,
        }
    }

    /// Runs until the connection or its last user is gone; returns the reason why it ended.
    pub(super) async fn run<T>(mut self, mut says: mpsc::Receiver<Say>, users: &watch::Sender<T>) -> Failure {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let ended = loop {
            let done = tokio::select! {
                inbound = read(self.settings, &mut self.stream) => inbound.and_then(|inbound| {
                    (self.last_read, self.first_written, self.asked) = (Instant::now(), None, None);
                    self.rooms.hear(&inbound.element, inbound.cut, Instant::now())
                }),
                Some(say) = says.recv() => {
                    self.rooms.say(say, Instant::now());
                    Ok(())
                }
                _ = look.tick() => self.look(),
                () = users.closed() => {
                    self.farewell().await;
                    break self.settings.transient("it has no user any more");
                }
            };
            let heard = std::mem::take(&mut self.rooms.heard);
            heard.into_iter().for_each(|heard| self.ears.tell(heard));
            let done = match done {
                Ok(()) => self.flush().await,
                Err(failure) => Err(failure),
            };
            if let Err(failure) = done {
                break failure;
            }
        };
        says.close();
        while let Ok(say) = says.try_recv() {
            self.rooms.say(say, Instant::now());
        }
        self.rooms.fail_all(&ended.to_string());
        ended
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        let out = std::mem::take(&mut self.rooms.out);
        if out.is_empty() {
            return Ok(());
        }
        self.first_written.get_or_insert_with(Instant::now);
        write(self.settings, &mut self.stream, &out).await
    }

    fn look(&mut self) -> Result<(), Failure> {
        let now = Instant::now();
        let wanted = self.ears.rooms();
        if let Some(wanted) = &wanted {
            if !std::mem::replace(&mut self.is_available, true) {
                self.rooms.out.push(stanza::available());
            }
            wanted.iter().for_each(|room| self.rooms.want(room, now));
        }
        self.rooms.look(now);
        if self.asked.is_some_and(|asked| now.duration_since(asked) > DEAD) {
            return Err(self.settings.transient("the server stopped answering"));
        }
        let owes = self.first_written.is_some_and(|written| now.duration_since(written) > OWING);
        if self.asked.is_none() && (owes || now.duration_since(self.last_read) > SILENCE) {
            self.asked = Some(now);
            self.rooms.ask_server(now);
        }
        Ok(())
    }

    /// Out of politeness: the connection ends in either case.
    async fn farewell(&mut self) {
        let farewell = async {
            write(self.settings, &mut self.stream, &[stanza::unavailable()]).await?;
            let closed = futures_util::SinkExt::<&tokio_xmpp::Stanza>::close(&mut self.stream).await;
            closed.map_err(|error| self.settings.transient(&error.to_string()))
        };
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
    }
}
