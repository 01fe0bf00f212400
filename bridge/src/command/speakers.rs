//! The chats in which this bridge speaks now, for answers that do not belong to a line of theirs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tellhal::command::Answer;
use tokio::sync::mpsc;

/// The answers that may wait for their chat.
const WAITING: usize = 64;

/// The beginning of a place that is a room, by the name that rules have for it.
pub(crate) const ROOM: &str = "room ";

/// A place in a chat, and what is to be said there.
pub(crate) type Speech = (String, Answer);

#[derive(Clone, Default)]
pub(crate) struct Speakers(Arc<Mutex<HashMap<String, mpsc::Sender<Speech>>>>);

impl Speakers {
    /// Registers a chat; its answers come out of the receiver, until that is dropped.
    pub(crate) fn open(&self, chat: &str) -> mpsc::Receiver<Speech> {
        let (sender, receiver) = mpsc::channel(WAITING);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(chat.to_owned(), sender);
        receiver
    }

    /// False if this bridge does not speak there.
    pub(super) fn say(&self, chat: &str, to: &str, answer: &Answer) -> bool {
        let speakers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        speakers.get(chat).is_some_and(|speaker| speaker.try_send((to.to_owned(), answer.clone())).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_chat_that_is_closed_says_nothing() {
        let speakers = Speakers::default();
        assert!(!speakers.say("main", "#ops", &Answer::done("up")));
        let mut said = speakers.open("main");
        assert!(speakers.say("main", "#ops ann", &Answer::done("up")));
        assert_eq!(said.recv().await, Some(("#ops ann".into(), Answer::done("up"))));
        drop(said);
        assert!(!speakers.say("main", "#ops", &Answer::done("up")));
    }
}
