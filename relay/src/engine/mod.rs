//! The engine: a pure fold over the log, `(state, entry) → (state, outputs)`. It does no I/O, and its `now` is
//! the entry's stream time: the same log gives the same deliveries with the same ids, after any crash,
//! takeover or rollout. Whatever changes it is an entry of the log; nothing else may.

pub mod entry;
pub mod rule;
pub mod snapshot;
pub mod state;

use std::sync::Arc;

use sha2::{Digest, Sha256};
use tellhal::message::{Mark, Received};
use tellhal::timestamp::Timestamp;

use crate::delivery::{Content, Delivery, Outcome, Place, Receipt};
use entry::{Entry, Happening, Retry};
pub use rule::decide::decide;
pub use rule::{Rules, routing};
use state::seen::{self, Seen};
use state::throttle::{Throttle, Verdict, Window};

/// Where dropped messages and duplicates leave their trace: no room can have this name.
pub const NOWHERE: &str = "_nowhere";

/// What an entry led to.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// For the outbox.
    Deliver(Box<Delivery>),
    /// The trace of what was not delivered, for the receipts.
    Note(Receipt),
}

impl Output {
    pub fn place(&self) -> Place {
        match self {
            Output::Deliver(delivery) => delivery.place,
            Output::Note(receipt) => receipt.place,
        }
    }
}

/// The fold's state.
#[derive(Debug)]
pub struct Engine {
    rules: Arc<Rules>,
    /// The last entry folded.
    sequence: u64,
    /// The latest stream time seen: it never goes back, even if the server's clock does.
    now: Timestamp,
    throttle: Throttle,
    seen: Seen,
}

impl Engine {
    /// An engine before the first entry, under the first configuration of the log.
    pub fn new(rules: Arc<Rules>) -> Self {
        let (throttle, seen) = (Throttle::default(), Seen::default());
        Engine { rules, sequence: 0, now: Timestamp::default(), throttle, seen }
    }

    /// The last entry folded.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The configuration in force.
    pub fn rules(&self) -> &Arc<Rules> {
        &self.rules
    }

    /// When a `tick` is due, if no other entry comes first.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.throttle.next_due()
    }

    /// How many throttle windows are open.
    pub fn open_windows(&self) -> usize {
        self.throttle.len()
    }

    /// Folds one entry. Entries at or before [`Engine::sequence`] were folded before and change nothing.
    pub fn apply(&mut self, entry: Entry) -> Vec<Output> {
        if entry.sequence <= self.sequence {
            return Vec::new();
        }
        self.sequence = entry.sequence;
        self.now = self.now.max(entry.at);
        let mut outputs = Outputs { sequence: entry.sequence, at: self.now, list: Vec::new() };
        while let Some(window) = self.throttle.close_due(self.now) {
            outputs.summary(window);
        }
        match entry.what {
            Happening::Message(received) => self.message(received, &mut outputs),
            Happening::Config(rules) => self.rules = rules,
            Happening::Retry(retry) => self.retry(retry, &mut outputs),
            Happening::Tick | Happening::Unknown => {}
        }
        outputs.list
    }

    fn message(&mut self, received: Received, outputs: &mut Outputs) {
        let Received { mut message, mut marks } = received;
        match self.seen.check(&message.source, &message.id, self.now) {
            seen::Verdict::New => {}
            seen::Verdict::Duplicate => {
                return outputs.note(NOWHERE, Outcome::Duplicate, &message.id, "seen before");
            }
            seen::Verdict::Taken => {
                let own = format!("seq-{}", self.sequence);
                marks.push(Mark::IdTaken(std::mem::replace(&mut message.id, own)));
            }
        }
        let rules = self.rules.clone();
        let decision = decide(&rules, &message, self.now);
        for route in decision.drops() {
            outputs.note(NOWHERE, Outcome::Dropped, &message.id, &route.name);
        }
        let mut held: Vec<(&str, &str)> = Vec::new();
        let rooms =
            decision.rooms(|route, named| match self.throttle.admit(route, named, &message, self.now) {
                Verdict::Pass => true,
                Verdict::Overflow => {
                    if !marks.contains(&Mark::Unthrottled) {
                        marks.push(Mark::Unthrottled);
                    }
                    true
                }
                Verdict::Held => {
                    held.extend(named.iter().map(|room| (room.as_str(), route.name.as_str())));
                    false
                }
            });
        for (room, route) in held {
            if !rooms.iter().any(|(taken, _)| *taken == room) {
                outputs.note(room, Outcome::Throttled, &message.id, route);
            }
        }
        let id = message.id.clone();
        let content = Content::Message(Box::new(message));
        for (room, routes) in rooms {
            outputs.deliver(format!("{id}/{room}"), room, routes, marks.clone(), content.clone());
        }
    }

    /// A dead letter again, or a delivery whose room is gone: under a new id, since the old one is spent.
    fn retry(&mut self, retry: Retry, outputs: &mut Outputs) {
        let Retry { once, delivery, room, .. } = retry;
        if self.seen.check("_retry", &once, self.now) == seen::Verdict::Duplicate {
            return outputs.note(NOWHERE, Outcome::Duplicate, &delivery.id, "retried before");
        }
        let routing = &self.rules.routing;
        let known = if routing.rooms.contains(&room) { room.as_str() } else { routing.fallback() };
        let target = routing.dev_room.as_deref().unwrap_or(known);
        let mut marks = delivery.marks;
        if target != delivery.room && !marks.iter().any(|mark| matches!(mark, Mark::ForRoom(_))) {
            marks.push(Mark::ForRoom(delivery.room));
        }
        let first = delivery.id.rsplit_once("/r").filter(|(_, n)| n.parse::<u64>().is_ok());
        let id = format!("{}/r{}", first.map_or(delivery.id.as_str(), |(first, _)| first), self.sequence);
        let target = target.to_owned();
        outputs.deliver(id, &target, delivery.routes, marks, delivery.content);
    }
}

/// The outputs of one entry, numbered in order.
struct Outputs {
    sequence: u64,
    at: Timestamp,
    list: Vec<Output>,
}

impl Outputs {
    fn place(&self) -> Place {
        Place { sequence: self.sequence, number: u32::try_from(self.list.len()).unwrap_or(u32::MAX) }
    }

    fn deliver(&mut self, id: String, room: &str, routes: Vec<String>, marks: Vec<Mark>, content: Content) {
        let (place, at, room) = (self.place(), self.at, room.to_owned());
        self.list.push(Output::Deliver(Box::new(Delivery { id, room, place, at, routes, marks, content })));
    }

    fn note(&mut self, room: &str, outcome: Outcome, id: &str, reason: &str) {
        let note = Receipt::unsent(room, outcome, id, self.place(), self.at, reason.to_owned());
        self.list.push(Output::Note(note));
    }

    fn summary(&mut self, window: Window) {
        let Some(held) = window.held else { return };
        for room in window.rooms.iter() {
            let id = format!("{}/{}/sum/{room}", window.route, window.first_id);
            let routes = vec![window.route.to_string()];
            self.deliver(id, room, routes, Vec::new(), Content::Summary((*held).clone()));
        }
    }
}

/// SHA-256 of the parts one after another, the first 16 bytes in hexadecimal.
pub fn hash(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
