//! The state of a client's connection for all readers that share it: its replacements, and messages that break it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// The connections of one client, for all readers that share it.
#[derive(Clone, Debug)]
pub struct Connections {
    /// Grows with every connection: a consumer does not outlive its own.
    pub count: watch::Receiver<u64>,
    /// The end of the careful time that the last reader began which met a message that breaks the connection.
    careful_until: Arc<Mutex<Option<Instant>>>,
}

impl Connections {
    pub fn new(count: watch::Receiver<u64>) -> Self {
        Connections { count, careful_until: Arc::default() }
    }

    /// The end of the careful time, if it is one.
    pub(super) fn careful_until(&self) -> Option<Instant> {
        self.lock().filter(|until| Instant::now() < *until)
    }

    /// Makes the readers careful for this time; returns its end.
    pub(super) fn be_careful(&self, time: Duration) -> Instant {
        let until = Instant::now() + time;
        *self.lock() = Some(until);
        until
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.careful_until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
