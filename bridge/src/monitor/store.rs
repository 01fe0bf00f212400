//! A monitor's state with the messages that it has led to and that the log may not have yet. They are stored before they are
//! published and taken out afterwards: after a crash they are published again under the same ids, which the log knows for an hour.

use anyhow::bail;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tellhal::{Message, Severity, Tag};

use super::core::State;
use crate::memory::Memory;
use crate::outbox::Outbox;

/// The source of monitors' messages in the metrics.
const KIND: &str = "monitor";

/// The entry of one monitor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Stored {
    #[serde(default)]
    pub(super) state: State,
    /// All that the source has to know the next time.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub(super) source: Value,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) pending: Vec<Message>,
    /// The settings of its messages, to resolve what is wrong after the monitor was removed from the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) about: Option<About>,
}

/// The settings of a monitor's messages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct About {
    pub(super) name: String,
    pub(super) label: String,
    pub(super) tag: Tag,
    pub(super) severity: Severity,
}

impl Stored {
    /// True if nothing is wrong, and the log has all that was told.
    pub(super) fn is_settled(&self) -> bool {
        self.state.is_settled() && self.pending.is_empty()
    }
}

/// The entry as this bridge knows it.
pub(super) struct Store {
    memory: Memory,
    name: String,
    revision: u64,
    pub(super) stored: Stored,
}

impl Store {
    /// Reads the entry of a monitor.
    pub(super) async fn load(memory: &Memory, name: &str) -> anyhow::Result<Store> {
        let entry = memory.get(name).await?;
        let (stored, revision) = entry.map_or_else(Default::default, |entry| (entry.value, entry.revision));
        Ok(Store { memory: memory.clone(), name: name.to_owned(), revision, stored })
    }

    /// Stores `next`, unless it is what is stored. An error if another bridge has stored something meanwhile.
    pub(super) async fn keep(&mut self, next: Stored) -> anyhow::Result<()> {
        if next == self.stored {
            return Ok(());
        }
        match self.memory.change(&self.name, &next, self.revision).await? {
            Some(revision) => (self.stored, self.revision) = (next, revision),
            None => bail!("another bridge has changed the state"),
        }
        Ok(())
    }

    /// Publishes the messages that wait, and takes them out.
    pub(super) async fn publish(&mut self, outbox: &Outbox) -> anyhow::Result<()> {
        if self.stored.pending.is_empty() {
            return Ok(());
        }
        for message in &self.stored.pending {
            if !outbox.publish(KIND, message).await.is_kept() {
                bail!("a message is not kept");
            }
        }
        self.keep(Stored { pending: Vec::new(), ..self.stored.clone() }).await
    }
}
