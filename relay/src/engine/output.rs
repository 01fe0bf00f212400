//! The outputs of an entry of the log: deliveries, and notes of messages that were not delivered.

use tellhal::message::Mark;
use tellhal::timestamp::Timestamp;

use crate::delivery::{Content, Delivery, Id, Outcome, Place, Receipt};

/// The room in the notes of dropped messages and duplicates; no room can have this name.
pub const NOWHERE: &str = "_nowhere";

/// One output of an entry.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// For the outbox.
    Deliver(Box<Delivery>),
    /// The trace of a message that was not delivered, for the receipts.
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

/// The outputs of one entry, numbered in order.
#[derive(Debug)]
pub struct Outputs {
    sequence: u64,
    at: Timestamp,
    list: Vec<Output>,
}

impl Outputs {
    fn place(&self) -> Place {
        Place { sequence: self.sequence, number: u32::try_from(self.list.len()).unwrap_or(u32::MAX) }
    }

    /// The outputs of the entry `sequence`, none so far.
    pub fn new(sequence: u64, at: Timestamp) -> Self {
        Outputs { sequence, at, list: Vec::new() }
    }

    pub fn list(self) -> Vec<Output> {
        self.list
    }

    pub fn deliver(&mut self, id: Id, room: &str, routes: Vec<String>, marks: Vec<Mark>, content: Content) {
        let (place, at, room) = (self.place(), self.at, room.to_owned());
        self.list.push(Output::Deliver(Box::new(Delivery { id, room, place, at, routes, marks, content })));
    }

    pub fn note(&mut self, room: &str, outcome: Outcome, id: &str, reason: &str) {
        let note = Receipt::unsent(room, outcome, id, self.place(), self.at, reason.to_owned());
        self.list.push(Output::Note(note));
    }
}
