//! The memory of the fold between two entries. Each state is one file: its answer to a message, its timer and its part of the
//! snapshot. A new one needs a line in the list below.

pub mod ask;
pub mod part;
pub mod seen;
pub mod throttle;

use serde::{Deserialize, Serialize};
use tellhal::message::Mark;
use tellhal::timestamp::Timestamp;

use super::output::Outputs;
use crate::delivery::Outcome;
pub use ask::{Admission, State, Verdict};
use part::Part;

/// Makes the structures of all states, and the functions that ask them in the order of the list.
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
