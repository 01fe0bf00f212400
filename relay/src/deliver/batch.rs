//! The deliveries of one post: as many listed as the room lists, the others counted. Pure.
//!
//! The worst are listed, then the newest, in the log's order. One delivery alone is not counted, since the line that counts it
//! could list it. A critical one is never counted: a post ends before the critical delivery that it could not list.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::delivery::waiting::Waiting;
use crate::delivery::{Content, Delivery, Outcome, Place};
use crate::engine::state::throttle::count_tag;
use crate::room::{Counted, Post};
use service::zone::Zone;
use tellhal::{Severity, Timestamp};

/// If more deliveries than this wait, they go out as one post.
pub(super) const FEW: usize = 20;
/// The bytes of the deliveries that one post lists.
const MAX_BYTES: usize = 4 << 20;

/// A post in the making, and what its receipt needs.
#[derive(Debug)]
pub(super) struct Batch {
    room: String,
    pub(super) ids: Vec<String>,
    /// The first and the last place that it covers.
    pub(super) first: Place,
    pub(super) place: Place,
    /// The time in the log of each delivery.
    pub(super) times: Vec<Timestamp>,
    /// The deliveries that are listed, the first to be counted instead first, each with its number in `ids`.
    listed: BTreeMap<(Severity, Place), (usize, Arc<Delivery>)>,
    counted: Option<Counted>,
    bytes: usize,
    most_listed: usize,
    /// No more deliveries fit, since the next one is critical.
    is_full: bool,
}

