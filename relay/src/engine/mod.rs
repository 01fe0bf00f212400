//! The engine: a pure fold over the log, `(state, entry) → (state, outputs)`. It does no I/O, and its `now` is
//! the entry's stream time: the same log gives the same deliveries with the same ids, after any crash,
//! takeover or rollout. Only entries of the log change it.

pub mod entry;
pub mod output;
pub mod reread;
pub mod rule;
pub mod snapshot;
pub mod state;

use std::sync::Arc;
use std::time::Duration;

use tellhal::message::{Mark, Received};
use tellhal::timestamp::Timestamp;

use crate::delivery::{Content, Id, Outcome};
use entry::{Entry, Happening, Retry};
use output::Outputs;
pub use output::{NOWHERE, Output};
pub use rule::decide::{OWN_SOURCE, decide};
pub use rule::{Rules, routing};
use state::{Admission, States, seen};

/// The longest time that a state holds something open.
const LONGEST: Duration = Duration::from_secs(5 * 86_400);

/// The fold's state.
#[derive(Debug)]
pub struct Engine {
    rules: Arc<Rules>,
    /// The last entry folded.
    sequence: u64,
    /// The latest stream time seen: it never goes back, even if the server's clock does.
    now: Timestamp,
    states: States,
}

impl Engine {
    /// An engine before the first entry, under the first configuration of the log.
    pub fn new(rules: Arc<Rules>) -> Self {
        Engine { rules, sequence: 0, now: Timestamp::default(), states: States::default() }
    }

    /// The last entry folded.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The configuration in force.
    pub fn rules(&self) -> &Arc<Rules> {
        &self.rules
    }

    /// The latest stream time seen.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The time at which a `tick` is due if no other entry comes first.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.states.due()
    }

    /// The number of open throttle windows.
    pub fn open_windows(&self) -> usize {
        self.states.throttle.len()
    }

    /// Folds one entry. Entries at or before [`Engine::sequence`] were folded before and change nothing.
    pub fn apply(&mut self, entry: Entry) -> Vec<Output> {
        if entry.sequence <= self.sequence {
            return Vec::new();
        }
        self.sequence = entry.sequence;
        self.now = self.now.max(entry.at).max(self.told(&entry.what));
        let mut outputs = Outputs::new(entry.sequence, self.now);
        self.states.close(self.now, &mut outputs);
        match entry.what {
            Happening::Message(received) => self.message(received, &mut outputs),
            Happening::Config(rules) => self.rules = rules,
            Happening::Retry(retry) => self.retry(retry, &mut outputs),
            Happening::Tick(_) | Happening::Unknown => {}
        }
        outputs.list()
    }

    /// The time that a tick tells, if something is due by then. Nothing that is open ends later than [`LONGEST`], and so no tick
    /// moves the time further.
    fn told(&self, what: &Happening) -> Timestamp {
        match (what, self.next_due()) {
            (Happening::Tick(Some(now)), Some(due)) if *now >= due => (*now).min(self.now.plus(LONGEST)),
            _ => Timestamp::default(),
        }
    }

    fn message(&mut self, received: Received, outputs: &mut Outputs) {
        let Received { mut message, mut marks } = received;
        match self.states.seen.check(&message.source, &message.id, self.now) {
            seen::Verdict::New => {}
            seen::Verdict::Duplicate => {
                return outputs.note(NOWHERE, Outcome::Duplicate, &message.id, "seen before");
            }
            seen::Verdict::Taken => {
                let own = id_by_place(self.sequence);
                marks.push(Mark::IdTaken(std::mem::replace(&mut message.id, own)));
            }
        }
        let rules = self.rules.clone();
        let decision = decide(&rules, &message, self.now);
        for route in decision.drops() {
            outputs.note(NOWHERE, Outcome::Dropped, &message.id, &route.name);
        }
        let mut kept: Vec<(&str, &str, Outcome)> = Vec::new();
        let rooms = decision.rooms(|route, named| {
            let admission = Admission { route, rooms: named, message: &message, now: self.now };
            let outcome = self.states.admit(admission, &mut marks);
            kept.extend(outcome.into_iter().flat_map(|outcome| {
                named.iter().map(move |room| (room.as_str(), route.name.as_str(), outcome))
            }));
            outcome.is_none()
        });
        for (room, route, outcome) in kept {
            if !rooms.iter().any(|(taken, _)| *taken == room) {
                outputs.note(room, outcome, &message.id, route);
            }
        }
        let id = message.id.clone();
        let content = Content::Message(Arc::new(message));
        for (room, routes) in rooms {
            outputs.deliver(Id::of_message(&id, room), room, routes, marks.clone(), content.clone());
        }
    }

    /// Retries a dead letter, or a delivery whose room is gone, under a new id, since the old one has a receipt already.
    fn retry(&mut self, retry: Retry, outputs: &mut Outputs) {
        let Retry { once, delivery, room, .. } = retry;
        if self.states.seen.check("_retry", &once, self.now) == seen::Verdict::Duplicate {
            return outputs.note(NOWHERE, Outcome::Duplicate, &delivery.id, "retried before");
        }
        let target = self.rules.routing.target(&room);
        let mut marks = delivery.marks;
        if target != delivery.room && !marks.iter().any(|mark| matches!(mark, Mark::ForRoom(_))) {
            marks.push(Mark::ForRoom(delivery.room));
        }
        let id = delivery.id.again(self.sequence);
        let target = target.to_owned();
        outputs.deliver(id, &target, delivery.routes, marks, delivery.content);
    }
}

/// The id of a message whose own id another source has used.
fn id_by_place(sequence: u64) -> String {
    format!("seq-{sequence}")
}

#[cfg(test)]
mod tests;
