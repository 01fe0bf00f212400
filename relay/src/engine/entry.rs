//! Entries of the log as the engine sees them, read from subject and payload. Reading never fails: an unknown entry changes
//! nothing and is counted.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tellhal::message::{self, Received};
use tellhal::subject::{Names, Subject};
use tellhal::timestamp::Timestamp;

use super::rule::Rules;
use crate::delivery::Delivery;

/// One entry of the log.
#[derive(Debug)]
pub struct Entry {
    pub sequence: u64,
    /// The stream's time.
    pub at: Timestamp,
    pub what: Happening,
}

/// The content of an entry.
#[derive(Debug)]
pub enum Happening {
    Message(Received),
    /// Time passed: it is this time at least, if the entry says so.
    Tick(Option<Timestamp>),
    /// These rules are in force from this entry on.
    Config(Arc<Rules>),
    /// A dead or stranded delivery is retried.
    Retry(Retry),
    /// Another kind, perhaps of a newer relay.
    Unknown,
}

/// `hal.ctl.tick`: the stream's time as the leader's monotonic clock has it, since the server's clock may have been set back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TickEntry {
    pub now: Timestamp,
}

/// `hal.ctl.config`: the configuration in force from this entry on; its text is in `HAL_FILES`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigEntry {
    pub hash: String,
}

/// `hal.ctl.retry`: a delivery, and the room that gets it now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Retry {
    /// The same for every copy of this request.
    #[serde(default)]
    pub once: String,
    pub delivery: Delivery,
    /// The room that gets the delivery.
    pub room: String,
    pub reason: String,
}

/// An entry whose configuration, if it names one, has not been loaded yet.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time, and most are the large one")]
pub enum Raw {
    Ready(Happening),
    /// The rules with this hash.
    Config(String),
}

/// Reads one entry of the log. `once` is its `Nats-Msg-Id`.
pub fn read(
    names: &Names,
    subject: &str,
    payload: &[u8],
    once: Option<&str>,
    sequence: u64,
    at: Timestamp,
) -> Raw {
    let happening = match names.parse(subject) {
        Some(Subject::Ops { source, tag }) => {
            Happening::Message(message::read(source, tag, payload, sequence, at))
        }
        Some(Subject::Ctl("tick")) => {
            Happening::Tick(serde_json::from_slice::<TickEntry>(payload).ok().map(|tick| tick.now))
        }
        Some(Subject::Ctl("config")) => match serde_json::from_slice::<ConfigEntry>(payload) {
            Ok(config) => return Raw::Config(config.hash),
            Err(_) => Happening::Unknown,
        },
        Some(Subject::Ctl("retry")) => match serde_json::from_slice::<Retry>(payload) {
            Ok(mut retry) => {
                retry.once = once.map_or_else(|| format!("seq-{sequence}"), str::to_owned);
                Happening::Retry(retry)
            }
            Err(_) => Happening::Unknown,
        },
        _ => Happening::Unknown,
    };
    Raw::Ready(happening)
}

impl Happening {
    /// The entry's kind, as a metric's label.
    pub fn kind(&self) -> &'static str {
        match self {
            Happening::Message(_) => "message",
            Happening::Tick(_) => "tick",
            Happening::Config(_) => "config",
            Happening::Retry(_) => "retry",
            Happening::Unknown => "unknown",
        }
    }
}
