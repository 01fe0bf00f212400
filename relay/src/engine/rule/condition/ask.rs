//! The questions that every condition answers.

use serde::Serialize;
use serde::de::DeserializeOwned;
use tellhal::message::Message;
use tellhal::timestamp::Timestamp;

use super::written::Mistake;

/// A message and the moment it is decided at.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'m> {
    pub message: &'m Message,
    /// The stream's time.
    pub at: Timestamp,
}

/// One condition of a route. Its default asks for nothing. Serialized it is what the value of its key is in the text
/// of a configuration that the log points to.
pub trait Condition: Clone + Default + PartialEq + Serialize + DeserializeOwned {
    /// The value of its key in a file.
    type Written;

    /// The trie finds the routes it holds for, so that it need not be asked again.
    const IN_TRIE: bool = false;

    /// Checks what is written under `key`. What is wrong with it is reported, and left out.
    fn read(key: &str, written: &Self::Written, report: &mut dyn FnMut(Mistake)) -> Self;

    fn holds(&self, asked: Asked) -> bool;

    /// Why it holds, in words; nothing when it asks for nothing that is worth a word.
    fn held(&self, asked: Asked) -> Vec<String>;

    /// Why it does not hold, in words.
    fn refused(&self, asked: Asked) -> String;

    /// Whether it holds for every message that `narrow` holds for.
    fn covers(&self, narrow: &Self) -> bool;
}
