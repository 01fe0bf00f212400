//! One reader of the log for all open pages: keeps the last messages, of which each page takes its next ones at its own pace.
//! It never waits for a page; a page that falls behind what is kept is disconnected and resumes by itself.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::stream::{Info, Stream};
use tellhal::timestamp::Timestamp;
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::Shared;
use super::event::{Entry, Frame};
use crate::bus::follow::Follow;
use service::http::problem::Problem;

/// The number of messages at the beginning of an event stream.
const RECENT: usize = 200;
/// The largest number of messages in memory, and of their bytes.
const KEPT: usize = 1000;
const KEPT_BYTES: usize = 4 << 20;
/// The pause before the log is tried again.
const PAUSE: Duration = Duration::from_millis(200);
/// The longest wait for the log by a request.
const AGAIN: Duration = Duration::from_secs(1);
/// The interval at which the relay's own state is checked.
const STATE: Duration = Duration::from_millis(500);
/// Time without messages after which the log's state is checked.
const QUIET: Duration = Duration::from_secs(5);

/// The end of the log.
pub(super) struct Tail {
    kept: Mutex<Kept>,
    reached: watch::Sender<Reached>,
    /// The relay's own problem, if it has one.
    problem: watch::Sender<Option<String>>,
}

/// The progress of the tail after its start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reached {
    Nothing,
    /// The start of the last messages is known.
    Log,
    /// The end of the log was reached, so a sequence can be compared with the last one.
    End,
}

struct Kept {
    /// The creation time of the log that the frames are from.
    log: Option<OffsetDateTime>,
    frames: VecDeque<Frame>,
    bytes: usize,
    /// Every message after this sequence, up to `last`, is among `frames`.
    complete_after: u64,
    /// The last sequence that was read. The channel ends when another log takes the place of this one.
    last: watch::Sender<u64>,
}

/// An open page's place in the messages that are kept.
pub(super) struct Place {
    /// The messages up to this sequence were taken.
    after: u64,
    last: watch::Receiver<u64>,
    reached: watch::Receiver<Reached>,
    is_live: bool,
}

/// The last messages of the log.
pub(super) struct Recent {
    /// Newest first.
    pub(super) entries: Vec<Arc<Entry>>,
    /// Every message after this sequence, up to `last`, is among them.
    pub(super) complete_after: u64,
    pub(super) last: u64,
}

impl Tail {
    pub(super) fn new() -> Self {
        let (reached, problem) = (watch::Sender::new(Reached::Nothing), watch::Sender::default());
        Tail { kept: Mutex::new(Kept::new()), reached, problem }
    }

    /// The place before the last messages.
    pub(super) fn join(&self) -> Place {
        let kept = self.lock();
        let before = kept.frames.len().checked_sub(RECENT + 1).and_then(|index| kept.frames.get(index));
        self.place_after(&kept, before.and_then(Frame::sequence).unwrap_or(kept.complete_after))
    }

    /// The place after the message `sequence`, if all later ones are kept.
    pub(super) fn join_after(&self, sequence: u64) -> Option<Place> {
        let kept = self.lock();
        (sequence >= kept.complete_after).then(|| self.place_after(&kept, sequence))
    }

    fn place_after(&self, kept: &Kept, after: u64) -> Place {
        let (last, reached) = (kept.last.subscribe(), self.reached.subscribe());
        Place { after, last, reached, is_live: false }
    }

    /// The next frames of a page: about `bytes` of messages, or the `live` frame once the page has every message and the
    /// log's end was reached. Waits for them. The error is that the page must begin again. Cancel safe.
    pub(super) async fn next(&self, place: &mut Place, bytes: usize) -> anyhow::Result<Vec<Frame>> {
        loop {
            // Before the look at what is kept, so that no later message is missed.
            place.last.has_changed().context("the log was replaced by a new one")?;
            place.last.mark_unchanged();
            let end = *place.reached.borrow_and_update() == Reached::End;
            let frames = self.after(place.after, bytes).context("the page fell behind the log")?;
            if let Some(last) = frames.last().and_then(Frame::sequence) {
                place.after = last;
                return Ok(frames);
            }
            if end && !place.is_live {
                place.is_live = true;
                return Ok(vec![Frame::live()]);
            }
            tokio::select! {
                _ = place.last.changed() => {}
                _ = place.reached.changed(), if !place.is_live => {}
            }
        }
    }

