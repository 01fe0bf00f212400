//! The lease of the leader: one key in `HAL_STATE`, renewed each second by compare-and-swap. An observer takes over when the
//! key has not changed for five seconds of the observer's own monotonic clock; no clocks are compared. A lease that has
//! lapsed is never revived (`hold`).

mod hold;

use std::future::Future;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use async_nats::jetstream::kv::{Operation, Store};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use hold::{Answer, Hold, Watch};

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
    hold: Mutex<Hold>,
    /// Cancelled once the lease is lost, or once nothing renews it any more.
    pub lost: CancellationToken,
    /// The revision that won it: grows with every leader.
    pub epoch: u64,
    /// True if the leader before did not end in order: what it was doing may have been done.
    pub is_after_lapse: bool,
}

/// The value of the key after a leader that ended in order, and after one that had lost its lease.
const RELEASED: &str = "";
const LAPSED: &str = "lapsed";

/// The lease ran out before the work was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the lease is lost")]
pub struct Lost;

/// Waits until the lease `key` is ours. `owner` must be this process's alone.
pub async fn campaign(store: &Store, key: &str, owner: &str) -> Lease {
    let mut watch = Watch::default();
    loop {
        match try_once(store, key, owner, &mut watch).await {
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
    watch: &mut Watch,
) -> Result<Option<Lease>, Box<dyn std::error::Error + Send + Sync>> {
    let entry = store.entry(key).await?;
    let revision = entry.as_ref().map_or(0, |entry| entry.revision);
    let value = entry.filter(|entry| entry.operation == Operation::Put).map(|entry| entry.value);
    let value = value.as_deref().unwrap_or(RELEASED.as_bytes());
    let (is_released, has_lapsed) = (value == RELEASED.as_bytes(), value == LAPSED.as_bytes());
    if !watch.may_take(Instant::now(), revision, is_released || has_lapsed) {
        return Ok(None);
    }
    let sent = Instant::now();
    let Ok(epoch) = store.update(key, owner.to_owned().into(), revision).await else { return Ok(None) };
    Ok(Some(Lease {
        store: store.clone(),
        key: key.to_owned(),
        owner: owner.to_owned(),
        hold: Mutex::new(Hold::won(sent, epoch)),
        lost: CancellationToken::new(),
        epoch,
        is_after_lapse: !is_released,
    }))
}

impl Lease {
    /// The time until the lease ends if it is not renewed.
    pub fn left(&self) -> Duration {
        self.hold().left(Instant::now())
    }

    /// True while the lease is ours. The first part that sees it lapsed ends it for all.
    pub fn is_held(&self) -> bool {
        let is_held = self.hold().is_held(Instant::now());
        if !is_held {
            self.lost.cancel();
        }
        is_held && !self.lost.is_cancelled()
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

    /// Renews the lease until it is lost. However this ends, [`Lease::lost`] is cancelled.
    pub async fn keep(&self) {
        let _lost = self.lost.clone().drop_guard();
        let mut beat = tokio::time::interval(RENEW);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while self.is_held() {
            tokio::select! {
                () = self.lost.cancelled() => return,
                () = tokio::time::sleep(self.left()) => {}
                _ = beat.tick() => self.renew().await,
            }
        }
        tracing::warn!(epoch = self.epoch, "the lease is lost");
    }

    /// Gives the lease back, so that a standby can take it at once.
    pub async fn release(&self) {
        let value = if self.is_held() { RELEASED } else { LAPSED };
        self.answered(Answer::Refused);
        let revision = self.hold().revision;
        if let Err(error) = self.store.update(&self.key, value.into(), revision).await {
            tracing::debug!(%error, "the lease could not be given back");
        }
    }

    async fn renew(&self) {
        let (sent, revision) = (Instant::now(), self.hold().revision);
        if !self.is_held() {
            return;
        }
        let update = self.store.update(&self.key, self.owner.clone().into(), revision);
        match tokio::time::timeout(RENEW, update).await {
            Ok(Ok(revision)) => self.answered(Answer::Renewed { sent, revision }),
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
            Ok(Ok(Some(entry))) if entry.value == self.owner => {
                self.answered(Answer::Stored { revision: entry.revision });
            }
            Ok(Ok(_)) => self.answered(Answer::Refused),
            Ok(Err(_)) | Err(_) => {}
        }
    }

    fn answered(&self, answer: Answer) {
        self.hold().answered(Instant::now(), answer);
        self.is_held();
    }

    fn hold(&self) -> std::sync::MutexGuard<'_, Hold> {
        self.hold.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
