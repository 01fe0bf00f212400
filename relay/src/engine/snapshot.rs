//! The fold's state as it is kept between two relays: `{sequence, version, configuration, state}`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tellhal::timestamp::Timestamp;

use super::state::seen::Seen;
use super::state::throttle::{Throttle, Window};
use super::{Engine, Rules};

/// The version of [`Snapshot`] this relay writes and reads.
pub const VERSION: u32 = 2;

/// Everything the fold knows after the entry `sequence`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    pub version: u32,
    pub sequence: u64,
    /// Hash of the rules in force; their text is in `HAL_FILES`.
    pub configuration: String,
    pub now: Timestamp,
    pub windows: Vec<Window>,
    /// The ids of the last hour, packed: there may be a hundred thousand, each minute.
    pub seen: String,
}

impl Engine {
    /// The state as of the last entry folded.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            version: VERSION,
            sequence: self.sequence,
            configuration: self.rules.hash.clone(),
            now: self.now,
            windows: self.throttle.windows().cloned().collect(),
            seen: self.seen.pack(),
        }
    }

    /// The engine as it was. `rules` are those the snapshot names.
    pub fn restore(snapshot: Snapshot, rules: Arc<Rules>) -> Self {
        let mut throttle = Throttle::default();
        snapshot.windows.into_iter().for_each(|window| throttle.open(window));
        let seen = Seen::unpack(&snapshot.seen);
        Engine { rules, sequence: snapshot.sequence, now: snapshot.now, throttle, seen }
    }
}
