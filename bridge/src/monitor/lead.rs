//! The monitors of the configuration in force. Bridges with the same monitors share one lease: the one that has it looks, the
//! others stand by. While two bridges have different monitors, each of them may look at those they have in common; the revision
//! of a monitor's state then lets only one of them tell a change.

use std::sync::Arc;
use std::time::Duration;

use service::lease::{Lease, campaign};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Monitor;
use super::removed::{LEASES, Removed};
use super::session::Session;
use crate::hash::hash;
use crate::means::{Means, Running};

/// The pause before the bus is asked again for a lease.
const PAUSE: Duration = Duration::from_secs(1);

/// The running monitors.
pub(crate) struct Monitors {
    pub(crate) monitors: Vec<Monitor>,
    running: Running,
}

impl Monitors {
    /// Runs monitors, and resolves what was wrong with those that are gone.
    pub(crate) fn start(monitors: &[Monitor], means: &Means) -> Monitors {
        let running = Running::default();
        running.tasks.spawn(lead(monitors.to_vec(), means.clone(), running.stop.clone()));
        Monitors { monitors: monitors.to_vec(), running }
    }

    /// Looks no further, and gives the lease back.
    pub(crate) async fn end(self, grace: Duration) {
        self.running.end(grace).await;
    }
}

async fn lead(monitors: Vec<Monitor>, means: Means, stop: CancellationToken) {
    let names: Vec<&str> = monitors.iter().map(|monitor| monitor.name.as_str()).collect();
    let key = format!("{LEASES}{}", hash(&names.join("\n")));
    let removed = Removed { monitors: &monitors, means: &means, lease: &key };
    while !stop.is_cancelled() {
        // Without monitors a lease is only for those that are gone.
        if monitors.is_empty() {
            tokio::select! {
                is_over = is_over(&removed) => if is_over { return },
                () = stop.cancelled() => return,
            }
        }
        tokio::select! {
            lease = win(&means, &key) => hold(Arc::new(lease), &removed, &stop).await,
            () = stop.cancelled() => return,
        }
    }
}

async fn win(means: &Means, key: &str) -> Lease {
    loop {
        match means.bus.streams().await {
            Ok(streams) => return campaign(&streams.state, key, &means.owner).await,
            Err(error) => tracing::debug!(error = format!("{error:#}"), "no lease for monitors"),
        }
        sleep(PAUSE).await;
    }
}

/// True if nothing is left of monitors that are gone.
async fn is_over(removed: &Removed<'_>) -> bool {
    loop {
        match removed.left().await {
            Ok(left) => return left.is_empty(),
            Err(error) => tracing::debug!(error = format!("{error:#}"), "no memory of monitors"),
        }
        sleep(PAUSE).await;
    }
}

async fn hold(lease: Arc<Lease>, removed: &Removed<'_>, stop: &CancellationToken) {
    let Removed { monitors, means, .. } = removed;
    tracing::info!(monitors = monitors.len(), "this bridge looks at the monitors");
    let mut sessions = JoinSet::new();
    for monitor in *monitors {
        let (monitor, means, lease) = (monitor.clone(), (*means).clone(), lease.clone());
        sessions.spawn(Session { monitor, means, lease }.run());
    }
    let tidy = async {
        let _ = lease.bound(removed.resolve()).await;
        if !monitors.is_empty() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = tidy => {}
        () = lease.keep() => {}
        () = stop.cancelled() => {}
    }
    // An observation that is under way may be dropped at any point, as by a kill.
    sessions.shutdown().await;
    lease.release().await;
}
