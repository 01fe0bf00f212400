//! What a route can ask of a message. Each condition is one file that knows how it is written, how it matches,
//! how it explains itself and whether it covers another; the list below is all there is to add it to.

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

/// What the conditions of a route say to a message.
#[derive(Debug, PartialEq, Eq)]
pub struct Reason {
    /// The conditions that held, in words.
    pub held: Vec<String>,
    /// The first that did not, in words; those after it are not asked.
    pub refused: Option<String>,
}

/// Makes the structures and the questions to all conditions from their list. They are asked in its order.
macro_rules! conditions {
    ($($(#[$about:meta])* $name:ident: $condition:ty,)+) => {
        // A documentation comment here would be the description of a route in the schema.
        #[derive(Debug, Default, Deserialize, JsonSchema)]
        #[serde(default)]
        pub struct Written {
            $($(#[$about])* pub $name: <$condition as Condition>::Written,)+
        }

        /// Everything a route asks of a message.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct Conditions {
            $($(#[$about])* pub $name: $condition,)+
        }

        impl Conditions {
            /// Checks what a file says. Each mistake is reported at its whole key.
            pub fn read(written: &Written, report: &mut dyn FnMut(Mistake)) -> Self {
                Conditions { $($name: <$condition>::read(stringify!($name), &written.$name, report),)+ }
            }

            /// Whether all hold but those the trie has looked at.
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

            /// The same in words, with what held before it.
            pub fn reason(&self, asked: Asked) -> Reason {
                let mut held = Vec::new();
                $(if !self.$name.holds(asked) {
                    return Reason { held, refused: Some(self.$name.refused(asked)) };
                }
                held.extend(self.$name.held(asked));)+
                Reason { held, refused: None }
            }

            /// Whether every message that `narrow` asks for holds here too.
            pub fn covers(&self, narrow: &Conditions) -> bool {
                true $(&& self.$name.covers(&narrow.$name))+
            }
        }
    };
}

conditions! {
    /// One tag pattern or a list: `*` stands for one word, a last `>` for the rest. Every tag when absent.
    tag: tag::Tags,
    /// This and above: debug, info, notice, warning, error or critical.
    severity: severity::Least,
    /// One source or a list. Every source when absent.
    source: source::Sources,
    /// Fields the message must have: one value, a list, or `true` for any.
    fields: field::Fields,
    /// A regular expression that is searched in title and text.
    text: text::Text,
}

#[cfg(test)]
mod tests;
