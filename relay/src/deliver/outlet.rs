//! Posts what waits for a room: groups it, reads its content, sends it until the room takes or refuses it. Writes nothing to
//! the bus.

use std::sync::Arc;
use std::time::Duration;

use tellhal::Timestamp;
use tellhal::attached::File;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::batch::{Batch, FEW, fitting};
use super::contents::Contents;
use super::post::{Interrupted, Sending, backoff, pause};
use super::queues::RoomQueue;
use super::shared::Shared;
use crate::bus::files::load_answer;
use crate::delivery::waiting::Waiting;
use crate::delivery::{Attempts, Content, Place, Receipt};
use crate::room::{Post, Room};
use crate::status::metrics::{ByRoom, RoomOutcome};
use crate::status::{Retrying, State};
use service::platform::{Failure, Sent};
use service::zone::Zone;

/// A delivery becomes a dead letter after this time, counted while a relay leads.
const PATIENCE: Duration = Duration::from_secs(86_400);
/// The number of deliveries that are read from the log at once for posts of a few.
const AHEAD: usize = 200;
/// The longest usual id of a delivery, in bytes.
const LONGEST_ID: usize = 200;
/// The longest wait for one file.
const LOAD: Duration = Duration::from_secs(3);
/// The wait after an interruption by the server.
const AGAIN: Duration = Duration::from_millis(250);

/// The way into one room.
pub(super) struct Outlet {
    pub(super) room: Arc<dyn Room>,
    pub(super) name: String,
    pub(super) queue: Arc<RoomQueue>,
    pub(super) contents: Contents,
    pub(super) shared: Shared,
    pub(super) stop: CancellationToken,
    pub(super) zone: Zone,
    /// The number of deliveries that may wait while the room fails.
    pub(super) max_waiting: usize,
    /// The number of deliveries that still go out one by one, because a post of them all was refused.
    pub(super) singly: usize,
    /// Of the deliveries up to this sequence of the log, so many next posts may repeat those of a lost leader.
    pub(super) doubtful: (u64, u32),
    /// The failed attempts since the last post, and the time of the next attempt. They outlast a post that is given up.
    pub(super) failures: u32,
    pub(super) retry_at: Option<Instant>,
}

/// The end of a post.
pub(super) enum End {
    Posted(Receipt),
    Refused(Refusal),
    /// Its content could not be read, or the room refused all of it at once: the post is made again, or one for each delivery.
    Again,
}

/// The oldest deliveries of a room, which it will never take.
pub(super) struct Refusal {
    pub(super) reason: String,
    /// True if the room itself is broken, not only this post.
    pub(super) is_broken: bool,
    pub(super) count: usize,
    /// The first deliveries were in a post that was tried.
    pub(super) tried: usize,
    pub(super) tries: u32,
    pub(super) attempts: Attempts,
}

