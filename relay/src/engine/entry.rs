//! Entries of the log as the engine sees them, read from subject and payload. Reading never fails: what
//! cannot be understood is an entry that changes nothing and is counted.

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

/// What an entry says.
#[derive(Debug)]
pub enum Happening {
    Message(Received),
    /// Time passed.
    Tick,
    /// From here on these rules are in force.
    Config(Arc<Rules>),
    /// A dead or stranded delivery is to be delivered after all.
    Retry(Retry),
    /// Neither of these; a newer relay may know.
    Unknown,
}

/// `hal.ctl.config`: which configuration is in force from here on; its text is in `HAL_FILES`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigEntry {
    pub hash: String,
}

/// `hal.ctl.retry`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Retry {
    /// The same for every copy of this request.
    #[serde(default)]
    pub once: String,
    pub delivery: Delivery,
    /// The room that shall have it now.
    pub room: String,
    pub reason: String,
}

/// An entry before the configuration it may name has been looked up.
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
        Some(Subject::Ctl("tick")) => Happening::Tick,
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
            Happening::Tick => "tick",
            Happening::Config(_) => "config",
            Happening::Retry(_) => "retry",
            Happening::Unknown => "unknown",
        }
    }
}
