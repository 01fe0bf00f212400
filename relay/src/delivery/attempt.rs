//! The attempts at one post, each with its answer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tellhal::timestamp::Timestamp;

/// One attempt at a post, and its result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Attempt {
    /// The time of the answer.
    pub at: Timestamp,
    /// Seconds until the answer, including the wait for the room's limiter.
    pub seconds: f64,
    pub outcome: Answered,
    /// The platform's answer, or the error. Never a secret.
    pub answer: String,
}

/// The meaning of an answer; also a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Answered {
    /// The room took the post.
    Ok,
    /// A later attempt may succeed.
    Transient,
    /// The room can never take this post.
    Permanent,
    /// The room takes no post until the credentials or the room itself are repaired.
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

/// The attempts at one post: of more than ten the first two and the last eight.
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
