//! The messages between the engine and the rooms: deliveries, receipts, dead letters. JSON on the bus.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tellhal::message::{Mark, Message, Severity};
use tellhal::timestamp::Timestamp;

pub mod ages;
pub mod attempt;
pub mod fate;
pub mod id;
pub mod queue;
pub mod receipt;
pub mod waiting;

pub use attempt::{Answered, Attempt, Attempts};
pub use id::{Id, message_id};
pub use receipt::{DeadLetter, Outcome, Receipt};

/// The length of the text of a delivery that is too long, in bytes.
const SHORT: usize = 8192;

/// One message or summary for one room.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    pub id: Id,
    pub room: String,
    /// The entry of the log that led to it, and its number among that entry's outputs.
    pub place: Place,
    /// The stream's time of that entry.
    pub at: Timestamp,
    /// The routes that named the room; empty if it is the default room.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<String>,
    /// Remarks for the reader, such as a rewritten tag.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub marks: Vec<Mark>,
    pub content: Content,
}

/// A delivery's place: the entry's sequence in the log, then its number among that entry's outputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    pub sequence: u64,
    pub number: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    Message(Arc<Message>),
    Summary(Summary),
}

/// The repeats that a throttle counted, sent at the end of its window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub route: String,
    /// The message that passed and opened the window.
    pub first_id: String,
    /// The number of repeats.
    pub count: u64,
    /// The times of the first and the last repeat.
    pub first: Timestamp,
    pub last: Timestamp,
    /// The highest severity of the repeats.
    pub severity: Severity,
    /// The number of repeats of each tag; beyond 20 tags the others are under `…`.
    pub tags: BTreeMap<String, u64>,
    /// The source of the repeats, if all have the same.
    pub source: Option<String>,
    /// The headline of the last repeat.
    pub headline: String,
}

impl Delivery {
    pub fn severity(&self) -> Severity {
        match &self.content {
            Content::Message(message) => message.severity,
            Content::Summary(summary) => summary.severity,
        }
    }

    /// The number of repeats in a summary; `None` for a message.
    pub fn repeats(&self) -> Option<u64> {
        match &self.content {
            Content::Message(_) => None,
            Content::Summary(summary) => Some(summary.count),
        }
    }

    /// The delivery, without its fields, links, files and command and without the end of its text if it is longer than `limit` bytes of
    /// JSON. A server that takes a message may not take a dead letter with the whole of it.
    pub fn fitting(&self, limit: usize) -> Delivery {
        let mut delivery = self.clone();
        if serde_json::to_vec(self).is_ok_and(|json| json.len() <= limit) {
            return delivery;
        }
        delivery.marks.push(Mark::Shortened);
        if let Content::Message(message) = &mut delivery.content {
            let message = Arc::make_mut(message);
            message.fields.clear();
            message.links.clear();
            message.files.clear();
            message.run = None;
            message.text.truncate(message.text.floor_char_boundary(SHORT));
        }
        delivery
    }

    /// The id of the delivered message.
    pub fn message_id(&self) -> &str {
        match &self.content {
            Content::Message(message) => &message.id,
            Content::Summary(summary) => &summary.first_id,
        }
    }
}
