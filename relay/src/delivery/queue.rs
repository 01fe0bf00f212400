//! The deliveries that wait for one room, in the log's order, and the place up to which the room has handled its own. Pure.
//!
//! The log is the queue: the content of what waits is in the log, so that most of a long queue are references of 32 bytes.
//! A room handles its deliveries in order, so its last receipt alone tells which of them are still to be posted.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use tellhal::message::Severity;
use tellhal::timestamp::Timestamp;

use super::waiting::{Kind, Reference, Waiting};
use super::{Delivery, Place};

/// The number of deliveries that one queue holds whole.
pub const WHOLE: usize = 1_000;
/// The bytes of the deliveries that one queue holds whole.
pub const WHOLE_BYTES: usize = 4 << 20;

/// The queue of one room.
#[derive(Debug, Default)]
pub struct Queue {
    items: VecDeque<Item>,
    /// The room has handled everything at or before this place.
    place: Place,
    kinds: Kinds,
    /// The number and the bytes of the items that are whole.
    whole: usize,
    bytes: usize,
}

#[derive(Debug)]
enum Item {
    Whole { delivery: Arc<Delivery>, size: usize },
    Packed(Packed),
}

/// A reference in memory.
#[derive(Clone, Copy, Debug)]
struct Packed {
    sequence: u64,
    at: Timestamp,
    number: u32,
    kind: u32,
}

/// A queue in a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Kept {
    place: Place,
    kinds: Vec<Arc<Kind>>,
    /// The references, about eight bytes each; see [`pack`].
    references: String,
    /// The deliveries whose content is in no entry of the log.
    whole: Vec<Arc<Delivery>>,
}

