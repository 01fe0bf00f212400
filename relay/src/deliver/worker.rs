//! A room's worker: pulls deliveries, groups them into posts, posts them, stores receipts, acknowledges.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::message::Acker;
use async_nats::jetstream::{AckKind, Message};
use futures_util::FutureExt as _;
use tellhal::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::backlog::{Backlog, FEW, MOST, Waiting};
use super::post::{Sending, backoff, pause};
use super::queue::{Pulled, Queue, Stop, acknowledge};
use super::shared::Shared;
use crate::deliver::outbox;
use crate::delivery::{Attempts, DeadLetter, Delivery, Outcome, Receipt};
use crate::room::{Post, Room};
use crate::status::metrics::{ByRoom, RoomOutcome};
use crate::status::{Retrying, State};
use service::platform::{Failure, Sent};

/// A delivery becomes a dead letter after this time in the log.
const PATIENCE: Duration = Duration::from_secs(86_400);

/// Serves the room until `stop` or until the lease is lost.
pub async fn run(room: Arc<dyn Room>, name: String, shared: Shared, stop: CancellationToken) {
    let queue = Queue::new(name.clone(), shared.clone(), stop.clone());
    let backlog = Backlog::new(room.listed());
    let mut worker = Worker { room, name, shared, stop, queue, backlog, singly: 0, failing: false };
    while worker.shared.lease.is_held() && !worker.stop.is_cancelled() {
        match worker.step().await {
            Ok(()) => {}
            Err(Stop::Interrupted) => break,
            Err(Stop::Broken(error)) => {
                tracing::warn!(
                    room = worker.name,
                    error = format!("{error:#}"),
                    "the room's queue was interrupted; opening it again"
                );
                worker.queue.close();
                if pause(Duration::from_millis(250), &worker.shared.lease, &worker.stop).await.is_err() {
                    break;
                }
            }
        }
    }
}

struct Worker {
    room: Arc<dyn Room>,
    name: String,
    shared: Shared,
    stop: CancellationToken,
    queue: Queue,
    backlog: Backlog<Acker>,
    /// Number of deliveries that still go out one by one, because a post of them all was refused.
    singly: usize,
    failing: bool,
}

impl Worker {
    /// Sends one post.
    async fn step(&mut self) -> Result<(), Stop> {
        if self.queue.is_closed() {
            self.backlog.clear();
            self.queue.open().await?;
        }
        self.fill().await?;
        self.collect_while_limited().await?;
        let all = self.singly == 0 && (self.waits_long() || self.backlog_limited());
        self.singly = self.singly.saturating_sub(1);
        let Some((post, taken)) = self.backlog.take(all) else { return Ok(()) };
        self.deliver(post, taken).await
    }

    /// Waits for at least one delivery, then takes all that are available.
    async fn fill(&mut self) -> Result<(), Stop> {
        while self.backlog.len() == 0 {
            let message = self.queue.pull().await?;
            self.admit(message).await?;
        }
        while self.backlog.len() < MOST && (self.backlog.len() <= FEW || self.queue.behind() > 0) {
            let message = match self.queue.pull().now_or_never() {
                Some(message) => message?,
                // The server has more deliveries: the post about a flood should cover all of it.
                None if self.waits_long() && self.queue.behind() > 0 => {
                    match tokio::time::timeout(Duration::from_millis(200), self.queue.pull()).await {
                        Ok(message) => message?,
                        Err(_) => break,
                    }
                }
                None => break,
            };
            self.admit(message).await?;
        }
        Ok(())
    }

    /// Collects deliveries while the limiter allows no post; they will go out together.
    async fn collect_while_limited(&mut self) -> Result<(), Stop> {
        let limiter = self.room.limiter();
        while let Some(wait) = limiter.wait() {
            let until = Instant::now() + wait;
            while self.backlog.len() < MOST {
                let Ok(message) = tokio::time::timeout_at(until, self.queue.pull()).await else { break };
                self.admit(message?).await?;
            }
            pause(until.saturating_duration_since(Instant::now()), &self.shared.lease, &self.stop).await?;
        }
        Ok(())
    }

