//! Questions of ours to rooms and to the server, and who may answer each.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;
use tokio_xmpp::jid::{BareJid, Jid};

/// The longest wait for the answer to a question of ours.
const ANSWER: Duration = Duration::from_secs(20);

/// A question of ours that waits for its answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Question {
    /// May others come into the room that we made?
    Unlock(BareJid),
    Features(BareJid),
    /// Which messages have we missed?
    Missed(BareJid),
    /// Are we still in the room?
    Inside(BareJid),
    /// Has the server taken everything before this, the message with this id to that address?
    Taken(String, BareJid),
    /// Does the server live?
    Alive,
}

/// The questions without an answer, by id, each with the address that may answer and its time.
#[derive(Debug)]
pub(super) struct Questions {
    open: HashMap<String, (Jid, Question, Instant)>,
    /// Begins anywhere, so that nobody can guess an id.
    count: u64,
}

impl Questions {
    pub(super) fn new() -> Self {
        Questions { open: HashMap::new(), count: fastrand::u64(..u64::MAX / 2) }
    }

    /// The id of a new question; `None` if the same one is open.
    pub(super) fn ask(&mut self, to: Jid, question: Question, now: Instant) -> Option<String> {
        if self.open.values().any(|(_, open, _)| *open == question) {
            return None;
        }
        self.count += 1;
        let id = format!("hal-{:x}", self.count);
        self.open.insert(id.clone(), (to, question, now));
        Some(id)
    }

    /// The question that an answer with this id is about, if `may_answer` says so of the one that was asked.
    pub(super) fn answered(&mut self, id: &str, may_answer: impl FnOnce(&Jid) -> bool) -> Option<Question> {
        self.open.get(id).filter(|(asked, ..)| may_answer(asked))?;
        self.open.remove(id).map(|(_, question, _)| question)
    }

    /// True if the question with this id is open.
    pub(super) fn is_open(&self, id: &str, question: &Question) -> bool {
        self.open.get(id).is_some_and(|(_, open, _)| open == question)
    }

    /// Gives up old questions.
    pub(super) fn forget(&mut self, now: Instant) {
        self.open.retain(|_, (_, _, asked)| now.duration_since(*asked) < ANSWER);
    }
}
