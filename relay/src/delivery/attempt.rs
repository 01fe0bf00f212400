//! The tries to post something, each with its answer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tellhal::timestamp::Timestamp;

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
