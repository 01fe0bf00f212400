//! The deliveries of one post: as many listed as the room lists, the others counted. Pure.

use crate::delivery::{Content, Delivery, Place};
use crate::engine::state::throttle::count_tag;
use crate::room::{Counted, Post};
use tellhal::Timestamp;

/// If more deliveries than this wait, they go out as one post.
pub(super) const FEW: usize = 20;
/// The bytes of the deliveries that one post lists.
const MAX_BYTES: usize = 4 << 20;

/// A post and what its receipt needs.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) post: Post,
    pub(super) ids: Vec<String>,
    /// The first and the last place that it covers.
    pub(super) first: Place,
    pub(super) place: Place,
    /// The time in the log of each delivery.
    pub(super) times: Vec<Timestamp>,
    bytes: usize,
    most_listed: usize,
}

impl Batch {
    /// `most_listed` is the number of messages that one post of the room lists.
    pub(super) fn new(room: &str, most_listed: usize) -> Self {
        let post = Post { room: room.to_owned(), id: String::new(), listed: Vec::new(), counted: None };
        let most_listed = most_listed.max(1);
        let place = Place::default();
        Batch { post, ids: Vec::new(), first: place, place, times: Vec::new(), bytes: 0, most_listed }
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Adds the next delivery. The first is listed whatever its size.
    pub(super) fn push(&mut self, delivery: &Delivery) {
        if self.ids.is_empty() {
            self.post.id = delivery.id.to_string();
            self.first = delivery.place;
        }
        self.ids.push(delivery.id.to_string());
        self.place = delivery.place;
        self.times.push(delivery.at);
        let size = size(delivery);
        let is_listed = self.post.counted.is_none()
            && self.post.listed.len() < self.most_listed
            && (self.post.listed.is_empty() || self.bytes + size <= MAX_BYTES);
        if is_listed {
            self.bytes += size;
            self.post.listed.push(delivery.clone());
        } else {
            count(&mut self.post.counted, delivery);
        }
    }
}

fn count(counted: &mut Option<Counted>, delivery: &Delivery) {
    let at = delivery.at;
    let counted = counted.get_or_insert_with(|| Counted { first: at, ..Counted::default() });
    counted.count += 1;
    counted.last = at;
    counted.worst = counted.worst.max(delivery.severity());
    match &delivery.content {
        Content::Message(message) => count_tag(&mut counted.tags, message.tag.as_str()),
        Content::Summary(summary) => summary.tags.keys().for_each(|tag| count_tag(&mut counted.tags, tag)),
    }
}

/// About the bytes that a delivery takes in a post.
fn size(delivery: &Delivery) -> usize {
    match &delivery.content {
        Content::Message(message) => {
            message.text.len()
                + message.fields.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>()
        }
        Content::Summary(summary) => summary.headline.len(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::delivery::Id;
    use tellhal::{Message, Severity};

    fn delivery(number: u64, text: &str) -> Delivery {
        Delivery {
            id: Id::of_message(&format!("m{number}"), "ops"),
            room: "ops".into(),
            place: Place { sequence: number, number: 0 },
            at: Timestamp(number as i64),
            routes: vec![],
            marks: vec![],
            content: Content::Message(Arc::new(Message::new("db1", "a.b".parse().unwrap(), text))),
        }
    }

    fn batch(most_listed: usize, count: u64, text: &str) -> Batch {
        let mut batch = Batch::new("ops", most_listed);
        (1..=count).for_each(|number| batch.push(&delivery(number, text)));
        batch
    }

    #[test]
    fn a_flood_is_listed_as_far_as_the_room_lists_and_then_counted() {
        let Batch { post, ids, place, .. } = batch(10, 1000, "text");
        assert_eq!((ids.len(), post.listed.len(), place.sequence), (1000, 10, 1000));
        let counted = post.counted.unwrap();
        assert_eq!((counted.count, counted.first, counted.last), (990, Timestamp(11), Timestamp(1000)));
        assert_eq!((counted.tags["a.b"], counted.worst), (990, Severity::Info));
    }

    #[test]
    fn the_listed_deliveries_are_bounded_by_bytes_too_and_the_first_is_always_listed() {
        let text = "x".repeat(60_000);
        let Batch { post, .. } = batch(500, 500, &text);
        assert_eq!(post.listed.len(), MAX_BYTES / 60_000);
        assert_eq!(post.counted.unwrap().count as usize, 500 - MAX_BYTES / 60_000);
        let Batch { post, .. } = batch(500, 1, &"x".repeat(MAX_BYTES + 1));
        assert_eq!(post.listed.len(), 1);
    }
}