impl Queue {
    pub fn len(&self) -> usize {
        self.items.len()
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// True if some of its deliveries are references.
    pub fn has_references(&self) -> bool {
        self.whole < self.items.len()
    }

    /// The bytes of the deliveries that it holds whole.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The place up to which the room has handled its deliveries.
    pub fn place(&self) -> Place {
        self.place
    }

    /// The place of the oldest waiting delivery.
    pub fn oldest(&self) -> Option<Place> {
        self.items.front().map(Item::place)
    }

    /// The highest severity of the deliveries; debug if there is none.
    pub fn worst(&self) -> Severity {
        let mut worst = Severity::Debug;
        for item in &self.items {
            worst = worst.max(match item {
                Item::Whole { delivery, .. } => delivery.severity(),
                Item::Packed(packed) => self.kinds.list[packed.kind as usize].severity,
            });
            if worst == Severity::Critical {
                break;
            }
        }
        worst
    }

    /// Adds the next delivery, of about `size` bytes, unless the room has handled it. `keep` is false if the queues together
    /// hold enough content. A delivery that the log does not have is kept in any case.
    pub fn push(&mut self, delivery: Delivery, size: usize, keep: bool) {
        debug_assert!(self.items.back().is_none_or(|last| last.place() < delivery.place));
        if delivery.place <= self.place {
            return;
        }
        let has_space = keep && self.whole < WHOLE && self.bytes + size <= WHOLE_BYTES;
        if has_space || !delivery.is_in_log() {
            self.whole += 1;
            self.bytes += size;
            self.items.push_back(Item::Whole { delivery: Arc::new(delivery), size });
        } else {
            let kind = self.kinds.number(Kind::of(&delivery));
            let Place { sequence, number } = delivery.place;
            self.items.push_back(Item::Packed(Packed { sequence, at: delivery.at, number, kind }));
        }
    }

    /// Makes a reference whole again, if there is space.
    pub fn fill(&mut self, delivery: Arc<Delivery>, size: usize) {
        let index = self.items.partition_point(|item| item.place() < delivery.place);
        let has_space = self.whole < WHOLE && self.bytes + size <= WHOLE_BYTES;
        if let Some(item @ Item::Packed(_)) = self.items.get_mut(index).filter(|_| has_space)
            && item.place() == delivery.place
        {
            *item = Item::Whole { delivery, size };
            self.whole += 1;
            self.bytes += size;
        }
    }

    /// The oldest deliveries after the place `after`, at most `most`.
    pub fn peek(&self, after: Place, most: usize) -> Vec<Waiting> {
        let start = self.items.partition_point(|item| item.place() <= after);
        self.items.iter().skip(start).take(most).map(|item| self.waiting(item)).collect()
    }

    /// The number of deliveries after the place `after`.
    pub fn len_after(&self, after: Place) -> usize {
        self.items.len() - self.items.partition_point(|item| item.place() <= after)
    }

    /// Removes the deliveries at or before `place`: the room has handled them.
    pub fn handled(&mut self, place: Place) {
        self.place = self.place.max(place);
        while let Some(item) = self.items.front().filter(|item| item.place() <= place) {
            if let Item::Whole { size, .. } = item {
                self.whole -= 1;
                self.bytes -= size;
            }
            self.items.pop_front();
        }
        if self.items.is_empty() {
            // Memory from a long queue is given back.
            self.items = VecDeque::new();
            self.kinds = Kinds::default();
        }
    }

    pub fn keep(&self) -> Kept {
        let mut kinds = self.kinds.clone();
        let (mut packed, mut whole) = (Vec::new(), Vec::new());
        for item in &self.items {
            match item {
                Item::Packed(reference) => packed.push(*reference),
                Item::Whole { delivery, .. } if delivery.is_in_log() => {
                    let Place { sequence, number } = delivery.place;
                    let kind = kinds.number(Kind::of(delivery));
                    packed.push(Packed { sequence, at: delivery.at, number, kind });
                }
                Item::Whole { delivery, .. } => whole.push(delivery.clone()),
            }
        }
        Kept { place: self.place, kinds: kinds.list, references: STANDARD.encode(pack(&packed)), whole }
    }

    /// The queue of a snapshot. An error says which part cannot be read.
    pub fn restore(kept: Kept) -> Result<Self, String> {
        let Kept { place, kinds, references, whole } = kept;
        let bytes = STANDARD.decode(references).map_err(|error| error.to_string())?;
        let packed = unpack(&bytes, kinds.len()).ok_or("its references are not complete")?;
        let mut items: Vec<Item> = packed.into_iter().map(Item::Packed).collect();
        let mut queue = Queue { place, kinds: Kinds::from(kinds), ..Queue::default() };
        for delivery in whole {
            // The size matters only for the bound of deliveries that may be packed.
            queue.whole += 1;
            items.push(Item::Whole { delivery, size: 0 });
        }
        items.sort_by_key(Item::place);
        queue.items = items.into();
        Ok(queue)
    }

    fn waiting(&self, item: &Item) -> Waiting {
        match item {
            Item::Whole { delivery, .. } => Waiting::Whole(delivery.clone()),
            Item::Packed(packed) => Waiting::Reference(Reference {
                place: packed.place(),
                at: packed.at,
                kind: self.kinds.list[packed.kind as usize].clone(),
            }),
        }
    }
}

impl Item {
    fn place(&self) -> Place {
        match self {
            Item::Whole { delivery, .. } => delivery.place,
            Item::Packed(packed) => packed.place(),
        }
    }
}

impl Packed {
    fn place(&self) -> Place {
        Place { sequence: self.sequence, number: self.number }
    }
}

/// The kinds of a queue, each once.
#[derive(Clone, Debug, Default)]
struct Kinds {
    list: Vec<Arc<Kind>>,
    numbers: HashMap<Arc<Kind>, u32>,
}

impl Kinds {
    fn number(&mut self, kind: Kind) -> u32 {
        if let Some(number) = self.numbers.get(&kind) {
            return *number;
        }
        let (kind, number) = (Arc::new(kind), self.list.len() as u32);
        self.list.push(kind.clone());
        self.numbers.insert(kind, number);
        number
    }
}

impl From<Vec<Arc<Kind>>> for Kinds {
    fn from(list: Vec<Arc<Kind>>) -> Self {
        let numbers = list.iter().cloned().zip(0..).collect();
        Kinds { list, numbers }
    }
}

/// Each reference as four numbers: its sequence's distance from the one before, its number, its kind, and the distance of its
/// time. Numbers are in base 128, with the high bit set in all bytes but the last.
fn pack(references: &[Packed]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(references.len() * 8);
    let (mut sequence, mut at) = (0, 0);
    for reference in references {
        put(&mut bytes, reference.sequence - sequence);
        put(&mut bytes, reference.number.into());
        put(&mut bytes, reference.kind.into());
        // The fold's time never goes back.
        put(&mut bytes, (reference.at.0 - at).max(0) as u64);
        (sequence, at) = (reference.sequence, reference.at.0.max(at));
    }
    bytes
}

/// `None` if the bytes are not complete or name a kind that is not there.
fn unpack(mut bytes: &[u8], kinds: usize) -> Option<Vec<Packed>> {
    let mut references = Vec::new();
    let (mut sequence, mut at) = (0_u64, 0_i64);
    while !bytes.is_empty() {
        sequence = sequence.checked_add(get(&mut bytes)?)?;
        let number = get(&mut bytes)?.try_into().ok()?;
        let kind = get(&mut bytes)?.try_into().ok().filter(|kind: &u32| (*kind as usize) < kinds)?;
        at = at.checked_add(get(&mut bytes)?.try_into().ok()?)?;
        references.push(Packed { sequence, at: Timestamp(at), number, kind });
    }
    Some(references)
}

fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn get(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(first & 0x7f).checked_shl(shift)?;
        if first & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}
