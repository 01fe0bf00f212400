//! The conditions of a route. Each is one file: how it is written, when it holds, the words that explain it, and whether it
//! covers another. A new one needs a line in the list below.

pub mod ask;
pub mod field;
pub mod severity;
pub mod source;
pub mod tag;
pub mod text;
pub mod written;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use ask::{Asked, Condition};
pub use written::{Mistake, Refusal};

/// The verdict of a route's conditions on a message.
#[derive(Debug, PartialEq, Eq)]
pub struct Reason {
    /// The conditions that held, in words.
    pub held: Vec<String>,
    /// The first condition that did not hold, in words; later ones are not checked.
    pub refused: Option<String>,
}

/// Makes the structures of all conditions, and the functions that check them in the order of the list.
macro_rules! conditions {
    ($($(#[$about:meta])* $name:ident: $condition:ty,)+) => {
        // A documentation comment here would be the description of a route in the schema.
        #[derive(Debug, Default, Deserialize, JsonSchema)]
        #[serde(default)]
        pub struct Written {
            $($(#[$about])* pub $name: <$condition as Condition>::Written,)+
        }

        /// All conditions of a route.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct Conditions {
            $($(#[$about])* pub $name: $condition,)+
        }

        impl Conditions {
            /// Reads the conditions of a file. Mistakes are reported under the key of their condition.
            pub fn read(written: &Written, report: &mut dyn FnMut(Mistake)) -> Self {
                Conditions { $($name: <$condition>::read(stringify!($name), &written.$name, report),)+ }
            }

            /// True if all conditions hold that the trie has not checked.
            pub(super) fn hold_beside_trie(&self, asked: Asked) -> bool {
                true $(&& (<$condition>::IN_TRIE || self.$name.holds(asked)))+
            }

            /// The name of the first condition that does not hold.
            pub fn refusal(&self, asked: Asked) -> Option<&'static str> {
                $(if !self.$name.holds(asked) {
                    return Some(stringify!($name));
                })+
                None
            }

            /// The same in words, with the conditions that held before it.
            pub fn reason(&self, asked: Asked) -> Reason {
                let mut held = Vec::new();
                $(if !self.$name.holds(asked) {
                    return Reason { held, refused: Some(self.$name.refused(asked)) };
                }
                held.extend(self.$name.held(asked));)+
                Reason { held, refused: None }
            }

            /// True if these conditions hold for every message for which `narrow` holds.
            pub fn covers(&self, narrow: &Conditions) -> bool {
                true $(&& self.$name.covers(&narrow.$name))+
            }
        }
    };
}

conditions! {
    /// One tag pattern or a list: `*` stands for one word, a last `>` for the rest. Every tag when absent.
    tag: tag::Tags,
    /// The lowest severity: debug, info, notice, warning, error or critical.
    severity: severity::Least,
    /// One source or a list. Every source when absent.
    source: source::Sources,
    /// The fields the message must have, each with a value, a list of values, or `true` for any value.
    fields: field::Fields,
    /// A regular expression that title or text contains.
    text: text::Text,
}

#[cfg(test)]
mod tests;
