//! The questions that every state answers.

use std::fmt::Debug;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tellhal::message::{Mark, Message};
use tellhal::timestamp::Timestamp;

use crate::delivery::Outcome;
use crate::engine::output::Outputs;
use crate::engine::rule::routing::Route;

/// A message that a route takes, on its way to the route's rooms.
#[derive(Clone, Copy, Debug)]
pub struct Admission<'a> {
    pub route: &'a Route,
    /// The rooms it would go to; in the environment `dev` the dev room.
    pub rooms: &'a Arc<[String]>,
    pub message: &'a Message,
    pub now: Timestamp,
}

/// The answer of a state to a message.
#[derive(Debug, PartialEq)]
pub enum Verdict {
    Pass,
    /// It passes, with a remark for its readers.
    Marked(Mark),
    /// It is kept from the route's rooms, with a note.
    Kept(Outcome),
}

/// One state of the fold.
pub trait State: Default {
    /// Its part of a snapshot. All keys have defaults, so that relays of neighbouring versions can read each other's snapshots.
    type Kept: Clone + Debug + Default + PartialEq + Serialize + DeserializeOwned;

    fn keep(&self) -> Self::Kept;

    fn restore(kept: Self::Kept) -> Self;

    fn admit(&mut self, _: Admission) -> Verdict {
        Verdict::Pass
    }

    /// The time at which [`State::close`] has something to do, if no other entry comes first.
    fn due(&self) -> Option<Timestamp> {
        None
    }

    /// Ends everything that is due by `now`, and adds the outputs this leads to.
    fn close(&mut self, _now: Timestamp, _: &mut Outputs) {}
}
