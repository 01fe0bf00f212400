//! Listening: keeps a connection open and hands on what is heard.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Connection, Heard, Muc};
use crate::platform::Failure;

/// The shortest and the longest pause before the connection is opened again.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// The longest wait for a connection before the pause begins.
const CONNECT: Duration = Duration::from_secs(30);

/// Hears what is said in some rooms and to our own address.
#[derive(Debug)]
pub struct Listener {
    connection: Arc<Connection>,
    heard: mpsc::Receiver<Heard>,
    pause: Pause,
}

/// The pause before the next attempt to connect.
#[derive(Debug)]
struct Pause {
    until: Instant,
    next: Duration,
    /// The reason that was logged last.
    reason: String,
}

impl Listener {
    /// Hears what is said in `rooms` and to our own address, from now on.
    pub fn new(connection: Arc<Connection>, rooms: Vec<Muc>) -> Self {
        let heard = connection.hear(rooms);
        let pause = Pause { until: Instant::now(), next: PAUSE.0, reason: String::new() };
        Listener { connection, heard, pause }
    }

    /// The next message. Opens the connection, and opens it again with growing pauses while it cannot be had. May be dropped
    /// and called again without losing anything.
    pub async fn next(&mut self) -> Heard {
        let Listener { connection, heard, pause } = self;
        loop {
            tokio::select! {
                biased;
                Some(heard) = heard.recv() => return heard,
                () = keep_up(connection, pause) => {}
            }
        }
    }
}

/// Opens the connection and waits for its end.
async fn keep_up(connection: &Connection, pause: &mut Pause) {
    tokio::time::sleep_until(pause.until).await;
    match connection.up(Instant::now() + CONNECT).await {
        Ok(up) => {
            pause.next = PAUSE.0;
            pause.reason.clear();
            up.closed().await;
            pause.grow();
        }
        Err(failure) => pause.failed(&failure),
    }
}

impl Pause {
    fn failed(&mut self, failure: &Failure) {
        let reason = failure.to_string();
        if reason != self.reason {
            tracing::warn!(%failure, "xmpp is not heard; trying again");
            self.reason = reason;
        }
        self.grow();
    }

    fn grow(&mut self) {
        let jitter = self.next.mul_f64(fastrand::f64() / 2.0);
        self.until = Instant::now() + self.next + jitter;
        self.next = (self.next * 2).min(PAUSE.1);
    }
}
