//! The built-in room: what it takes is shown on the relay's own page, live. Nothing leaves the process.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::broadcast;

use super::{Failure, Limiter, Part, Post, Room, Sent, TIMEOUT};
use crate::delivery::Delivery;
use crate::render;

/// How many deliveries a page that has just been opened shows.
const RECENT: usize = 500;
/// How far a reader may fall behind before it misses some and must ask for the recent ones again.
const BEHIND: usize = 256;

/// What the page shows: the newest deliveries, and each new one as it comes. Bounded.
#[derive(Debug)]
pub struct Feed {
    tx: broadcast::Sender<Arc<Delivery>>,
    ring: Mutex<VecDeque<Arc<Delivery>>>,
}

impl Default for Feed {
    fn default() -> Self {
        Feed { tx: broadcast::Sender::new(BEHIND), ring: Mutex::new(VecDeque::with_capacity(RECENT)) }
    }
}

impl Feed {
    /// Shows one more delivery. The same delivery again, as after a lost receipt, is shown once.
    pub fn publish(&self, delivery: Arc<Delivery>) {
        let mut ring = self.ring.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if ring.iter().rev().take(BEHIND).any(|shown| shown.id == delivery.id) {
            return;
        }
        if ring.len() == RECENT {
            ring.pop_front();
        }
        ring.push_back(delivery.clone());
        // Under the lock, so that nothing is missed or doubled between the two halves of `follow`.
        // An error only means that nobody looks.
        let _ = self.tx.send(delivery);
    }

    /// The newest deliveries, oldest first.
    pub fn recent(&self) -> Vec<Arc<Delivery>> {
        self.follow().0
    }

    /// The newest deliveries, oldest first, and everything after them.
    pub fn follow(&self) -> (Vec<Arc<Delivery>>, broadcast::Receiver<Arc<Delivery>>) {
        let ring = self.ring.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        (ring.iter().cloned().collect(), self.tx.subscribe())
    }
}

/// The room `page`.
pub(super) struct Page {
    feed: Arc<Feed>,
    limiter: Arc<Limiter>,
}

impl Page {
    pub(super) fn open(feed: Arc<Feed>) -> Self {
        Page { feed, limiter: Arc::new(Limiter::none()) }
    }
}

#[async_trait]
impl Room for Page {
    /// Everything: a list on our own page costs nobody anything.
    fn listed(&self) -> usize {
        RECENT
    }

    fn limiter(&self) -> Arc<Limiter> {
        self.limiter.clone()
    }

    fn timeout(&self) -> Duration {
        TIMEOUT
    }

    /// One part a delivery; its wire is the delivery itself.
    fn render(&self, post: &Post) -> Vec<Part> {
        let counted = post.counted.as_ref().map(render::counted_line);
        let part = |delivery: &Delivery| Part {
            shown: render::View::of(delivery).lines().join("\n"),
            wire: serde_json::to_string(delivery).unwrap_or_default(),
            id: post.id.clone(),
        };
        let tail = counted.map(|shown| Part { shown, wire: String::new(), id: post.id.clone() });
        post.listed.iter().map(part).chain(tail).collect()
    }

    async fn send(&self, part: &Part) -> Result<Sent, Failure> {
        if part.wire.is_empty() {
            return Ok(Sent::default());
        }
        let delivery: Delivery = serde_json::from_str(&part.wire)
            .map_err(|error| Failure::Permanent { reason: format!("not a delivery: {error}") })?;
        self.feed.publish(Arc::new(delivery));
        Ok(Sent::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::conformance;

    #[test]
    fn passes_the_kit() {
        conformance::renders(&Page::open(Arc::default()), usize::MAX, &["\n", "\0", "\x01"]);
    }

    #[tokio::test]
    async fn a_reader_sees_the_recent_ones_and_then_each_new_one_once() {
        let feed = Arc::new(Feed::default());
        let room = Page::open(feed.clone());
        let show = async |n: usize| {
            let delivery =
                conformance::delivery(&format!("m{n}"), conformance::message(&format!("text {n}")));
            for part in room.render(&Post::single(delivery)) {
                room.send(&part).await.unwrap();
            }
        };
        for n in 0..RECENT + 3 {
            show(n).await;
        }
        let (recent, mut new) = feed.follow();
        let ids: Vec<&str> = recent.iter().map(|delivery| delivery.id.as_str()).collect();
        assert_eq!((ids.len(), ids[0], ids[RECENT - 1]), (RECENT, "m3/room", "m502/room"));
        show(RECENT + 2).await;
        show(RECENT + 3).await;
        assert_eq!(new.try_recv().unwrap().id, "m503/room", "the repeat of the last one is not shown");
        assert!(new.try_recv().is_err());
    }
}
