//! What travels between the engine and the rooms: deliveries, receipts, dead letters. JSON on the bus.

use std::collections::BTreeMap;

use schemars::JsonSchema;
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

/// The id of the message a delivery's id is about: see [`Delivery::id`]. A message's own id is about itself.
pub fn message_id(delivery: &str) -> &str {
    let summary = delivery.split_once('/').and_then(|(_, rest)| rest.split_once("/sum/"));
    summary.map_or_else(|| delivery.split('/').next().unwrap_or(delivery), |(id, _)| id)
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
    /// How often it was tried; 1 when the first try succeeded, 0 when nothing was sent. Only since the relay that
    /// posted it leads: what an earlier leader tried is not known any more.
    pub tries: u32,
    /// What came of each try, as [`Attempts`] keeps them.
    #[serde(default, skip_serializing_if = "Attempts::is_empty")]
    pub attempts: Attempts,
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
            attempts: Attempts::default(),
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
    #[serde(default, skip_serializing_if = "Attempts::is_empty")]
    pub attempts: Attempts,
    pub delivery: Delivery,
}

/// One try to post, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Attempt {
    /// When the answer came.
    pub at: Timestamp,
    /// How long it took, in seconds; waiting for the room's limiter included.
    pub seconds: f64,
    pub outcome: Answered,
    /// What the platform said, or what was in the way. Never a secret.
    pub answer: String,
}

/// What a try's answer means; also a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Answered {
    /// Taken.
    Ok,
    /// Not now.
    Transient,
    /// Never.
    Permanent,
    /// Nothing of ours, until somebody mends credentials or the room.
    Auth,
}

impl Answered {
    pub fn as_str(self) -> &'static str {
        match self {
            Answered::Ok => "ok",
            Answered::Transient => "transient",
            Answered::Permanent => "permanent",
            Answered::Auth => "auth",
        }
    }
}

/// The tries of one post: of more than ten the first two and the last eight.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Attempts(Vec<Attempt>);

impl Attempts {
    const FIRST: usize = 2;
    const MOST: usize = 10;

    pub fn push(&mut self, attempt: Attempt) {
        if self.0.len() == Self::MOST {
            self.0.remove(Self::FIRST);
        }
        self.0.push(attempt);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn last(&self) -> Option<&Attempt> {
        self.0.last()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deliverys_id_tells_its_message() {
        for id in ["m-1", "m-1/ops", "m-1/ops/r7", "backups/m-1/sum/ops", "backups/m-1/sum/ops/r9"] {
            assert_eq!(message_id(id), "m-1", "{id}");
        }
        // Rooms and routes may have any name of one word.
        assert_eq!(message_id("m-1/sum"), "m-1");
        assert_eq!(message_id("m-1/sum/r7"), "m-1");
    }

    #[test]
    fn of_many_tries_the_first_and_the_last_are_kept() {
        let mut attempts = Attempts::default();
        for n in 0..1500 {
            let (at, answer) = (Timestamp(n), n.to_string());
            attempts.push(Attempt { at, seconds: 0.1, outcome: Answered::Transient, answer });
        }
        let kept: Vec<&str> = attempts.0.iter().map(|attempt| attempt.answer.as_str()).collect();
        assert_eq!(kept, ["0", "1", "1492", "1493", "1494", "1495", "1496", "1497", "1498", "1499"]);
    }
}
