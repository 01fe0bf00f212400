//! One reader of the log for every open page: keeps the last messages and hands on what comes.
//! It never waits for a page; one that falls behind is cut off and resumes by itself.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::stream::{Info, Stream};
use futures_util::StreamExt;
use time::OffsetDateTime;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::Shared;
use super::event::Frame;
use crate::delivery::Content;
use crate::scan::{Found, ordered};

/// How many messages a page gets when it is opened.
const KEPT: usize = 200;
/// How far a page may fall behind the log before it is cut off, in messages.
const LAG: usize = 1024;
/// How soon the log is tried again.
const PAUSE: Duration = Duration::from_millis(200);
/// How often connection and state are looked at.
const AGAIN: Duration = Duration::from_secs(1);
/// After how much quiet the log is looked at, in [`AGAIN`]s.
const IDLE: u32 = 5;

/// The end of the log.
pub(super) struct Tail {
    kept: Mutex<Kept>,
    /// Whether the log's end was reached, so that a sequence can be told to be old or new.
    placed: watch::Sender<bool>,
}

struct Kept {
    /// When the log that this is from was made.
    log: Option<OffsetDateTime>,
    frames: VecDeque<Frame>,
    /// Every message after this sequence, up to `last`, is among `frames`.
    complete_after: u64,
    /// The last sequence that was read.
    last: u64,
    live: broadcast::Sender<Frame>,
}

/// What a page shows at once, and what comes after it without a gap.
pub(super) type Joined = (Vec<Frame>, broadcast::Receiver<Frame>);

impl Tail {
    pub(super) fn new() -> Self {
        Tail { kept: Mutex::new(Kept::new()), placed: watch::Sender::new(false) }
    }

    /// The last messages and everything from here on.
    pub(super) fn join(&self) -> Joined {
        let kept = self.lock();
        (kept.frames.iter().cloned().collect(), kept.live.subscribe())
    }

    /// Everything after `sequence`, if it is recent enough. What is not in the log is told again rather
    /// than lost; its id tells.
    pub(super) fn join_after(&self, sequence: u64) -> Option<Joined> {
        let kept = self.lock();
        if sequence < kept.complete_after {
            return None;
        }
        let known = |frame: &Frame| frame.sequence.is_some_and(|at| at <= sequence);
        let start = kept.frames.iter().rposition(known).map_or(0, |at| at + 1);
        Some((kept.frames.iter().skip(start).cloned().collect(), kept.live.subscribe()))
    }

    /// The last sequence that was read, once the log's end was reached.
    pub(super) async fn last(&self) -> u64 {
        let mut placed = self.placed.subscribe();
        // The sender is `self`: it cannot be gone.
        let _ = placed.wait_for(|placed| *placed).await;
        self.lock().last
    }

    /// Follows log, feed and state until `shutdown`.
    pub(super) async fn run(&self, shared: &Shared, shutdown: CancellationToken) {
        let work = async { tokio::join!(self.keep_following(shared), self.tell(shared)) };
        shutdown.run_until_cancelled(work).await;
    }