    /// Messages after `sequence`, at least one if there is one, else about `bytes`; `None` if some are not kept.
    fn after(&self, sequence: u64, bytes: usize) -> Option<Vec<Frame>> {
        let kept = self.lock();
        if sequence < kept.complete_after {
            return None;
        }
        let seen = |frame: &Frame| frame.sequence().is_some_and(|at| at <= sequence);
        let (first, mut size) = (kept.frames.partition_point(seen), 0);
        let fits = |frame: &&Frame| {
            let fits = size < bytes;
            size += frame.bytes.len();
            fits
        };
        Some(kept.frames.range(first..).take_while(fits).cloned().collect())
    }

    /// The relay's own problem, and its changes.
    pub(super) fn problem(&self) -> watch::Receiver<Option<String>> {
        self.problem.subscribe()
    }

    /// All messages in memory. Waits up to a second for the log: before it was reached, they are not known.
    pub(super) async fn recent(&self) -> Result<Recent, Problem> {
        if tokio::time::timeout(AGAIN, self.until(Reached::Log)).await.is_err() {
            return Err(Problem::unavailable("the relay has not reached the log yet"));
        }
        let kept = self.lock();
        let entries = kept.frames.iter().rev().filter_map(|frame| frame.entry.clone()).collect();
        Ok(Recent { entries, complete_after: kept.complete_after, last: kept.last() })
    }

    /// The sequence and time of the newest message in memory.
    pub(super) fn newest(&self) -> Option<(u64, Timestamp)> {
        let kept = self.lock();
        kept.frames.back().and_then(|frame| frame.entry.as_ref()).map(|entry| (entry.sequence, entry.at))
    }

    /// The last sequence that was read, once the log's end was reached.
    pub(super) async fn last(&self) -> u64 {
        self.until(Reached::End).await;
        self.lock().last()
    }

    async fn until(&self, reached: Reached) {
        // The sender is part of `self`, so it cannot be dropped meanwhile.
        let _ = self.reached.subscribe().wait_for(|now| *now >= reached).await;
    }

    /// Waits up to a second until this sequence was read.
    pub(super) async fn reached(&self, sequence: u64) {
        let mut last = self.lock().last.subscribe();
        // After a timeout the caller finds the message a moment later.
        let _ = tokio::time::timeout(AGAIN, last.wait_for(|last| *last >= sequence)).await;
    }

    /// True once the log's end was reached.
    pub(super) fn is_placed(&self) -> bool {
        *self.reached.borrow() == Reached::End
    }

    /// Follows log and state until `shutdown`.
    pub(super) async fn run(&self, shared: &Shared, shutdown: CancellationToken) {
        let work = async { tokio::join!(self.keep_following(shared), self.tell(shared)) };
        shutdown.run_until_cancelled(work).await;
    }

