//! What travels between the engine and the rooms: deliveries, receipts, dead letters. JSON on the bus.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tellhal::message::{Mark, Message, Severity};
use tellhal::timestamp::Timestamp;

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

/// What became of a delivery, or of a message the rules kept from a room. Published on `hal.sent.<room>`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    pub room: String,
    pub outcome: Outcome,
    /// The deliveries (for `throttled`, `dropped` and `duplicate`: the messages) this is about.
    pub ids: Vec<String>,
    /// The last place in the log it covers.
    pub place: Place,
    pub at: Timestamp,
    /// How often it was tried; 1 when the first try succeeded, 0 when nothing was sent.
    pub tries: u32,
    /// The platform's own id of the post, and its address, where the platform gives them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// An earlier try may have been taken by the room although its answer was lost.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub possible_duplicate: bool,
    /// Why, for what was not posted: the route, or where the message went instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Receipt {
    /// For what was not posted: `id` is the delivery's, or the message's where there is no delivery.
    pub fn unsent(
        room: &str,
        outcome: Outcome,
        id: &str,
        place: Place,
        at: Timestamp,
        reason: String,
    ) -> Self {
        Receipt {
            room: room.to_owned(),
            outcome,
            ids: vec![id.to_owned()],
            place,
            at,
            tries: 0,
            post: None,
            link: None,
            possible_duplicate: false,
            reason: Some(reason),
        }
    }
}

/// What happened to a delivery; also a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// In a post of its own.
    Posted,
    /// In a post with others, listed or counted.
    Counted,
    /// Held by a throttle and counted in its summary.
    Throttled,
    /// A route said `drop`.
    Dropped,
    /// The same message of the same source was in the log already.
    Duplicate,
    /// Sent back to the log for another room.
    Moved,
}

impl Outcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Posted => "posted",
            Outcome::Counted => "counted",
            Outcome::Throttled => "throttled",
            Outcome::Dropped => "dropped",
            Outcome::Duplicate => "duplicate",
            Outcome::Moved => "moved",
        }
    }
}

/// A delivery a room can never take. Published on `hal.dead.<room>`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    pub room: String,
    /// Why, without any secret.
    pub reason: String,
    pub at: Timestamp,
    pub tries: u32,
    pub delivery: Delivery,
}
