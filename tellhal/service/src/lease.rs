//! The lease of the leader: one key in `HAL_STATE`, renewed each second by compare-and-swap. An observer takes over when the
//! key has not changed for five seconds of the observer's own monotonic clock; no clocks are compared.

use std::future::Future;
use std::pin::pin;
use std::sync::Mutex;
use std::task::Poll;
use std::time::Duration;

use async_nats::jetstream::kv::{Operation, Store};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The time after its last renewal in which a lease belongs to its leader.
pub const LEASE: Duration = Duration::from_secs(5);
/// The same for the leader itself, a little shorter.
const OWN: Duration = Duration::from_millis(4500);
const RENEW: Duration = Duration::from_secs(1);
const OBSERVE: Duration = Duration::from_millis(250);
/// No post starts when less than this is left of the lease.
pub const LEAST: Duration = Duration::from_secs(1);

/// A lease that was won. Everything done in its name goes through [`Lease::bound`].
#[derive(Debug)]
pub struct Lease {
    store: Store,
    key: String,
    owner: String,
    held: Mutex<Held>,
    /// Cancelled once the lease is lost.
    pub lost: CancellationToken,
    /// The revision that won it: grows with every leader.
    pub epoch: u64,
}

#[derive(Debug)]
struct Held {
    revision: u64,
    until: Instant,
}

/// The lease ran out before the work was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the lease is lost")]
pub struct Lost;

/// Waits until the lease `key` is ours. `owner` must be this process's alone.
pub async fn campaign(store: &Store, key: &str, owner: &str) -> Lease {
    let mut observed: Option<(u64, Instant)> = None;
    loop {
        match try_once(store, key, owner, &mut observed).await {
            Ok(Some(lease)) => return lease,
            Ok(None) => {}
            Err(error) => tracing::debug!(%error, "cannot read the lease"),
        }
        tokio::time::sleep(OBSERVE).await;
    }
}

async fn try_once(
    store: &Store,
    key: &str,
    owner: &str,
    observed: &mut Option<(u64, Instant)>,
) -> Result<Option<Lease>, Box<dyn std::error::Error + Send + Sync>> {
    let entry = store.entry(key).await?;
    let revision = entry.as_ref().map_or(0, |entry| entry.revision);
    let free = entry.as_ref().is_none_or(|entry| entry.operation != Operation::Put || entry.value.is_empty());
    if !free {
        let since =
            observed.filter(|(last, _)| *last == revision).map_or_else(Instant::now, |(_, since)| since);
        *observed = Some((revision, since));
        if since.elapsed() < LEASE {
            return Ok(None);
        }
    }
    let start = Instant::now();
    let Ok(epoch) = store.update(key, owner.to_owned().into(), revision).await else { return Ok(None) };
    Ok(Some(Lease {
        store: store.clone(),
        key: key.to_owned(),
        owner: owner.to_owned(),
        held: Mutex::new(Held { revision: epoch, until: start + OWN }),
        lost: CancellationToken::new(),
        epoch,
    }))
}

impl Lease {
    /// The time until the lease ends if it is not renewed.
    pub fn left(&self) -> Duration {
        self.held().until.saturating_duration_since(Instant::now())
    }

    /// True while the lease is ours.
    pub fn is_held(&self) -> bool {
        !self.lost.is_cancelled() && !self.left().is_zero()
    }

    /// Does `work` unless the lease runs out first. The lease is checked before each step of the work, so
    /// that a process that was stopped and wakes up does nothing in the name of a lease it has lost.
    pub async fn bound<F: Future>(&self, work: F) -> Result<F::Output, Lost> {
        let mut work = pin!(work);
        let mut lost = pin!(self.lost.cancelled());
        std::future::poll_fn(|context| {
            if !self.is_held() || lost.as_mut().poll(context).is_ready() {
                return Poll::Ready(Err(Lost));
            }
            work.as_mut().poll(context).map(Ok)
        })
        .await
    }

    /// Renews the lease until it is lost, then cancels [`Lease::lost`].
    pub async fn keep(&self) {
        let mut beat = tokio::time::interval(RENEW);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.lost.cancelled() => return,
                () = tokio::time::sleep(self.left()) => {}
                _ = beat.tick() => self.renew().await,
            }
            if !self.is_held() {
                tracing::warn!(epoch = self.epoch, "the lease is lost");
                return self.lost.cancel();
            }
        }
    }

    /// Gives the lease back, so that a standby can take it at once.
    pub async fn release(&self) {
        let revision = self.held().revision;
        self.lost.cancel();
        if let Err(error) = self.store.update(&self.key, "".into(), revision).await {
            tracing::debug!(%error, "the lease could not be given back");
        }
    }

    async fn renew(&self) {
        let (start, revision) = (Instant::now(), self.held().revision);
        let update = self.store.update(&self.key, self.owner.clone().into(), revision);
        match tokio::time::timeout(RENEW, update).await {
            Ok(Ok(revision)) => *self.held() = Held { revision, until: start + OWN },
            Ok(Err(error)) => {
                tracing::debug!(%error, "the lease was not renewed");
                self.adopt().await;
            }
            Err(_) => tracing::debug!("the lease was not renewed in time"),
        }
    }

    /// An update that timed out may have arrived all the same: then the entry is ours under a new revision.
    async fn adopt(&self) {
        let entry = tokio::time::timeout(RENEW, self.store.entry(&self.key)).await;
        match entry {
            Ok(Ok(Some(entry))) if entry.value == self.owner => self.held().revision = entry.revision,
            Ok(Ok(_)) => self.lost.cancel(),
            Ok(Err(_)) | Err(_) => {}
        }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