    fn waits_long(&self) -> bool {
        self.backlog.len() as u64 + self.queue.behind() > FEW as u64
    }

    /// True if the limiter does not allow a separate post for each waiting delivery now.
    fn backlog_limited(&self) -> bool {
        self.backlog.len() > 1 && self.room.limiter().tokens() < self.backlog.len()
    }

    async fn admit(&mut self, message: Message) -> Result<(), Stop> {
        if let Some(Pulled { delivery, size, sequence, acker }) = self.queue.read(message).await? {
            self.backlog.push(delivery, size, sequence, acker);
        }
        Ok(())
    }

    async fn deliver(&mut self, post: Post, taken: Vec<Waiting<Acker>>) -> Result<(), Stop> {
        let room = self.room.clone();
        let failure = match Sending::new(room.as_ref(), &post) {
            Ok(mut sending) => match self.send(&mut sending, &post, &taken).await? {
                Ok(sent) => return self.receipt(&post, &taken, &sending, sent).await,
                Err(failure) => (failure, sending.tries, sending.attempts),
            },
            Err(failure) => (failure, 0, Attempts::default()),
        };
        self.give_up(failure, post, taken).await
    }

    /// Tries until the room takes the post or refuses it, or until it is too old.
    async fn send(
        &mut self,
        sending: &mut Sending<'_>,
        post: &Post,
        taken: &[Waiting<Acker>],
    ) -> Result<Result<Sent, Failure>, Stop> {
        loop {
            let answer = sending.attempt(&self.shared.lease, &self.stop).await?;
            self.count_attempt(sending, answer.as_ref().err(), taken);
            let (reason, wait) = match answer {
                Err(Failure::Transient { reason, wait, .. }) => (reason, wait),
                decided => return Ok(decided),
            };
            if post.listed.first().is_some_and(|first| Timestamp::now().since(first.at) > PATIENCE) {
                let reason = format!("given up after {}: {reason}", humantime::format_duration(PATIENCE));
                return Ok(Err(Failure::Permanent { reason }));
            }
            let wait = backoff(sending.tries, wait, fastrand::f64());
            tracing::warn!(
                room = self.name,
                tries = sending.tries,
                reason,
                ?wait,
                "not posted; trying again"
            );
            pause(wait, &self.shared.lease, &self.stop).await?;
        }
    }

    async fn receipt(
        &mut self,
        post: &Post,
        taken: &[Waiting<Acker>],
        sending: &Sending<'_>,
        sent: Sent,
    ) -> Result<(), Stop> {
        let outcome = if post.is_batch() { Outcome::Counted } else { Outcome::Posted };
        let now = Timestamp::now();
        let receipt = Receipt {
            room: self.name.clone(),
            outcome,
            ids: taken.iter().map(|waiting| waiting.delivery.id.to_string()).collect(),
            place: taken.iter().map(|waiting| waiting.delivery.place).max().unwrap_or_default(),
            at: now,
            tries: sending.tries,
            attempts: sending.attempts.clone(),
            post: sent.post,
            link: sent.link,
            possible_duplicate: sending.ambiguous,
            reason: None,
        };
        outbox::record(&self.shared.bus, &self.shared.lease, &receipt).await?;
        self.count_delivered(&receipt, taken);
        self.queue.set_done(receipt.ids);
        self.acknowledge_all(taken).await?;
        self.recovered(now).await;
        Ok(())
    }

