//! The process group of a program that tellhal runs, so that everything that it has started can be ended with it.

use std::process::Child;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

/// Time from the request to end until a program is killed.
pub(crate) const GRACE: Duration = Duration::from_secs(5);

/// A process group; `None` once its number may be used by another.
#[derive(Clone)]
pub(crate) struct Group(Arc<Mutex<Option<Pid>>>);

impl Group {
    /// The group of a child that was started with one of its own.
    pub(crate) fn of(child: &Child) -> Group {
        Group(Arc::new(Mutex::new(i32::try_from(child.id()).ok().and_then(Pid::from_raw))))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(group) = *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = kill_process_group(group, signal);
        }
    }

    /// Waits for the child's end.
    pub(crate) fn wait(&self, child: &mut Child) -> std::io::Result<ExitStatus> {
        let pid = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pid) = pid {
            // Not reaped yet, so that its number is not reused while a signal may still be sent.
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(pid), options) {}
        }
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
        child.wait()
    }
}
