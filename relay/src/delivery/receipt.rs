//! The results of deliveries: receipts and dead letters.

use serde::{Deserialize, Serialize};
use tellhal::timestamp::Timestamp;

use super::{Attempts, Delivery, Place, message_id};

/// The result of a delivery, or of a message that the rules kept from a room. Published on `hal.sent.<room>`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    pub room: String,
    pub outcome: Outcome,
    /// The ids of the deliveries; for `throttled`, `dropped` and `duplicate` those of the messages.
    pub ids: Vec<String>,
    /// For `listed`, the positions in `ids` of the deliveries that the post lists, if it does not list all. The others are only
    /// counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listed: Vec<u32>,
    /// The last place in the log that it covers.
    pub place: Place,
    pub at: Timestamp,
    /// The number of attempts: 1 if the first succeeded, 0 if nothing was sent. Attempts of an earlier leader are not counted.
    pub tries: u32,
    /// The attempts, as far as [`Attempts`] keeps them.
    #[serde(default, skip_serializing_if = "Attempts::is_empty")]
    pub attempts: Attempts,
    /// The platform's own id of the post, and its address, where the platform gives them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// True if the room may have taken an earlier attempt whose answer was lost.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub possible_duplicate: bool,
    /// The reason of a delivery that was not posted: the route, or the other room. Of one that was posted: the reason why nobody
    /// knows that it is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Receipt {
    /// The receipt of a delivery that was not posted. `id` is the delivery's, or the message's if there is no delivery.
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
            listed: Vec::new(),
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

    /// The outcome of the delivery at this position in `ids`.
    pub fn outcome_at(&self, index: usize) -> Outcome {
        let is_in_list = |listed: &u32| usize::try_from(*listed).is_ok_and(|listed| listed == index);
        match self.outcome {
            Outcome::Listed if !self.listed.is_empty() && !self.listed.iter().any(is_in_list) => {
                Outcome::Counted
            }
            outcome => outcome,
        }
    }

    /// The outcome of a message, by its id.
    pub fn outcome_of(&self, message: &str) -> Outcome {
        let index = self.ids.iter().position(|id| message_id(id) == message);
        index.map_or(self.outcome, |index| self.outcome_at(index))
    }

    /// The number of deliveries with each outcome.
    pub fn outcomes(&self) -> Vec<(Outcome, u64)> {
        let all = self.ids.len() as u64;
        match self.listed.len() as u64 {
            0 => vec![(self.outcome, all)],
            listed => vec![(self.outcome, listed.min(all)), (Outcome::Counted, all.saturating_sub(listed))],
        }
    }
}

/// The outcome of a delivery; also a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// In a post of its own.
    Posted,
    /// In a post with others, with a line of its own.
    Listed,
    /// Only counted in a post with others: nobody can read it there.
    Counted,
    /// Held by a throttle and counted in its summary.
    Throttled,
    /// Dropped by a route, or given up by an operator.
    Dropped,
    /// The log already had this message of this source.
    Duplicate,
    /// Sent back to the log for another room.
    Moved,
    /// The room can never take it: a dead letter.
    Dead,
}

impl Outcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Posted => "posted",
            Outcome::Listed => "listed",
            Outcome::Counted => "counted",
            Outcome::Throttled => "throttled",
            Outcome::Dropped => "dropped",
            Outcome::Duplicate => "duplicate",
            Outcome::Moved => "moved",
            Outcome::Dead => "dead",
        }
    }
}

/// A delivery a room can never take. Published on `hal.dead.<room>`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    pub room: String,
    /// The reason. Never a secret.
    pub reason: String,
    pub at: Timestamp,
    pub tries: u32,
    #[serde(default, skip_serializing_if = "Attempts::is_empty")]
    pub attempts: Attempts,
    pub delivery: Delivery,
}
