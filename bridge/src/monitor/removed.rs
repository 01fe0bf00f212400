//! Monitors that the configuration no longer has: what was wrong with them is told as resolved, so that no key stays open for ever. While
//! another bridge still looks at other monitors than this one, as in a rollout, nothing is told: it may be that bridge's.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use tokio::time::{sleep, timeout};

use super::Monitor;
use super::session::KIND;
use super::store::{Store, Stored};
use crate::means::Means;
use crate::memory::Memory;

/// The beginning of the keys of monitors' leases.
pub(super) const LEASES: &str = "bridge-monitors-";
/// The time in which a bridge that lives has renewed its lease, which it does each second.
const ALIVE: Duration = Duration::from_secs(3);
/// The longest time of reading a bucket: a list of keys that breaks off would be waited for without end.
const READING: Duration = Duration::from_secs(10);
/// The pause before it is tried again.
const PAUSE: Duration = Duration::from_secs(5);

/// The monitors that are gone, and the means to tell so.
pub(super) struct Removed<'a> {
    pub(super) monitors: &'a [Monitor],
    pub(super) means: &'a Means,
    /// The key of this bridge's lease.
    pub(super) lease: &'a str,
}

impl Removed<'_> {
    /// Tells what is left of monitors that are gone, once no other bridge looks at them. Tries without end.
    pub(super) async fn resolve(&self) {
        loop {
            match self.try_to_resolve().await {
                Ok(true) => return,
                Ok(false) => tracing::info!("another bridge has other monitors: what is gone is told later"),
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::warn!(error, "the monitors that are gone are not resolved yet");
                }
            }
            sleep(PAUSE).await;
        }
    }

    /// The entries of monitors that are gone and of which something is wrong.
    pub(super) async fn left(&self) -> anyhow::Result<Vec<String>> {
        let entries = timeout(READING, Memory::new(&self.means.bus, KIND).all::<Stored>()).await??;
        let is_gone = |name: &String| !self.monitors.iter().any(|monitor| monitor.name == *name);
        let open = entries.into_iter().filter(|stored| !stored.is_settled());
        Ok(open.filter_map(|stored| Some(stored.about?.name)).filter(is_gone).collect())
    }

    /// False if another bridge looks at other monitors.
    async fn try_to_resolve(&self) -> anyhow::Result<bool> {
        let left = self.left().await?;
        if left.is_empty() {
            return Ok(true);
        }
        if self.others_look().await? {
            return Ok(false);
        }
        let memory = Memory::new(&self.means.bus, KIND);
        for name in left {
            let mut store = Store::load(&memory, &name).await?;
            // The messages of a bridge that was killed come first.
            store.publish(&self.means.outbox).await?;
            while !store.stored.is_settled() {
                store.keep(store.stored.clone().removed()).await?;
                store.publish(&self.means.outbox).await?;
            }
            tracing::info!(monitor = name, "the monitor is gone, and resolved");
        }
        Ok(true)
    }

    async fn others_look(&self) -> anyhow::Result<bool> {
        let before = timeout(READING, self.leases()).await??;
        if before.is_empty() {
            return Ok(false);
        }
        sleep(ALIVE).await;
        let now = timeout(READING, self.leases()).await??;
        Ok(now.iter().any(|(key, revision)| before.get(key) != Some(revision)))
    }

    /// The leases of other monitors, each with its revision.
    async fn leases(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        let store = self.means.bus.streams().await?.state;
        let mut leases = BTreeMap::new();
        let keys: Vec<String> = store.keys().await?.try_collect().await?;
        for key in keys.into_iter().filter(|key| key.starts_with(LEASES) && key != self.lease) {
            if let Some(entry) = store.entry(&key).await?.filter(|entry| !entry.value.is_empty()) {
                leases.insert(key, entry.revision);
            }
        }
        Ok(leases)
    }
}
