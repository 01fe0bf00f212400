//! All that the bridge must not forget over a restart or a takeover, in the bucket `HAL_BRIDGE`: monitors' states, pauses,
//! reminders. An entry is JSON under a kind and a name, and stays.

use anyhow::Context as _;
use futures_util::TryStreamExt as _;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bus::Bus;
use crate::hash::hash;

/// The entries of one kind. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Memory {
    bus: Bus,
    kind: &'static str,
}

/// An entry with its revision, by which it can be changed only as it was read.
#[derive(Clone, Debug)]
pub(crate) struct Entry<T> {
    pub(crate) value: T,
    pub(crate) revision: u64,
}

impl Memory {
    /// The entries of a `kind`, which is one token.
    pub(crate) fn new(bus: &Bus, kind: &'static str) -> Memory {
        Memory { bus: bus.clone(), kind }
    }

    /// The entry `name`; `None` if there is none. One that cannot be understood is an error: it may be a newer bridge's.
    pub(crate) async fn get<T: DeserializeOwned>(&self, name: &str) -> anyhow::Result<Option<Entry<T>>> {
        let key = self.key(name);
        let entry = self.bus.streams().await?.memory.entry(&key).await.inspect_err(|_| self.bus.forget())?;
        let Some(entry) = entry.filter(|entry| !entry.value.is_empty()) else { return Ok(None) };
        let value = serde_json::from_slice(&entry.value).with_context(|| format!("the entry {key}"))?;
        Ok(Some(Entry { value, revision: entry.revision }))
    }

    /// All entries of the kind that can be understood.
    pub(crate) async fn all<T: DeserializeOwned>(&self) -> anyhow::Result<Vec<T>> {
        let memory = self.bus.streams().await?.memory;
        let keys = memory.keys().await.inspect_err(|_| self.bus.forget())?;
        let (prefix, keys) = (format!("{}.", self.kind), keys.try_collect::<Vec<String>>().await?);
        let mut all = Vec::new();
        for key in keys.iter().filter(|key| key.starts_with(&prefix)) {
            let entry = memory.entry(key).await?.filter(|entry| !entry.value.is_empty());
            all.extend(entry.and_then(|entry| serde_json::from_slice(&entry.value).ok()));
        }
        Ok(all)
    }

    /// Changes an entry as it was read (`0` if there was none), and returns its new revision; `None` if somebody else has
    /// changed it since.
    pub(crate) async fn change(
        &self,
        name: &str,
        value: &impl Serialize,
        revision: u64,
    ) -> anyhow::Result<Option<u64>> {
        use async_nats::jetstream::kv::UpdateErrorKind;
        let value = serde_json::to_vec(value)?;
        let memory = self.bus.streams().await?.memory;
        match memory.update(self.key(name), value.into(), revision).await {
            Ok(revision) => Ok(Some(revision)),
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => Ok(None),
            Err(error) => {
                self.bus.forget();
                Err(error.into())
            }
        }
    }

    /// Names are whatever somebody configured, so a key has their hash.
    fn key(&self, name: &str) -> String {
        format!("{}.{}", self.kind, hash(name))
    }
}