    async fn keep_following(&self, shared: &Shared) {
        let mut told = String::new();
        loop {
            if let Err(error) = self.follow(shared).await {
                let error = format!("{error:#}");
                if error == told {
                    debug!(error, "the page still cannot read the log");
                } else {
                    warn!(error, "the page cannot read the log; trying again");
                    told = error;
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Hands on what comes, from where it left off. Ends when the connection or the log is not
    /// what it was.
    async fn follow(&self, shared: &Shared) -> anyhow::Result<()> {
        let name = shared.names.ops_stream();
        let client = shared.jetstream.client();
        let connects = client.statistics().connects.load(Relaxed);
        let mut quiet = 0;
        let stream = shared.jetstream.get_stream(&name).await.with_context(|| format!("stream {name}"))?;
        let log = stream.cached_info();
        self.check(log);
        let last = self.lock().last;
        let start = if last > 0 { last + 1 } else { start_of_last(&stream, shared.names.all_ops()).await? };
        self.begin(log.created, start - 1);
        let from = DeliverPolicy::ByStartSequence { start_sequence: start };
        let consumer = ordered(&stream, shared.names.all_ops(), from).await?;
        let mut at_end = consumer.cached_info().num_pending == 0;
        let mut messages = consumer.messages().await?;
        loop {
            self.placed.send_if_modified(|placed| at_end && !std::mem::replace(placed, at_end));
            let Ok(message) = tokio::time::timeout(AGAIN, messages.next()).await else {
                // A consumer finds out late that its server was gone, and outlives its stream.
                if client.statistics().connects.load(Relaxed) != connects {
                    return Ok(());
                }
                quiet += 1;
                if quiet % IDLE == 0 && self.check(&stream.get_info().await?) {
                    return Ok(());
                }
                continue;
            };
            quiet = 0;
            let message = message.with_context(|| format!("reading stream {name} ended"))??;
            at_end |= message.info().is_ok_and(|info| info.pending == 0);
            let found = Found::new(message)?;
            if let Some(frame) = Frame::message(&shared.names, &found) {
                self.push(frame);
            }
        }
    }

    /// Forgets everything if this is another log than before, and cuts off the pages, which then come back.
    fn check(&self, log: &Info) -> bool {
        let mut kept = self.lock();
        let anew =
            kept.log.is_some_and(|created| created != log.created) || kept.last > log.state.last_sequence;
        if anew {
            warn!(stream = log.config.name, "the log was made anew");
            *kept = Kept::new();
            self.placed.send_replace(false);
        }
        anew
    }

    fn begin(&self, log: OffsetDateTime, after: u64) {
        let mut kept = self.lock();
        kept.log = Some(log);
        if kept.last == 0 {
            (kept.complete_after, kept.last) = (after, after);
        }
    }

    /// Hands on summaries that were delivered to the page, and the relay's own state when it changes.
    async fn tell(&self, shared: &Shared) {
        let mut feed = shared.feed.resubscribe();
        let mut every = tokio::time::interval(AGAIN);
        let mut told = None;
        loop {
            tokio::select! {
                delivery = feed.recv() => match delivery {
                    Ok(delivery) => self.deliver(&delivery),
                    Err(broadcast::error::RecvError::Lagged(missed)) => warn!(missed, "the page fell behind"),
                    Err(broadcast::error::RecvError::Closed) => return,
                },
                _ = every.tick() => {
                    let now = shared.status.ready().err();
                    if told.replace(now.clone()) != Some(now) {
                        // Nobody may be there to hear it.
                        let _ = self.lock().live.send(Frame::state(&shared.status));
                    }
                }
            }
        }
    }

    /// Messages are in the log already; the rest is shown from here.
    fn deliver(&self, delivery: &crate::delivery::Delivery) {
        if let Content::Summary(summary) = &delivery.content
            && let Some(frame) = Frame::summary(&delivery.id, delivery.at, summary)
        {
            self.push(frame);
        }
    }

    fn push(&self, frame: Frame) {
        let mut kept = self.lock();
        if let Some(sequence) = frame.sequence {
            // A consumer that had to be made anew may begin too early.
            if sequence <= kept.last {
                return;
            }
            kept.last = sequence;
        }
        kept.frames.push_back(frame.clone());
        if kept.frames.len() > KEPT
            && let Some(gone) = kept.frames.pop_front().and_then(|gone| gone.sequence)
        {
            kept.complete_after = gone;
        }
        // Sent under the lock, so that who joins misses nothing. Nobody may be there to hear it.
        let _ = kept.live.send(frame);
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn new() -> Self {
        let live = broadcast::Sender::new(LAG);
        Kept { log: None, frames: VecDeque::new(), complete_after: 0, last: 0, live }
    }
}

/// Where to begin to see at least the last [`KEPT`] messages, or all there are. The log also holds what
/// is no message, so the server is asked how many there are behind ever earlier sequences.
async fn start_of_last(stream: &Stream, filter: String) -> anyhow::Result<u64> {
    let state = &stream.cached_info().state;
    let first = state.first_sequence.max(1);
    let mut window = 2 * KEPT as u64;
    loop {
        let start = (state.last_sequence + 1).saturating_sub(window).max(first);
        if start == first {
            return Ok(start);
        }
        let from = DeliverPolicy::ByStartSequence { start_sequence: start };
        let consumer = ordered(stream, filter.clone(), from).await?;
        let info = consumer.cached_info();
        stream.delete_consumer(&info.name).await?;
        if info.num_pending >= KEPT as u64 {
            return Ok(start);
        }
        window *= 4;
    }
}
