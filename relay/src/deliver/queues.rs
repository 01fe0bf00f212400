//! The queues of all rooms in the leader's memory. The fold adds to them and waits for no room; each room's worker takes from
//! its own.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tellhal::Severity;
use tokio::sync::Notify;

use crate::delivery::ages::Ages;
use crate::delivery::queue::{Kept, Queue};
use crate::delivery::waiting::Waiting;
use crate::delivery::{Content, Delivery, Place};

/// The bytes of all deliveries that are held whole.
const WHOLE_BYTES: usize = 16 << 20;
/// The number of deliveries that may wait for all rooms together. The fold stops until there are fewer: rooms that fail give
/// up their oldest long before, so only rooms that take posts too slowly get there.
pub const ALL_WAITING: usize = 1_000_000;

/// Every room's queue.
#[derive(Debug, Default)]
pub struct Queues {
    rooms: Mutex<BTreeMap<String, Arc<RoomQueue>>>,
    totals: Arc<Totals>,
}

#[derive(Debug, Default)]
struct Totals {
    waiting: AtomicUsize,
    bytes: AtomicUsize,
    ages: Mutex<Ages>,
}

impl Totals {
    fn ages(&self) -> MutexGuard<'_, Ages> {
        self.ages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The queue of one room, shared by the fold and the room's worker.
#[derive(Debug)]
pub struct RoomQueue {
    queue: Mutex<Queue>,
    totals: Arc<Totals>,
    /// Signals that deliveries were added, or that the room must give some up.
    pub(super) changed: Notify,
    /// Deliveries up to this sequence of the log must be given up: the log needs their space.
    give_up: AtomicU64,
}

impl Queues {
    /// The queues of a snapshot.
    pub fn restore(rooms: BTreeMap<String, Kept>, ages: Ages) -> Self {
        let queues = Queues::default();
        *queues.totals.ages() = ages;
        for (name, kept) in rooms {
            let queue = Queue::restore(kept).unwrap_or_else(|error| {
                tracing::error!(room = name, error, "the room's queue in the snapshot cannot be read");
                Queue::default()
            });
            queues.room(&name).change(|own| *own = queue);
        }
        queues
    }

    pub fn keep(&self) -> BTreeMap<String, Kept> {
        self.all().into_iter().map(|(name, room)| (name, room.lock().keep())).collect()
    }

    /// The queue of a room, made when it is first asked for.
    pub fn room(&self, name: &str) -> Arc<RoomQueue> {
        let mut rooms = self.lock();
        if let Some(room) = rooms.get(name) {
            return room.clone();
        }
        let room = Arc::new(RoomQueue {
            queue: Mutex::default(),
            totals: self.totals.clone(),
            changed: Notify::new(),
            give_up: AtomicU64::new(0),
        });
        rooms.insert(name.to_owned(), room.clone());
        room
    }

    pub fn push(&self, delivery: Delivery) {
        let room = self.room(&delivery.room);
        let size = size(&delivery);
        let keep = self.totals.bytes.load(Ordering::Relaxed) + size <= WHOLE_BYTES;
        room.change(|queue| queue.push(delivery, size, keep));
        room.changed.notify_one();
    }

    /// Notes that the entries up to `sequence` are folded by `now`; returns the ages for the snapshot.
    pub fn mark_age(&self, now: Instant, sequence: u64) -> Ages {
        let mut ages = self.totals.ages();
        ages.mark(now, sequence);
        ages.clone()
    }

    /// The last entry that was folded at least `age` ago; 0 if there is none.
    pub fn older_than(&self, age: Duration) -> u64 {
        self.totals.ages().older_than(age)
    }

    /// Makes references whole with the content that the queues of an earlier term still hold.
    pub fn refill(&self, earlier: &Queues) {
        for (name, room) in earlier.all() {
            let whole =
                room.peek(Place::default(), room.len()).into_iter().filter_map(|waiting| match waiting {
                    Waiting::Whole(delivery) => Some(delivery),
                    Waiting::Reference(_) => None,
                });
            self.room(&name).fill(whole.collect());
        }
    }