impl Outlet {
    /// Waits until something waits after the place `after`.
    pub(super) async fn wait(&self, after: Place) -> Result<(), Interrupted> {
        while self.queue.len_after(after) == 0 {
            let changed = self.shared.lease.bound(self.queue.changed.notified());
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Err(Interrupted::Stopped),
                changed = changed => changed?,
            }
        }
        Ok(())
    }

    /// Waits until the limiter allows a post. More deliveries may come meanwhile: they will go out together.
    pub(super) async fn limit(&self) -> Result<(), Interrupted> {
        while let Some(wait) = self.room.limiter().wait() {
            pause(wait, &self.shared.lease, &self.stop).await?;
        }
        Ok(())
    }

    /// Sends one post of the oldest deliveries after the place `after`.
    pub(super) async fn post(&mut self, after: Place) -> Result<End, Interrupted> {
        let most = if self.sends_all(after) { self.most() } else { 1 };
        self.singly = self.singly.saturating_sub(1);
        let mut batch = Batch::new(&self.name, self.room.listed());
        let lease = self.shared.lease.clone();
        if let Err(error) = lease.bound(self.read(after, most, &mut batch)).await? {
            tracing::warn!(
                room = self.name,
                error = format!("{error:#}"),
                "the queue was interrupted; trying again"
            );
            pause(AGAIN, &self.shared.lease, &self.stop).await?;
            return Ok(End::Again);
        }
        let room = self.room.clone();
        let mut post = batch.post(&self.zone);
        post.files = lease.bound(self.files(&post)).await?;
        match Sending::new(room.as_ref(), &post) {
            Ok(sending) => self.send(sending, batch).await,
            Err(failure) => Ok(self.refused(failure, &batch, 0, Attempts::default())),
        }
    }

    /// Reads the content of the next `most` deliveries. If only a few are needed now, more are read for later posts.
    async fn read(&mut self, after: Place, most: usize, batch: &mut Batch) -> anyhow::Result<()> {
        let peek = |most| fitting(self.queue.peek(after, most), self.room.listed());
        let mut waiting = peek(most);
        if most < AHEAD && waiting.iter().any(|waiting| matches!(waiting, Waiting::Reference(_))) {
            let mut deliveries = Vec::new();
            let ahead = self.queue.peek(after, AHEAD);
            self.contents.read(&ahead, |delivery| deliveries.push(delivery.clone())).await?;
            self.queue.fill(deliveries);
            waiting = peek(most);
        }
        self.contents.read(&waiting, |delivery| batch.push(delivery)).await?;
        if !self.queue.has_references() {
            self.contents.close();
        }
        Ok(())
    }

    /// The files of a post. One that cannot be had is a link in its message, and keeps no message waiting.
    async fn files(&self, post: &Post) -> Vec<File> {
        let mut files = Vec::new();
        let [delivery] = post.listed.as_slice() else { return files };
        let Content::Message(message) = &delivery.content else { return files };
        if !self.room.takes_files() || post.is_batch() || message.files.is_empty() {
            return files;
        }
        for entry in &message.files {
            match timeout(LOAD, load_answer(&self.shared.streams.files, &entry.object)).await {
                Ok(Ok(file)) => files.extend(file),
                failed => {
                    tracing::warn!(room = self.name, object = entry.object, ?failed, "a file cannot be read");
                }
            }
        }
        files
    }

    /// The number of deliveries in one post, of which the receipt has every id.
    fn most(&self) -> usize {
        self.room.most().min(self.shared.payload_limit() / LONGEST_ID).max(1)
    }

    fn sends_all(&self, after: Place) -> bool {
        let waiting = self.queue.len_after(after);
        self.singly == 0 && (waiting > FEW || waiting > 1 && self.room.limiter().tokens() < waiting)
    }

    /// Tries until the room takes the post or refuses it, or until the post must be given up.
    async fn send(&mut self, mut sending: Sending<'_>, batch: Batch) -> Result<End, Interrupted> {
        loop {
            let answer = sending.attempt(&self.shared.lease, &self.stop).await?;
            self.count_attempt(&sending, answer.as_ref().err(), &batch);
            let (reason, wait) = match answer {
                Ok(sent) => return Ok(End::Posted(self.receipt(batch, &sending, sent))),
                Err(Failure::Transient { reason, wait, .. }) => (reason, wait),
                Err(failure) => {
                    return Ok(self.refused(failure, &batch, sending.tries, sending.attempts.clone()));
                }
            };
            if self.queue.is_older_than(batch.first, PATIENCE) {
                let reason = format!("given up after {}: {reason}", humantime::format_duration(PATIENCE));
                let failure = Failure::Permanent { reason };
                return Ok(self.refused(failure, &batch, sending.tries, sending.attempts.clone()));
            }
            self.failures += 1;
            let wait = backoff(self.failures, wait, fastrand::f64());
            self.retry_at = Some(Instant::now() + wait);
            self.shared.status.room(&self.name, |room| room.retry_at = Some(Timestamp::now().plus(wait)));
            tracing::warn!(
                room = self.name,
                tries = sending.tries,
                reason,
                ?wait,
                "not posted; trying again"
            );
            if let Some((count, why)) = self.back_off().await? {
                let (reason, tried) = (format!("{why}: {reason}"), batch.len());
                let (tries, attempts) = (sending.tries, sending.attempts.clone());
                return Ok(End::Refused(Refusal { reason, is_broken: true, count, tried, tries, attempts }));
            }
        }
    }

    /// Waits for the time of the next attempt. Returns early with the number of deliveries to give up, and the reason.
    pub(super) async fn back_off(&self) -> Result<Option<(usize, String)>, Interrupted> {
        while let Some(retry_at) = self.retry_at {
            if let Some(to_give_up) = self.to_give_up(true) {
                return Ok(Some(to_give_up));
            }
            let rest = retry_at.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                break;
            }
            tokio::select! {
                paused = pause(rest, &self.shared.lease, &self.stop) => paused?,
                () = self.queue.changed.notified() => {}
            }
        }
        Ok(None)
    }

    /// The number of the oldest deliveries that the room must give up, and the reason.
    pub(super) fn to_give_up(&self, is_failing: bool) -> Option<(usize, String)> {
        if let Some(sequence) = self.queue.must_give_up() {
            let through = Place { sequence, number: u32::MAX };
            let count = self.queue.len() - self.queue.len_after(through);
            return Some((count, "given up because the log is full".into()));
        }
        let excess = self.queue.len().saturating_sub(self.max_waiting);
        let reason =
            || format!("given up because more than {} deliveries wait for the room", self.max_waiting);
        // Dead letters share a receipt: some at a time are cheaper than each with its own.
        (is_failing && excess > self.max_waiting / 1000).then(|| (excess, reason()))
    }

    fn refused(&mut self, failure: Failure, batch: &Batch, tries: u32, attempts: Attempts) -> End {
        // The room answers: it is no longer failing, whatever it says of this post.
        (self.failures, self.retry_at) = (0, None);
        if batch.is_several() && matches!(failure, Failure::Permanent { .. }) {
            tracing::warn!(room = self.name, %failure, "a post of several deliveries was refused; sending them one by one");
            self.singly = batch.len();
            return End::Again;
        }
        let (reason, count) = (failure.to_string(), batch.len());
        let is_broken = matches!(failure, Failure::Auth { .. });
        End::Refused(Refusal { reason, is_broken, count, tried: count, tries, attempts })
    }

    fn receipt(&mut self, batch: Batch, sending: &Sending, sent: Sent) -> Receipt {
        (self.failures, self.retry_at) = (0, None);
        let is_doubtful = self.doubtful.1 > 0 && batch.first.sequence <= self.doubtful.0;
        self.doubtful.1 = self.doubtful.1.saturating_sub(1);
        let (outcome, listed) = batch.outcome();
        let receipt = Receipt {
            room: self.name.clone(),
            outcome,
            ids: batch.ids,
            listed,
            place: batch.place,
            at: Timestamp::now(),
            tries: sending.tries,
            attempts: sending.attempts.clone(),
            post: sent.post,
            link: sent.link,
            possible_duplicate: sending.ambiguous || is_doubtful,
            reason: sent.doubt,
        };
        if let Some(doubt) = &receipt.reason {
            tracing::warn!(room = self.name, doubt, "nobody knows that the post is shown");
        }
        let metrics = &self.shared.metrics;
        let room = ByRoom { room: self.name.clone() };
        if receipt.possible_duplicate {
            metrics.possible_duplicates.get_or_create(&room).inc();
        }
        let seconds = metrics.delivery_seconds.get_or_create(&room);
        batch.times.iter().for_each(|time| seconds.observe(receipt.at.since(*time).as_secs_f64()));
        receipt
    }

    fn count_attempt(&self, sending: &Sending<'_>, failure: Option<&Failure>, batch: &Batch) {
        let Some(attempt) = sending.attempts.last() else { return };
        let outcome = attempt.outcome.as_str();
        self.shared.metrics.attempts.get_or_create(&RoomOutcome { room: self.name.clone(), outcome }).inc();
        let Some(failure) = failure else { return };
        self.shared.status.room(&self.name, |room| {
            room.state = match (failure, room.state) {
                (Failure::Auth { .. }, _) => State::Broken,
                (Failure::Transient { .. }, _) => State::Retrying,
                // The room answers.
                (Failure::Permanent { .. }, State::Retrying) => State::Ok,
                (Failure::Permanent { .. }, state) => state,
            };
            room.trouble.failed(std::time::Instant::now(), attempt.outcome);
            room.tries = sending.tries;
            room.last_error = Some(failure.to_string());
            room.last_error_at = Some(attempt.at);
            room.failing_since.get_or_insert(attempt.at);
            room.retry_at = None;
            let attempts = sending.attempts.clone();
            match &mut room.retrying {
                Some(retrying) if sending.tries > 1 => retrying.attempts = attempts,
                _ => room.retrying = Some(Retrying { ids: batch.ids.clone().into(), attempts }),
            }
        });
    }
}
