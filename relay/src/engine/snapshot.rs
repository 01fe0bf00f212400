//! The fold's state as it is kept between two relays: `{sequence, version, configuration, now, state}`. Each state has its
//! own part, which may be missing, and parts that this relay does not know are ignored.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tellhal::timestamp::Timestamp;

use super::state::{Kept, States};
use super::{Engine, Rules};
use crate::delivery::ages::Ages;
use crate::delivery::queue;

/// The version of [`Snapshot`] this relay writes and reads. A part that comes or goes is no new version.
pub const VERSION: u32 = 4;

/// The state of the fold after the entry `sequence`, and the queues of its deliveries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    pub version: u32,
    pub sequence: u64,
    /// Hash of the rules in force; their text is in `HAL_FILES`.
    pub configuration: String,
    pub now: Timestamp,
    /// The creation of the stream that is the log.
    #[serde(default)]
    pub log: Option<Timestamp>,
    #[serde(default)]
    pub state: Kept,
    /// The deliveries of the folded entries that wait, by room.
    #[serde(default)]
    pub rooms: BTreeMap<String, queue::Kept>,
    /// How long ago the entries were folded.
    #[serde(default)]
    pub ages: Ages,
}

impl Engine {
    /// The state as of the last entry folded, with the queues of its deliveries.
    pub fn snapshot(&self, rooms: BTreeMap<String, queue::Kept>) -> Snapshot {
        Snapshot {
            version: VERSION,
            sequence: self.sequence,
            configuration: self.rules.hash.clone(),
            now: self.now,
            log: None,
            state: self.states.keep(),
            rooms,
            ages: Ages::default(),
        }
    }

    /// The engine as it was. `rules` are those the snapshot names.
    pub fn restore(snapshot: Snapshot, rules: Arc<Rules>) -> Self {
        let Snapshot { sequence, now, state, .. } = snapshot;
        Engine { rules, sequence, now, states: States::restore(state) }
    }
}
