//! The stage of a request between the user that makes it and the connection's task that writes it.

use std::sync::atomic::{AtomicU8, Ordering};

/// A line or message is either written or given up, by a task each.
#[derive(Debug, Default)]
pub(super) struct Stage(AtomicU8);

const WAITS: u8 = 0;
const WRITTEN: u8 = 1;
const GIVEN_UP: u8 = 2;

impl Stage {
    /// Marks it as written; false if it was given up.
    pub(super) fn write(&self) -> bool {
        self.0.compare_exchange(WAITS, WRITTEN, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Marks it as given up; false if it was written.
    pub(super) fn give_up(&self) -> bool {
        self.0.compare_exchange(WAITS, GIVEN_UP, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    pub(super) fn is_written(&self) -> bool {
        self.0.load(Ordering::SeqCst) == WRITTEN
    }
}
