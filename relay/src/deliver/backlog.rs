//! The deliveries that wait for one room, and their grouping into posts. Bounded: beyond the messages that a post lists,
//! or beyond four megabytes, only the parts needed to count a message are kept. Pure.

use std::collections::VecDeque;

use crate::delivery::{Content, Delivery};
use crate::engine::state::throttle::count_tag;
use crate::room::{Counted, Post};

/// If more deliveries than this wait, they go out as one post.
pub(super) const FEW: usize = 20;
/// The largest number of deliveries in one post: its receipt contains every id.
pub(super) const MOST: usize = 5_000;
const MAX_BYTES: usize = 4 << 20;

/// One waiting delivery. `A` is the type that acknowledges it.
#[derive(Debug)]
pub(super) struct Waiting<A> {
    pub(super) delivery: Delivery,
    /// Its sequence in `HAL_OUT`.
    pub(super) sequence: u64,
    pub(super) acker: A,
    /// Only its id, place, time, tag and severity are kept.
    reduced: bool,
}

/// A room's queue in memory.
#[derive(Debug)]
pub(super) struct Backlog<A> {
    waiting: VecDeque<Waiting<A>>,
    bytes: usize,
    listed: usize,
}

impl<A> Backlog<A> {
    /// `listed` is the number of messages that one post of the room lists.
    pub(super) fn new(listed: usize) -> Self {
        Backlog { waiting: VecDeque::new(), bytes: 0, listed: listed.max(1) }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn clear(&mut self) {
        *self = Backlog::new(self.listed);
    }

    /// Adds a delivery that took `size` bytes on the wire.
    pub(super) fn push(&mut self, mut delivery: Delivery, size: usize, sequence: u64, acker: A) {
        let keep = self.waiting.len() < self.listed.max(FEW) && self.bytes + size <= MAX_BYTES;
        if keep {
            self.bytes += size;
        } else if !self.waiting.is_empty() {
            reduce(&mut delivery);
        }
        let reduced = !keep && !self.waiting.is_empty();
        self.waiting.push_back(Waiting { delivery, sequence, acker, reduced });
    }

    /// The oldest delivery alone, or all waiting deliveries, as one post.
    pub(super) fn take(&mut self, all: bool) -> Option<(Post, Vec<Waiting<A>>)> {
        let count = if all { self.waiting.len() } else { 1 };
        let taken: Vec<_> = self.waiting.drain(..count.min(self.waiting.len())).collect();
        self.bytes = 0;
        let first = taken.first()?;
        let listed = taken.iter().take_while(|waiting| !waiting.reduced).take(self.listed).count().max(1);
        let post = Post {
            room: first.delivery.room.clone(),
            id: first.delivery.id.clone(),
            listed: taken[..listed].iter().map(|waiting| waiting.delivery.clone()).collect(),
            counted: count_up(&taken[listed..]),
        };
        Some((post, taken))
    }
}

fn reduce(delivery: &mut Delivery) {
    delivery.marks.clear();
    delivery.routes.clear();
    if let Content::Message(message) = &mut delivery.content {
        message.text.clear();
        message.title = None;
        message.fields.clear();
        message.links.clear();
        message.host = None;
        message.user = None;
    }
}

fn count_up<A>(rest: &[Waiting<A>]) -> Option<Counted> {
    let (first, last) = (rest.first()?, rest.last()?);
    let mut counted = Counted { first: first.delivery.at, last: last.delivery.at, ..Counted::default() };
    for Waiting { delivery, .. } in rest {
        counted.count += 1;
        counted.worst = counted.worst.max(delivery.severity());
        match &delivery.content {
            Content::Message(message) => count_tag(&mut counted.tags, message.tag.as_str()),
            Content::Summary(summary) => {
                summary.tags.keys().for_each(|tag| count_tag(&mut counted.tags, tag))
            }
        }
    }
    Some(counted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::Place;
    use tellhal::{Message, Timestamp};

    fn delivery(number: u64, text: &str) -> Delivery {
        Delivery {
            id: format!("m{number}/ops"),
            room: "ops".into(),
            place: Place { sequence: number, number: 0 },
            at: Timestamp(number as i64),
            routes: vec![],
            marks: vec![],
            content: Content::Message(Box::new(Message::new("db1", "a.b".parse().unwrap(), text))),
        }
    }

    #[test]
    fn a_flood_is_listed_as_far_as_it_goes_and_then_counted() {
        let mut backlog = Backlog::new(10);
        (0..1000).for_each(|n| backlog.push(delivery(n, "text"), 400, n, ()));
        let (post, taken) = backlog.take(true).unwrap();
        assert_eq!((taken.len(), post.listed.len(), backlog.len()), (1000, 10, 0));
        let counted = post.counted.unwrap();
        assert_eq!((counted.count, counted.first, counted.last), (990, Timestamp(10), Timestamp(999)));
        assert_eq!(counted.tags["a.b"], 990);
        assert!(taken[999].delivery.severity() == tellhal::Severity::Info && taken[999].reduced);
    }

    #[test]
    fn memory_is_bounded_by_bytes_too_and_the_first_is_never_reduced() {
        let mut backlog = Backlog::new(500);
        let text = "x".repeat(60_000);
        (0..500).for_each(|n| backlog.push(delivery(n, &text), 61_000, n, ()));
        let (post, _) = backlog.take(true).unwrap();
        assert_eq!(post.listed.len(), MAX_BYTES / 61_000);
        assert_eq!(post.counted.unwrap().count as usize, 500 - MAX_BYTES / 61_000);
        backlog.push(delivery(1, &text), MAX_BYTES + 1, 1, ());
        let (post, _) = backlog.take(false).unwrap();
        assert!(post.listed[0].content == delivery(1, &text).content || !post.is_batch());
    }
}