    async fn keep_following(&self, shared: &Shared) {
        let mut logged = String::new();
        loop {
            if let Err(error) = self.follow(shared).await {
                let error = format!("{error:#}");
                if error == logged {
                    debug!(error, "the page still cannot read the log");
                } else {
                    warn!(error, "the page cannot read the log; trying again");
                    logged = error;
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Passes on new messages, from the last one read. Ends when the log was replaced by another.
    async fn follow(&self, shared: &Shared) -> anyhow::Result<()> {
        let (bus, filter) = (&shared.bus, shared.bus.names.all_ops());
        let name = bus.names.ops_stream();
        let stream = bus.js.get_stream(&name).await.with_context(|| format!("stream {name}"))?;
        let log = stream.cached_info();
        self.check(log);
        let last = self.lock().last();
        let start = if last > 0 { last + 1 } else { start_of_last(&stream, filter.clone()).await? };
        self.begin(log.created, start - 1);
        let mut follow = Follow::after(bus, stream.clone(), filter, start - 1);
        loop {
            // The time a server takes to answer does not count as time without messages.
            follow.ready().await.with_context(|| format!("stream {name}"))?;
            self.place(follow.at_end());
            match tokio::time::timeout(QUIET, follow.next()).await {
                Ok(message) => {
                    let message = message.with_context(|| format!("stream {name}"))?;
                    if let Some(frame) = Frame::message(&bus.names, &message) {
                        self.push(frame);
                    }
                }
                // A consumer on a deleted stream stays silent, so the stream itself is checked.
                Err(_) if self.check(&stream.get_info().await?) => return Ok(()),
                Err(_) => {}
            }
        }
    }

    fn place(&self, at_end: bool) {
        if at_end && !self.is_placed() {
            self.reached.send_replace(Reached::End);
        }
    }

    /// Drops all messages if this is another log than before, and disconnects the pages, which then reconnect.
    fn check(&self, log: &Info) -> bool {
        let mut kept = self.lock();
        let anew =
            kept.log.is_some_and(|created| created != log.created) || kept.last() > log.state.last_sequence;
        if anew {
            warn!(stream = log.config.name, "the log was replaced by a new one");
            *kept = Kept::new();
            self.reached.send_replace(Reached::Nothing);
        }
        anew
    }

    fn begin(&self, log: OffsetDateTime, after: u64) {
        let mut kept = self.lock();
        kept.log = Some(log);
        self.reached.send_if_modified(|reached| {
            let first = *reached == Reached::Nothing;
            *reached = (*reached).max(Reached::Log);
            first
        });
        if kept.last() == 0 {
            kept.complete_after = after;
            kept.last.send_replace(after);
        }
    }

    /// Passes on the relay's own problem when it changes.
    async fn tell(&self, shared: &Shared) {
        let mut every = tokio::time::interval(STATE);
        loop {
            every.tick().await;
            let now = shared.problem();
            self.problem.send_if_modified(|told| {
                let is_new = *told != now;
                *told = now;
                is_new
            });
        }
    }

    fn push(&self, frame: Frame) {
        let mut kept = self.lock();
        let sequence = frame.sequence().unwrap_or_default();
        // A recreated consumer may begin too early.
        if sequence <= kept.last() {
            return;
        }
        kept.bytes += frame.bytes.len();
        kept.frames.push_back(frame);
        while kept.frames.len() > KEPT || kept.bytes > KEPT_BYTES {
            let Some(gone) = kept.frames.pop_front() else { break };
            kept.bytes -= gone.bytes.len();
            kept.complete_after = gone.sequence().unwrap_or_default();
        }
        kept.last.send_replace(sequence);
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn new() -> Self {
        Kept { log: None, frames: VecDeque::new(), bytes: 0, complete_after: 0, last: watch::Sender::new(0) }
    }

    fn last(&self) -> u64 {
        *self.last.borrow()
    }
}

/// The sequence to start at for at least the last [`RECENT`] messages, or for all if there are fewer. The log also has
/// entries that are not messages, so the server is asked for the number of messages after ever earlier sequences.
async fn start_of_last(stream: &Stream, filter: String) -> anyhow::Result<u64> {
    let state = &stream.cached_info().state;
    let first = state.first_sequence.max(1);
    let mut window = 2 * RECENT as u64;
    loop {
        let start = (state.last_sequence + 1).saturating_sub(window).max(first);
        if start == first {
            return Ok(start);
        }
        let config = pull::Config {
            filter_subject: filter.clone(),
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: start },
            ack_policy: AckPolicy::None,
            memory_storage: true,
            ..pull::Config::default()
        };
        let consumer = stream.create_consumer(config).await?;
        let info = consumer.cached_info();
        stream.delete_consumer(&info.name).await?;
        if info.num_pending >= RECENT as u64 {
            return Ok(start);
        }
        window *= 4;
    }
}
