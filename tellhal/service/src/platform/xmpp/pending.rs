//! Messages on their way: written and not yet confirmed, or confirmed after their sender had given up. Pure.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_xmpp::jid::{BareJid, Jid};

use super::Muc;
use crate::platform::stage::Stage;
use crate::platform::{Failure, Sent};

/// The longest wait for a confirmation that its sender no longer waits for. A retry before that is not written again.
const FORGOTTEN: Duration = Duration::from_secs(60);
/// The number of late confirmations that are kept.
const LATE: usize = 32;

/// The receiver of a message.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Target {
    Room(Muc),
    /// A person, or an occupant of a room in private.
    Person(Jid),
}

impl Target {
    /// The receiver, or the room that it is in.
    pub(super) fn bare(&self) -> BareJid {
        match self {
            Target::Room(room) => room.address.clone(),
            Target::Person(jid) => jid.to_bare(),
        }
    }

    /// True if `by` may answer for it: of a room the room itself, none of its occupants.
    fn is_answered_by(&self, by: &Jid) -> bool {
        match self {
            Target::Room(room) => *by == room.address,
            Target::Person(jid) => by.to_bare() == jid.to_bare(),
        }
    }
}

/// A message on its way, and the channel for its result.
#[derive(Debug)]
pub(super) struct Say {
    pub(super) target: Target,
    /// The same id again is a retry.
    pub(super) id: String,
    pub(super) text: String,
    /// The first id of the message that this one corrects.
    pub(super) replaces: Option<String>,
    pub(super) stage: Arc<Stage>,
    pub(super) reply: oneshot::Sender<Result<Sent, Failure>>,
}

impl Say {
    fn is_again(&self, earlier: &Say) -> bool {
        earlier.reply.is_closed()
            && (&earlier.id, &earlier.text) == (&self.id, &self.text)
            && earlier.target.bare() == self.target.bare()
    }
}

#[derive(Debug)]
struct Written {
    say: Say,
    at: Instant,
}

/// The messages of one connection.
#[derive(Debug, Default)]
pub(super) struct Pending {
    written: VecDeque<Written>,
    late: VecDeque<(Say, Sent)>,
}

impl Pending {
    /// The message again, unless it is a retry of one that is on its way or was taken: then it gets that one's answer.
    pub(super) fn new_only(&mut self, say: Say) -> Option<Say> {
        if let Some(at) = self.late.iter().position(|(late, _)| say.is_again(late)) {
            if let Some((_, sent)) = self.late.remove(at) {
                let _ = say.reply.send(Ok(sent));
            }
            return None;
        }
        let Some(written) = self.written.iter_mut().find(|written| say.is_again(&written.say)) else {
            return Some(say);
        };
        if say.stage.write() {
            written.say = say;
        }
        None
    }

    /// A message was written.
    pub(super) fn written(&mut self, say: Say, now: Instant) {
        self.written.push_back(Written { say, at: now });
    }

    /// The message with this id was taken by that receiver.
    pub(super) fn confirm(&mut self, id: &str, by: &Jid, sent: Sent) {
        let Some(say) = self.take(id, by) else { return };
        if say.reply.is_closed() {
            self.late.truncate(LATE - 1);
            self.late.push_front((say, sent));
        } else {
            let _ = say.reply.send(Ok(sent));
        }
    }

    /// The message with this id was refused by that receiver.
    pub(super) fn refuse(&mut self, id: &str, by: &Jid, failure: impl FnOnce(&Target) -> Failure) {
        if let Some(say) = self.take(id, by) {
            let failure = failure(&say.target);
            let _ = say.reply.send(Err(failure));
        }
    }

    fn take(&mut self, id: &str, by: &Jid) -> Option<Say> {
        let is_it = |written: &Written| written.say.id == id && written.say.target.is_answered_by(by);
        let at = self.written.iter().position(is_it)?;
        self.written.remove(at).map(|written| written.say)
    }

    /// True if a message to `room` has waited for `long`.
    pub(super) fn is_late(&self, room: &BareJid, long: Duration, now: Instant) -> bool {
        self.written
            .iter()
            .any(|written| now.duration_since(written.at) > long && written.say.target.bare() == *room)
    }

    /// Forgets what nobody waits for any more.
    pub(super) fn forget(&mut self, now: Instant) {
        self.written
            .retain(|written| !written.say.reply.is_closed() || now.duration_since(written.at) < FORGOTTEN);
    }

    /// All that was written, when the connection ends.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Say> {
        self.written.drain(..).map(|written| written.say)
    }
}
