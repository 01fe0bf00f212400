//! The routing rules as plain data: the part of a configuration that the engine needs. A `config` entry of the log names
//! their serialized text, so they hold no secrets and no settings of rooms.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::condition::Conditions;

/// All rules that decide which rooms get a message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Routing {
    /// In the environment `dev`: the one room of all messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dev_room: Option<String>,
    pub default_room: String,
    /// The names of all rooms.
    pub rooms: BTreeSet<String>,
    /// In the order in which they are tried.
    pub routes: Vec<Route>,
}

/// One rule: if all of its conditions hold, its rooms get the message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Route {
    pub name: String,
    /// In the text, each condition is a key of the route.
    #[serde(flatten)]
    pub conditions: Conditions,
    pub rooms: Vec<String>,
    /// Later routes are not tried.
    pub stop: bool,
    /// The route sends the message to no room; the drop is counted.
    pub drop: bool,
    /// The window in which repeats of a message are only counted, and summed up at its end.
    pub throttle: Option<Duration>,
    /// The properties that a repeat shares with the first message; tag and source when empty.
    pub throttle_by: Vec<ThrottleBy>,
}

/// A property that a repeat shares with the first message.
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
    /// The text that is hashed and kept in `HAL_FILES`.
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The room of last resort: the dev room where there is one, else the default room.
    pub fn fallback(&self) -> &str {
        self.dev_room.as_deref().unwrap_or(&self.default_room)
    }

    /// The room that gets a delivery for `room`: another one if there is no such room, or in the environment `dev`.
    pub fn target<'a>(&'a self, room: &'a str) -> &'a str {
        match &self.dev_room {
            Some(dev) => dev,
            None if self.rooms.contains(room) => room,
            None => &self.default_room,
        }
    }

    /// `rooms`, or the dev room alone: enforced after routing, so that nothing reaches another room.
    pub fn redirect(&self, rooms: &[String]) -> Vec<String> {
        match &self.dev_room {
            Some(dev) if !rooms.is_empty() => vec![dev.clone()],
            _ => rooms.to_vec(),
        }
    }
}
