//! The state of a message in a room, and the words for it: one table for `hal-relay trace`, the API and the page.

use schemars::JsonSchema;
use serde::Serialize;

use super::id::{is_summary, message_id};
use super::{Outcome, Receipt};

/// The state of a message in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FateState {
    /// It is to be delivered, and has no trace yet.
    Expected,
    /// In the room's queue.
    Waiting,
    /// In the room's queue, after at least one attempt.
    Retrying,
    /// In a post of its own.
    Posted,
    /// In a post with others, with a line of its own.
    Listed,
    /// Only counted in a post with others: nobody can read it there.
    Counted,
    /// Held back by a throttle and counted in its summary.
    Held,
    /// Moved to another room.
    Moved,
    /// The room can never take it: a dead letter on the list.
    Dead,
    /// A dead letter that an operator gave up, or a message that goes to no room.
    Dropped,
    /// An operator retried it; the result is a step of its own.
    Retried,
    /// It was to be delivered, and is so old that its receipt is gone.
    Forgotten,
}

impl FateState {
    /// A character and words for the state.
    const fn shown(self) -> (&'static str, &'static str) {
        match self {
            FateState::Expected => ("…", "to be delivered"),
            FateState::Waiting => ("…", "waiting in the room's queue"),
            FateState::Retrying => ("↻", "not taken yet, tried again"),
            FateState::Posted => ("✓", "posted"),
            FateState::Listed => ("✓", "posted in a list with others"),
            FateState::Counted => ("#", "only counted in a post with others"),
            FateState::Held => ("‖", "held back and counted"),
            FateState::Moved => ("→", "sent on to another room"),
            FateState::Dead => ("✗", "dead letter: the room cannot take it"),
            FateState::Dropped => ("–", "dropped"),
            FateState::Retried => ("↻", "tried again"),
            FateState::Forgotten => ("?", "unknown, since its receipt is no longer kept"),
        }
    }

    pub const fn sign(self) -> &'static str {
        self.shown().0
    }

    pub const fn words(self) -> &'static str {
        self.shown().1
    }

    /// The state after a receipt.
    pub fn of(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Posted => FateState::Posted,
            Outcome::Listed => FateState::Listed,
            Outcome::Counted => FateState::Counted,
            Outcome::Throttled => FateState::Held,
            Outcome::Dropped | Outcome::Duplicate => FateState::Dropped,
            Outcome::Moved => FateState::Moved,
            Outcome::Dead => FateState::Dead,
        }
    }
}

/// The message's delivery in a receipt: the message itself rather than a summary of its repeats.
pub fn delivery_of<'a>(message: &str, receipt: &'a Receipt) -> Option<&'a str> {
    let own = || receipt.ids.iter().map(String::as_str).filter(|id| message_id(id) == message);
    own().find(|id| !is_summary(id)).or_else(|| own().next())
}

/// A receipt's reason, in a form that continues a sentence.
pub fn reason(receipt: &Receipt) -> Option<String> {
    let reason = receipt.reason.as_ref()?;
    Some(match receipt.outcome {
        Outcome::Throttled => format!("by the throttle of route {reason}"),
        Outcome::Dropped if receipt.room == crate::engine::NOWHERE => format!("route {reason} drops it"),
        Outcome::Duplicate => format!("{reason}, and not delivered again"),
        _ => reason.clone(),
    })
}
