//! What travels between the engine and the rooms: deliveries, receipts, dead letters. JSON on the bus.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tellhal::message::{Mark, Message, Severity};
use tellhal::timestamp::Timestamp;

pub mod attempt;
pub mod id;
pub mod receipt;

pub use attempt::{Answered, Attempt, Attempts};
pub use id::message_id;
pub use receipt::{DeadLetter, Outcome, Receipt};

/// One thing for one room to show. Published on `hal.out.<room>`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// `<message id>/<room>`; a summary's is `<route>/<first id>/sum/<room>`, a retry's ends in `/r<sequence>`.
    pub id: String,
    pub room: String,
    /// Where in the log it was decided, and as which of that entry's deliveries: the outbox's order.
    pub place: Place,
    /// The stream's time of that entry.
    pub at: Timestamp,
    /// The routes that named the room; empty when none did and it is the default room.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<String>,
    /// What a reader should know about how the message was read or sent here.
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
    Message(Box<Message>),
    Summary(Summary),
}

/// What a throttle held back, told at the end of its window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub route: String,
    /// The message that passed and opened the window.
    pub first_id: String,
    /// How many repeats were held back.
    pub count: u64,
    /// When the first and the last of them came.
    pub first: Timestamp,
    pub last: Timestamp,
    /// The worst severity among them.
    pub severity: Severity,
    /// How many came under each tag; past 20 tags the rest is under `…`.
    pub tags: BTreeMap<String, u64>,
    /// The one source they came from, if it was one.
    pub source: Option<String>,
    /// The last one's headline.
    pub headline: String,
}

impl Delivery {
    pub fn severity(&self) -> Severity {
        match &self.content {
            Content::Message(message) => message.severity,
            Content::Summary(summary) => summary.severity,
        }
    }

    /// The id of the message this is about.
    pub fn message_id(&self) -> &str {
        match &self.content {
            Content::Message(message) => &message.id,
            Content::Summary(summary) => &summary.first_id,
        }
    }
}
