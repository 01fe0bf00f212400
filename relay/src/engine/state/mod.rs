//! What the fold remembers between two entries. Each state is one file with its answer to a message, its timer and its
//! own part of the snapshot; the list below is all there is to add it to.

pub mod part;
pub mod seen;
pub mod throttle;

use std::fmt::Debug;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tellhal::message::{Mark, Message};
use tellhal::timestamp::Timestamp;

use super::output::Outputs;
use super::routing::Route;
use crate::delivery::Outcome;
use part::Part;

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
    /// It passes, and its readers should know something.
    Marked(Mark),
    /// It is kept from the route's rooms; they get a note.
    Kept(Outcome),
}

/// One state of the fold.
pub trait State: Default {
    /// Its part of a snapshot. Its keys have defaults, so that relays of neighbouring versions read each other's.
    type Kept: Clone + Debug + Default + PartialEq + Serialize + DeserializeOwned;

    fn keep(&self) -> Self::Kept;

    fn restore(kept: Self::Kept) -> Self;

    fn admit(&mut self, _: Admission) -> Verdict {
        Verdict::Pass
    }

    /// When [`State::close`] has something to do, if no other entry comes first.
    fn due(&self) -> Option<Timestamp> {
        None
    }

    /// Ends what is due by `now`, with the outputs this leads to.
    fn close(&mut self, _now: Timestamp, _: &mut Outputs) {}
}

/// Makes the structures and the questions to all states from their list. They are asked in its order.
macro_rules! states {
    ($($(#[$about:meta])* $name:ident: $state:ty,)+) => {
        /// Every state of the fold.
        #[derive(Debug, Default)]
        pub struct States {
            $($(#[$about])* pub $name: $state,)+
        }

        /// The states in a snapshot. Parts that another version of the relay wrote are left out.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct Kept {
            $($name: Part<<$state as State>::Kept>,)+
        }

        impl States {
            pub fn keep(&self) -> Kept {
                Kept { $($name: Part::of(self.$name.keep()),)+ }
            }

            /// A part that could not be read is at its default; see [`Kept::unreadable`].
            pub fn restore(kept: Kept) -> Self {
                States { $($name: <$state>::restore(kept.$name.or_default()),)+ }
            }

            /// Asks each state until one keeps the message from the route's rooms.
            pub fn admit(&mut self, admission: Admission, marks: &mut Vec<Mark>) -> Option<Outcome> {
                $(match self.$name.admit(admission) {
                    Verdict::Pass => {}
                    Verdict::Marked(mark) if marks.contains(&mark) => {}
                    Verdict::Marked(mark) => marks.push(mark),
                    Verdict::Kept(outcome) => return Some(outcome),
                })+
                None
            }

            pub fn due(&self) -> Option<Timestamp> {
                [$(self.$name.due(),)+].into_iter().flatten().min()
            }

            pub fn close(&mut self, now: Timestamp, outputs: &mut Outputs) {
                $(self.$name.close(now, outputs);)+
            }
        }

        impl Kept {
            /// The parts that could not be read, each with the reason.
            pub fn unreadable(&self) -> Vec<(&'static str, &str)> {
                let parts = [$((stringify!($name), self.$name.error()),)+];
                parts.into_iter().filter_map(|(name, error)| Some((name, error?))).collect()
            }
        }
    };
}

states! {
    /// The open windows of throttles.
    throttle: throttle::Throttle,
    /// The ids of the last hour.
    seen: seen::Seen,
}
