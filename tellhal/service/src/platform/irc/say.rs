//! A line between the room that says it and the connection's task that writes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::oneshot;

use crate::platform::{Failure, Sent};
use crate::secret::Secret;

/// A line on its way, and the channel for its result.
#[derive(Debug)]
pub(super) struct Say {
    /// The id of the post: the same line of the same post again is a retry.
    pub(super) id: String,
    pub(super) channel: String,
    pub(super) key: Option<Secret>,
    /// The whole command.
    pub(super) line: String,
    pub(super) stage: Arc<Stage>,
    pub(super) reply: oneshot::Sender<Result<Sent, Failure>>,
}

/// The stage of a line: it is either written or given up, by a task each.
#[derive(Debug, Default)]
pub(super) struct Stage(AtomicU8);

const WAITS: u8 = 0;
const WRITTEN: u8 = 1;
const GIVEN_UP: u8 = 2;

impl Stage {
    /// Marks the line as written; false if it was given up.
    pub(super) fn write(&self) -> bool {
        self.0.compare_exchange(WAITS, WRITTEN, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Marks the line as given up; false if it was written.
    pub(super) fn give_up(&self) -> bool {
        self.0.compare_exchange(WAITS, GIVEN_UP, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    pub(super) fn is_written(&self) -> bool {
        self.0.load(Ordering::SeqCst) == WRITTEN
    }
}
