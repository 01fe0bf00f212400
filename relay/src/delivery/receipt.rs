//! What became of a delivery, as the rooms report it: receipts and dead letters.

use serde::{Deserialize, Serialize};
use tellhal::timestamp::Timestamp;

use super::{Attempts, Delivery, Place};

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
