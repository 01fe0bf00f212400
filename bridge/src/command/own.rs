//! Commands that parts of the bridge answer themselves, such as `jobs`: rights, approvals and the audit are those of any other.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tellhal::command::Answer;

/// A part of the bridge that answers commands.
#[async_trait]
pub(crate) trait Own: Send + Sync {
    /// The commands as they are typed, and what they do.
    fn commands(&self) -> &'static [(&'static str, &'static str)];

    /// The answer to one of them.
    async fn answer(&self, call: &Call<'_>) -> Answer;
}

/// A command that a person may give.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) command: &'a str,
    pub(crate) words: &'a [String],
    /// The name of the person.
    pub(crate) person: &'a str,
    pub(crate) chat: &'a str,
    /// Chat and room.
    pub(crate) room: &'a str,
    /// The place for answers, as the chat knows it.
    pub(crate) to: &'a str,
}

/// The parts that answer commands. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Owners(Arc<Mutex<Vec<Arc<dyn Own>>>>);

impl Owners {
    pub(crate) fn add(&self, own: Arc<dyn Own>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(own);
    }

    /// The part that answers a command.
    pub(super) fn of(&self, command: &str) -> Option<Arc<dyn Own>> {
        let owners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        owners.iter().find(|own| own.commands().iter().any(|(usage, _)| first(usage) == command)).cloned()
    }

    /// Usage and help of all commands.
    pub(super) fn table(&self) -> Vec<(&'static str, &'static str)> {
        let owners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        owners.iter().flat_map(|own| own.commands()).copied().collect()
    }
}

/// The command of a usage.
pub(super) fn first(usage: &str) -> &str {
    usage.split(' ').next().unwrap_or_default()
}
