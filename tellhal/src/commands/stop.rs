//! The signals that end `listen` and `serve`: Ctrl-C, a service manager's TERM, a closed terminal. Without tokio's signals:
//! every start of tellhal would set those up.

use std::convert::Infallible;
use std::future::pending;
use std::os::unix::net::UnixStream;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::pipe;
use tokio::sync::watch;

/// Number of signals so far.
#[derive(Clone)]
pub(crate) struct Stop(watch::Receiver<usize>);

impl Stop {
    /// Not yet requested, and its other end for [`watch`].
    pub(crate) fn new() -> (watch::Sender<usize>, Stop) {
        let (tell, stop) = watch::channel(0);
        (tell, Stop(stop))
    }

    pub(crate) fn is_requested(&self) -> bool {
        *self.0.borrow() > 0
    }

    /// Waits for the first signal.
    pub(crate) async fn requested(&mut self) {
        self.reached(1).await;
    }

    /// Waits for the second signal: its sender has no patience.
    pub(crate) async fn urged(&mut self) {
        self.reached(2).await;
    }

    async fn reached(&mut self, count: usize) {
        if self.0.wait_for(|signals| *signals >= count).await.is_err() {
            pending().await
        }
    }
}

/// Counts signals, and never returns. If it cannot, they end tellhal as they end any process.
pub(crate) async fn watch(tell: &watch::Sender<usize>) -> Infallible {
    let Ok(signals) = register() else { return pending().await };
    let mut bytes = [0; 16];
    loop {
        let _ = signals.readable().await;
        if let Ok(count @ 1..) = signals.try_read(&mut bytes) {
            tell.send_modify(|signals| *signals += count);
        }
    }
}

fn register() -> std::io::Result<tokio::net::UnixStream> {
    let (ours, theirs) = UnixStream::pair()?;
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // Under nohup the end of the terminal is no reason to end.
        if signal != SIGHUP || !is_ignored(signal) {
            pipe::register(signal, theirs.try_clone()?)?;
        }
    }
    ours.set_nonblocking(true)?;
    tokio::net::UnixStream::from_std(ours)
}

/// True if our caller has made us ignore this signal.
pub(super) fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask & (1 << (signal - 1)) != 0
}
