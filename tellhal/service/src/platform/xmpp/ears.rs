//! The listeners of one connection. One that does not keep up loses the newest.

use std::sync::{Mutex, MutexGuard};

use tokio::sync::mpsc;

use super::{Heard, Muc};

/// The number of messages that may wait for their listener.
const WAITING: usize = 1_000;

/// The rooms that are heard, and for whom.
#[derive(Debug, Default)]
pub(super) struct Ears(Mutex<Vec<Ear>>);

#[derive(Debug)]
struct Ear {
    rooms: Vec<Muc>,
    heard: mpsc::Sender<Heard>,
}

impl Ears {
    pub(super) fn add(&self, rooms: Vec<Muc>) -> mpsc::Receiver<Heard> {
        let (heard, receiver) = mpsc::channel(WAITING);
        self.ears().push(Ear { rooms, heard });
        receiver
    }

    /// The rooms that listeners want; `None` without a listener.
    pub(super) fn rooms(&self) -> Option<Vec<Muc>> {
        let ears = self.ears();
        (!ears.is_empty()).then(|| ears.iter().flat_map(|ear| ear.rooms.iter().cloned()).collect())
    }

    /// Hands a message to those who listen there.
    pub(super) fn tell(&self, heard: Heard) {
        for ear in self.ears().iter() {
            let is_there = |room: &String| ear.rooms.iter().any(|muc| muc.address.as_str() == room);
            if heard.room.as_ref().is_none_or(is_there) && ear.heard.try_send(heard.clone()).is_err() {
                tracing::warn!(room = heard.room, "a message was not heard: its listener does not keep up");
            }
        }
    }

    fn ears(&self) -> MutexGuard<'_, Vec<Ear>> {
        let mut ears = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        ears.retain(|ear| !ear.heard.is_closed());
        ears
    }
}
