//! The ids of the last hour, so that a message that is in the log twice is delivered once. The stream's own
//! dedupe is the first guard and does not survive every restart.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tellhal::timestamp::Timestamp;

use super::ask::State;

/// The time for which an id is remembered, the same as the stream's.
pub const MEMORY: Duration = Duration::from_secs(3600);
/// The largest number of remembered ids (about 35 bytes each); the oldest are forgotten first.
pub const MAX_IDS: usize = 100_000;

/// A packed id: its time, itself, its source.
const ENTRY: usize = 8 + 8 + 4;

/// The earlier use of an id.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    New,
    /// The same source used it before.
    Duplicate,
    /// Another source used this id before.
    Taken,
}

/// The ids of the last hour and their sources, each by the first bytes of its hash. A collision (2^64 tries) has only the
/// effect that a message is shown under its sequence in the log.
#[derive(Debug, Default)]
pub struct Seen {
    sources: HashMap<u64, u32>,
    order: VecDeque<(Timestamp, u64)>,
}

/// The ids in a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Kept {
    /// Each with its time and source, oldest first: 20 bytes each, in base64, since there may be a hundred thousand.
    ids: String,
}

impl State for Seen {
    type Kept = Kept;

    fn keep(&self) -> Kept {
        let mut bytes = Vec::with_capacity(self.order.len() * ENTRY);
        for &(at, id) in &self.order {
            let Some(source) = self.sources.get(&id) else { continue };
            bytes.extend_from_slice(&at.0.to_be_bytes());
            bytes.extend_from_slice(&id.to_be_bytes());
            bytes.extend_from_slice(&source.to_be_bytes());
        }
        Kept { ids: STANDARD.encode(bytes) }
    }

    /// Ids that cannot be read are forgotten: the stream's own dedupe remains.
    fn restore(kept: Kept) -> Self {
        let mut seen = Seen::default();
        for entry in STANDARD.decode(kept.ids).unwrap_or_default().chunks_exact(ENTRY) {
            let number = |range: std::ops::Range<usize>| {
                entry[range].iter().fold(0, |number: u64, byte| number << 8 | u64::from(*byte))
            };
            seen.insert(Timestamp(number(0..8) as i64), number(8..16), number(16..20) as u32);
        }
        seen
    }
}

impl Seen {
    /// Remembers the id, and returns its earlier use.
    pub fn check(&mut self, source: &str, id: &str, now: Timestamp) -> Verdict {
        self.forget(now);
        let (id, source) = (first_bytes(id), first_bytes(source) as u32);
        match self.sources.get(&id) {
            Some(&known) if known == source => Verdict::Duplicate,
            Some(_) => Verdict::Taken,
            None => {
                self.insert(now, id, source);
                Verdict::New
            }
        }
    }

    fn insert(&mut self, at: Timestamp, id: u64, source: u32) {
        self.sources.insert(id, source);
        self.order.push_back((at, id));
    }

    fn forget(&mut self, now: Timestamp) {
        while let Some(&(at, id)) = self.order.front() {
            if now.since(at) < MEMORY && self.order.len() < MAX_IDS {
                return;
            }
            self.order.pop_front();
            self.sources.remove(&id);
        }
    }
}

fn first_bytes(text: &str) -> u64 {
    let hash = Sha256::digest(text.as_bytes());
    hash.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}