impl Batch {
    /// `most_listed` is the number of messages that one post of the room lists beside a count.
    pub(super) fn new(room: &str, most_listed: usize) -> Self {
        Batch {
            room: room.to_owned(),
            ids: Vec::new(),
            first: Place::default(),
            place: Place::default(),
            times: Vec::new(),
            listed: BTreeMap::new(),
            counted: None,
            bytes: 0,
            most_listed: most_listed.max(1),
            is_full: false,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Adds the next delivery. One is listed whatever its size.
    pub(super) fn push(&mut self, delivery: &Arc<Delivery>) {
        let size = size(delivery);
        let is_critical = delivery.severity() == Severity::Critical;
        self.is_full |= is_critical && !self.has_space_for_critical(size);
        if self.is_full {
            return;
        }
        if self.ids.is_empty() {
            self.first = delivery.place;
        }
        self.listed.insert((delivery.severity(), delivery.place), (self.ids.len(), delivery.clone()));
        self.bytes += size;
        self.ids.push(delivery.id.to_string());
        self.place = delivery.place;
        self.times.push(delivery.at);
        // As many as are listed beside a count, and one instead of it.
        let most = if self.counted.is_some() { self.most_listed } else { self.most_listed + 1 };
        if self.listed.len() > most {
            while self.listed.len() > self.most_listed {
                self.count_least();
            }
        }
        while self.bytes > MAX_BYTES && self.listed.len() > 1 {
            self.count_least();
        }
    }

    fn has_space_for_critical(&self, size: usize) -> bool {
        let is_critical = |delivery: &&Arc<Delivery>| delivery.severity() == Severity::Critical;
        let critical = || self.listed.values().map(|(_, delivery)| delivery).filter(is_critical);
        let bytes = critical().map(|delivery| self::size(delivery)).sum::<usize>() + size;
        critical().count() < self.most_listed && (bytes <= MAX_BYTES || critical().next().is_none())
    }

    /// Counts the least important of the listed deliveries instead.
    fn count_least(&mut self) {
        if let Some((_, (_, delivery))) = self.listed.pop_first() {
            self.bytes -= size(&delivery);
            count(&mut self.counted, &delivery);
        }
    }

    /// The post, its deliveries in the log's order, with times in `zone`.
    pub(super) fn post(&self, zone: &Zone) -> Post {
        let mut listed: Vec<&(usize, Arc<Delivery>)> = self.listed.values().collect();
        listed.sort_by_key(|(number, _)| *number);
        Post {
            room: self.room.clone(),
            id: self.ids.first().cloned().unwrap_or_default(),
            listed: listed.into_iter().map(|(_, delivery)| (**delivery).clone()).collect(),
            counted: self.counted.clone(),
            zone: zone.clone(),
            files: Vec::new(),
        }
    }

    /// True if it is more than one delivery.
    pub(super) fn is_several(&self) -> bool {
        self.ids.len() > 1
    }

    /// The outcome for the receipt, and the numbers of the listed deliveries if some are not listed.
    pub(super) fn outcome(&self) -> (Outcome, Vec<u32>) {
        let mut listed = Vec::new();
        if self.counted.is_some() {
            listed.extend(self.listed.values().map(|(number, _)| u32::try_from(*number).unwrap_or(u32::MAX)));
            listed.sort_unstable();
        }
        (if self.is_several() { Outcome::Listed } else { Outcome::Posted }, listed)
    }
}

/// The first of the waiting deliveries that fit into one post of a room which lists `most_listed`.
pub(super) fn fitting(mut waiting: Vec<Waiting>, most_listed: usize) -> Vec<Waiting> {
    let critical = waiting.iter().enumerate().filter(|(_, waiting)| waiting.severity() == Severity::Critical);
    if let Some(end) = critical.map(|(index, _)| index).nth(most_listed.max(1)) {
        waiting.truncate(end);
    }
    waiting
}

fn count(counted: &mut Option<Counted>, delivery: &Delivery) {
    let at = delivery.at;
    let counted = counted.get_or_insert_with(|| Counted { first: at, last: at, ..Counted::default() });
    counted.count += 1;
    counted.first = counted.first.min(at);
    counted.last = counted.last.max(at);
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
    use proptest::prelude::*;

    use super::*;
    use crate::delivery::{Id, Receipt};
    use tellhal::Message;

    fn delivery(number: u64, severity: Severity, text: &str) -> Arc<Delivery> {
        let mut message = Message::new("db1", "a.b".parse().unwrap(), "");
        // Longer than a message's own limit.
        message.text = text.to_owned();
        message.severity = severity;
        Arc::new(Delivery {
            id: Id::of_message(&format!("m{number}"), "ops"),
            room: "ops".into(),
            place: Place { sequence: number, number: 0 },
            at: Timestamp(number as i64),
            routes: vec![],
            marks: vec![],
            content: Content::Message(Arc::new(message)),
        })
    }

    fn batch(most_listed: usize, deliveries: impl IntoIterator<Item = Arc<Delivery>>) -> Batch {
        let mut batch = Batch::new("ops", most_listed);
        deliveries.into_iter().for_each(|delivery| batch.push(&delivery));
        batch
    }

    fn infos(count: u64, text: &str) -> Vec<Arc<Delivery>> {
        (1..=count).map(|number| delivery(number, Severity::Info, text)).collect()
    }

    fn listed(post: &Post) -> Vec<u64> {
        post.listed.iter().map(|delivery| delivery.place.sequence).collect()
    }

    #[test]
    fn the_worst_are_listed_then_the_newest_in_the_logs_order() {
        let mut deliveries = infos(1000, "text");
        deliveries[2] = delivery(3, Severity::Critical, "worst");
        deliveries[499] = delivery(500, Severity::Error, "bad");
        let batch = batch(4, deliveries);
        let post = batch.post(&Zone::default());
        assert_eq!((batch.len(), batch.place.sequence, post.id.as_str()), (1000, 1000, "m1/ops"));
        assert_eq!(listed(&post), [3, 500, 999, 1000]);
        let counted = post.counted.unwrap();
        assert_eq!((counted.count, counted.first, counted.last), (996, Timestamp(1), Timestamp(998)));
        assert_eq!((counted.tags["a.b"], counted.worst), (996, Severity::Info));
        assert_eq!(batch.outcome(), (Outcome::Listed, vec![2, 499, 998, 999]));
    }

    #[test]
    fn one_is_never_counted_where_it_could_be_listed() {
        let post = batch(10, infos(11, "text")).post(&Zone::default());
        assert_eq!((post.listed.len(), post.counted), (11, None));
        let post = batch(10, infos(12, "text")).post(&Zone::default());
        assert_eq!((post.listed.len(), post.counted.map(|counted| counted.count)), (10, Some(2)));
        assert_eq!(batch(10, infos(1, "text")).outcome(), (Outcome::Posted, vec![]));
        assert_eq!(batch(10, infos(11, "text")).outcome(), (Outcome::Listed, vec![]));
    }

    #[test]
    fn the_listed_deliveries_are_bounded_by_bytes_too_and_one_is_always_listed() {
        let text = "x".repeat(60_000);
        let post = batch(500, infos(500, &text)).post(&Zone::default());
        assert_eq!(post.listed.len(), MAX_BYTES / 60_000);
        assert_eq!(post.counted.unwrap().count as usize, 500 - MAX_BYTES / 60_000);
        let largest = "x".repeat(MAX_BYTES + 1);
        assert_eq!(batch(500, infos(1, &largest)).post(&Zone::default()).listed.len(), 1);
        let critical = (1..=3).map(|number| delivery(number, Severity::Critical, &largest));
        assert_eq!(batch(500, critical).len(), 1, "the next critical is in the next post");
    }

    #[test]
    fn no_more_is_read_than_fits() {
        let waiting = |number: u64| {
            let severity = if number.is_multiple_of(2) { Severity::Critical } else { Severity::Info };
            Waiting::Whole(delivery(number, severity, "x"))
        };
        assert_eq!(fitting((1..=100).map(waiting).collect(), 3).len(), 7, "the fourth critical is number 8");
        assert_eq!(fitting((1..=6).map(waiting).collect(), 3).len(), 6);
    }

    proptest! {
        #[test]
        fn each_is_listed_or_counted_once(kinds in prop::collection::vec((0usize..6, 0usize..3), 1..80), most in 1usize..12) {
            let text = |size: usize| "x".repeat(size * (MAX_BYTES / 8));
            let deliveries = kinds.iter().zip(1..).map(|((severity, size), n)| delivery(n, Severity::ALL[*severity], &text(*size)));
            let deliveries: Vec<Arc<Delivery>> = deliveries.collect();
            let batch = batch(most, deliveries.iter().cloned());
            let post = batch.post(&Zone::default());
            let taken = &deliveries[..batch.len()];
            let shown = listed(&post);
            prop_assert!(shown.is_sorted() && !shown.is_empty());
            let counted = post.counted.as_ref().map_or(0, |counted| counted.count as usize);
            prop_assert_eq!(shown.len() + counted, taken.len());
            prop_assert!(shown.len() <= most + usize::from(counted == 0));
            let (_, numbers) = batch.outcome();
            let receipt = Receipt { ids: batch.ids.clone(), listed: numbers, ..Receipt::unsent("ops", Outcome::Listed, "", batch.place, Timestamp(0), String::new()) };
            let bytes: usize = post.listed.iter().map(size).sum();
            for (index, delivery) in taken.iter().enumerate() {
                let is_shown = shown.contains(&delivery.place.sequence);
                prop_assert_eq!(receipt.outcome_at(index) == Outcome::Listed, is_shown);
                prop_assert!(is_shown || delivery.severity() < Severity::Critical);
                // A better one is counted only for its size.
                let worse = |shown: &Delivery| (shown.severity(), shown.place) < (delivery.severity(), delivery.place);
                prop_assert!(is_shown || !post.listed.iter().any(worse) || bytes + size(delivery) > MAX_BYTES / 2);
            }
            prop_assert!(counted != 1 || bytes > MAX_BYTES / 2, "one is counted only for its size");
            let next = deliveries.get(batch.len());
            prop_assert!(next.is_none_or(|next| next.severity() == Severity::Critical));
        }
    }
}
