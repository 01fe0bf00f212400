//! The routing rules in force, as plain data: what the engine needs of a configuration and nothing else.
//! Serialized it is the text a `config` entry of the log points to; it holds no secrets and no adapters.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::condition::Conditions;

/// Every rule that decides which room reads a message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Routing {
    /// Where everything goes and nowhere else, in the environment `dev`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dev_room: Option<String>,
    pub default_room: String,
    /// Every room there is.
    pub rooms: BTreeSet<String>,
    /// In the order they are tried.
    pub routes: Vec<Route>,
}

/// One rule: if everything it asks for holds, its rooms read the message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Route {
    pub name: String,
    /// What it asks for; in the text each condition is a key of the route.
    #[serde(flatten)]
    pub conditions: Conditions,
    pub rooms: Vec<String>,
    /// No later route is tried.
    pub stop: bool,
    /// The message goes nowhere on this route's account, and is counted.
    pub drop: bool,
    /// The first message passes, repeats within the window are counted and summed up at its end.
    pub throttle: Option<Duration>,
    /// What makes a message a repeat; tag and source when empty.
    pub throttle_by: Vec<ThrottleBy>,
}

/// One part of what makes a message a repeat of another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThrottleBy {
    Tag,
    Source,
    Severity,
    Key,
    Status,
    Title,
    Host,
    /// Written `field.<name>`.
    Field(String),
}

impl Routing {
    /// The routing as the text that is hashed and kept in `HAL_FILES`.
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The room of last resort: the dev room where there is one, else the default room.
    pub fn fallback(&self) -> &str {
        self.dev_room.as_deref().unwrap_or(&self.default_room)
    }

    /// `rooms`, or the dev room alone: enforced after routing, so that nothing reaches another room.
    pub fn redirect(&self, rooms: &[String]) -> Vec<String> {
        match &self.dev_room {
            Some(dev) if !rooms.is_empty() => vec![dev.clone()],
            _ => rooms.to_vec(),
        }
    }
}