    /// Makes dead letters of a post that the room refused. The deliveries of a larger post are first tried one by one,
    /// unless the room itself is broken.
    async fn give_up(
        &mut self,
        (failure, tries, attempts): (Failure, u32, Attempts),
        post: Post,
        taken: Vec<Waiting<Acker>>,
    ) -> Result<(), Stop> {
        if post.is_batch() && matches!(failure, Failure::Permanent { .. }) {
            tracing::warn!(room = self.name, %failure, "a post of several deliveries was refused; sending them one by one");
            self.singly = taken.len();
            return Err(Stop::Broken(anyhow::anyhow!("a post of several deliveries was refused")));
        }
        for waiting in &taken {
            let full = self.shared.lease.bound(self.shared.streams.out.direct_get(waiting.sequence)).await?;
            let delivery = full.ok().and_then(|message| serde_json::from_slice(&message.payload).ok());
            let delivery: Delivery = delivery.unwrap_or_else(|| waiting.delivery.clone());
            tracing::error!(room = self.name, id = delivery.id.as_str(), %failure, "dead letter");
            let letter = DeadLetter {
                room: self.name.clone(),
                reason: failure.to_string(),
                at: Timestamp::now(),
                tries,
                attempts: attempts.clone(),
                delivery,
            };
            outbox::bury(&self.shared.bus, &self.shared.lease, letter).await?;
            self.shared.metrics.delivered(&self.name, "dead", 1);
            acknowledge(&waiting.acker).await?;
        }
        self.broken(&failure).await;
        Ok(())
    }

    async fn acknowledge_all(&self, taken: &[Waiting<Acker>]) -> Result<(), Stop> {
        let Some((last, others)) = taken.split_last() else { return Ok(()) };
        for waiting in others {
            waiting.acker.ack_with(AckKind::Ack).await.map_err(|error| anyhow::anyhow!("{error}"))?;
        }
        // One connection keeps the order: when the last is confirmed, the server has seen the others.
        Ok(acknowledge(&last.acker).await?)
    }

    fn count_delivered(&self, receipt: &Receipt, taken: &[Waiting<Acker>]) {
        let metrics = &self.shared.metrics;
        metrics.delivered(&self.name, receipt.outcome.as_str(), taken.len() as u64);
        let room = ByRoom { room: self.name.clone() };
        if receipt.possible_duplicate {
            metrics.possible_duplicates.get_or_create(&room).inc();
        }
        let seconds = metrics.delivery_seconds.get_or_create(&room);
        taken.iter().for_each(|waiting| seconds.observe(receipt.at.since(waiting.delivery.at).as_secs_f64()));
    }

    fn count_attempt(&self, sending: &Sending<'_>, failure: Option<&Failure>, taken: &[Waiting<Acker>]) {
        let Some(attempt) = sending.attempts.last() else { return };
        let outcome = attempt.outcome.as_str();
        self.shared.metrics.attempts.get_or_create(&RoomOutcome { room: self.name.clone(), outcome }).inc();
        let Some(failure) = failure else { return };
        self.shared.status.room(&self.name, |room| {
            room.state =
                if matches!(failure, Failure::Auth { .. }) { State::Broken } else { State::Retrying };
            room.tries = sending.tries;
            room.last_error = Some(failure.to_string());
            room.last_error_at = Some(attempt.at);
            let attempts = sending.attempts.clone();
            match &mut room.retrying {
                Some(retrying) if sending.tries > 1 => retrying.attempts = attempts,
                _ => {
                    let ids = taken.iter().map(|waiting| waiting.delivery.id.to_string()).collect();
                    room.retrying = Some(Retrying { ids, attempts });
                }
            }
        });
    }

    async fn broken(&mut self, failure: &Failure) {
        self.shared.status.room(&self.name, |room| {
            room.retrying = None;
            room.state = State::Broken;
            room.last_error = Some(failure.to_string());
            room.last_error_at = Some(Timestamp::now());
        });
        if !std::mem::replace(&mut self.failing, true) {
            self.shared.notices.room_broken(&self.name, &failure.to_string()).await;
        }
    }

    async fn recovered(&mut self, now: Timestamp) {
        self.shared.status.room(&self.name, |room| {
            room.state = State::Ok;
            room.tries = 0;
            room.retrying = None;
            room.last_success = Some(now);
        });
        if std::mem::replace(&mut self.failing, false) {
            self.shared.notices.room_recovered(&self.name).await;
        }
    }
}