    /// True if the fold must not add more.
    pub fn is_full(&self) -> bool {
        self.totals.waiting.load(Ordering::Relaxed) >= ALL_WAITING
    }

    /// The first sequence of the log whose content is still needed.
    pub fn oldest(&self) -> Option<u64> {
        self.all().iter().filter_map(|(_, room)| room.oldest()).map(|place| place.sequence).min()
    }

    /// Makes the rooms give up what waits at or before this sequence of the log.
    pub fn give_up(&self, sequence: u64) {
        for (name, room) in self.all() {
            if room.oldest().is_some_and(|oldest| oldest.sequence <= sequence) {
                tracing::warn!(
                    room = name,
                    sequence,
                    "the log is nearly full: the room gives up its oldest deliveries"
                );
                room.give_up.store(sequence, Ordering::Relaxed);
                room.changed.notify_one();
            }
        }
    }

    /// All rooms with a queue, by name.
    pub fn all(&self) -> Vec<(String, Arc<RoomQueue>)> {
        self.lock().iter().map(|(name, room)| (name.clone(), room.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<RoomQueue>>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RoomQueue {
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    pub fn oldest(&self) -> Option<Place> {
        self.lock().oldest()
    }

    /// The highest severity of what waits.
    pub fn worst(&self) -> Severity {
        self.lock().worst()
    }

    /// The oldest deliveries after the place `after`, at most `most`.
    pub fn peek(&self, after: Place, most: usize) -> Vec<Waiting> {
        self.lock().peek(after, most)
    }

    /// Makes references whole again, as long as there is space.
    pub(super) fn fill(&self, deliveries: Vec<Arc<Delivery>>) {
        let mut bytes = self.totals.bytes.load(Ordering::Relaxed);
        self.change(|queue| {
            for delivery in deliveries {
                let size = size(&delivery);
                bytes += size;
                if bytes <= WHOLE_BYTES {
                    queue.fill(delivery, size);
                }
            }
        });
    }

    /// True if some deliveries must be read from the log again.
    pub(super) fn has_references(&self) -> bool {
        self.lock().has_references()
    }

    /// True if the delivery at this place has waited at least `age`.
    pub(super) fn is_older_than(&self, place: Place, age: Duration) -> bool {
        place.sequence <= self.totals.ages().older_than(age)
    }

    pub fn len_after(&self, after: Place) -> usize {
        self.lock().len_after(after)
    }

    /// Removes the deliveries at or before `place`: they have receipts.
    pub fn handled(&self, place: Place) {
        self.change(|queue| queue.handled(place));
    }

    /// The sequence of the log up to which everything must be given up, if something waits there.
    pub fn must_give_up(&self) -> Option<u64> {
        let sequence = self.give_up.load(Ordering::Relaxed);
        self.oldest().filter(|oldest| oldest.sequence <= sequence).map(|_| sequence)
    }

    fn change(&self, change: impl FnOnce(&mut Queue)) {
        let mut queue = self.lock();
        let before = (queue.len(), queue.bytes());
        change(&mut queue);
        adjust(&self.totals.waiting, before.0, queue.len());
        adjust(&self.totals.bytes, before.1, queue.bytes());
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn adjust(total: &AtomicUsize, before: usize, after: usize) {
    if after >= before {
        total.fetch_add(after - before, Ordering::Relaxed);
    } else {
        total.fetch_sub(before - after, Ordering::Relaxed);
    }
}

/// About the bytes that a delivery takes in memory. Rooms share a message's content; each counts it.
fn size(delivery: &Delivery) -> usize {
    let content = match &delivery.content {
        Content::Message(message) => {
            let fields = message.fields.iter().map(|(key, value)| key.len() + value.len() + 64);
            message.text.len() + fields.sum::<usize>() + 512
        }
        Content::Summary(_) => 1024,
    };
    content + 256
}
