//! The questions that every condition answers.

use serde::Serialize;
use serde::de::DeserializeOwned;
use tellhal::message::Message;
use tellhal::timestamp::Timestamp;

use super::written::Mistake;

/// A message and the time of the decision about it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'m> {
    pub message: &'m Message,
    /// The stream's time.
    pub at: Timestamp,
}

/// One condition of a route. Its default holds for every message. Its serialized form is the value of its key in the
/// configurations that the log names.
pub trait Condition: Clone + Default + PartialEq + Serialize + DeserializeOwned {
    /// The type of its value in a file.
    type Written;

    /// True if the trie finds only routes for which it holds, so that it need not be checked again.
    const IN_TRIE: bool = false;

    /// Reads the value of `key`. Mistakes are reported and left out.
    fn read(key: &str, written: &Self::Written, report: &mut dyn FnMut(Mistake)) -> Self;

    fn holds(&self, asked: Asked) -> bool;

    /// The reasons why it holds, in words; empty if it was not set.
    fn held(&self, asked: Asked) -> Vec<String>;

    /// The reason why it does not hold, in words.
    fn refused(&self, asked: Asked) -> String;

    /// True if it holds for every message for which `narrow` holds.
    fn covers(&self, narrow: &Self) -> bool;
}
