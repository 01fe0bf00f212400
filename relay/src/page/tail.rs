//! One reader of the log for every open page: keeps the last messages and hands on what comes.
//! It never waits for a page; one that falls behind is cut off and resumes by itself.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::stream::{Info, Stream};
use time::OffsetDateTime;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::Shared;
use super::event::{Entry, Frame};
use crate::bus::follow::Follow;
use service::http::problem::Problem;

/// How many messages a stream begins with.
const RECENT: usize = 200;
/// How many messages are kept at most, and how many bytes of them.
const KEPT: usize = 1000;
const KEPT_BYTES: usize = 4 << 20;
/// How far a page may fall behind the log before it is cut off, in messages.
const LAG: usize = 1024;
/// How soon the log is tried again.
const PAUSE: Duration = Duration::from_millis(200);
/// How often the relay's own state is looked at.
const AGAIN: Duration = Duration::from_secs(1);
/// After how much quiet the log is looked at.
const QUIET: Duration = Duration::from_secs(5);

/// The end of the log.
pub(super) struct Tail {
    kept: Mutex<Kept>,
    reached: watch::Sender<Reached>,
}

/// How far it has come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reached {
    Nothing,
    /// It is known where the last messages begin.
    Log,
    /// A sequence can be told to be old or new.
    End,
}

struct Kept {
    /// When the log that this is from was made.
    log: Option<OffsetDateTime>,
    frames: VecDeque<Frame>,
    bytes: usize,
    /// Every message after this sequence, up to `last`, is among `frames`.
    complete_after: u64,
    /// The last sequence that was read.
    last: u64,
    live: broadcast::Sender<Frame>,
}

/// What a page shows at once, and what comes after it without a gap. That what came before is complete is told at
/// the end of the former, or by the tail once it has found the log's end.
pub(super) type Joined = (Vec<Frame>, broadcast::Receiver<Frame>);

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
        Tail { kept: Mutex::new(Kept::new()), reached: watch::Sender::new(Reached::Nothing) }
    }

    /// The last messages and everything from here on.
    pub(super) fn join(&self) -> Joined {
        let kept = self.lock();
        self.joined(&kept, kept.frames.len().saturating_sub(RECENT))
    }

    /// Everything after `sequence`, if it is recent enough.
    pub(super) fn join_after(&self, sequence: u64) -> Option<Joined> {
        let kept = self.lock();
        if sequence < kept.complete_after {
            return None;
        }
        let known = |frame: &Frame| frame.sequence().is_some_and(|at| at <= sequence);
        Some(self.joined(&kept, kept.frames.partition_point(known)))
    }

    fn joined(&self, kept: &Kept, start: usize) -> Joined {
        let live = self.is_placed().then(Frame::live);
        (kept.frames.iter().skip(start).cloned().chain(live).collect(), kept.live.subscribe())
    }

    /// Everything that is kept. Waits a moment for the log; until it is known where that ends, nothing can be said.
    pub(super) async fn recent(&self) -> Result<Recent, Problem> {
        if tokio::time::timeout(AGAIN, self.until(Reached::Log)).await.is_err() {
            return Err(Problem::unavailable("the log has not been reached yet"));
        }
        let kept = self.lock();
        let entries = kept.frames.iter().rev().filter_map(|frame| frame.entry.clone()).collect();
        Ok(Recent { entries, complete_after: kept.complete_after, last: kept.last })
    }

    /// The last sequence that was read, once the log's end was reached.
    pub(super) async fn last(&self) -> u64 {
        self.until(Reached::End).await;
        self.lock().last
    }

    async fn until(&self, reached: Reached) {
        // The sender is `self`: it cannot be gone.
        let _ = self.reached.subscribe().wait_for(|now| *now >= reached).await;
    }

    /// Waits until this sequence was read, but not for long.
    pub(super) async fn reached(&self, sequence: u64) {
        let mut live = self.lock().live.subscribe();
        let reading = async {
            while self.lock().last < sequence && !matches!(live.recv().await, Err(RecvError::Closed)) {}
        };
        // Then it is found a moment later.
        let _ = tokio::time::timeout(AGAIN, reading).await;
    }

    /// Whether the log's end was reached.
    pub(super) fn is_placed(&self) -> bool {
        *self.reached.borrow() == Reached::End
    }

    /// Follows log and state until `shutdown`.
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

    /// Hands on what comes, from where it left off. Ends when the log is not what it was.
    async fn follow(&self, shared: &Shared) -> anyhow::Result<()> {
        let (bus, filter) = (&shared.bus, shared.bus.names.all_ops());
        let name = bus.names.ops_stream();
        let stream = bus.js.get_stream(&name).await.with_context(|| format!("stream {name}"))?;
        let log = stream.cached_info();
        self.check(log);
        let last = self.lock().last;
        let start = if last > 0 { last + 1 } else { start_of_last(&stream, filter.clone()).await? };
        self.begin(log.created, start - 1);
        let mut follow = Follow::after(bus, stream.clone(), filter, start - 1);
        loop {
            // A server may take its time to answer, which is no quiet.
            follow.ready().await.with_context(|| format!("stream {name}"))?;
            self.place(follow.at_end());
            match tokio::time::timeout(QUIET, follow.next()).await {
                Ok(found) => {
                    let found = found.with_context(|| format!("stream {name}"))?;
                    if let Some(frame) = Frame::message(&bus.names, &found) {
                        self.push(frame);
                    }
                }
                // A consumer outlives its stream.
                Err(_) if self.check(&stream.get_info().await?) => return Ok(()),
                Err(_) => {}
            }
        }
    }

    fn place(&self, at_end: bool) {
        if at_end && !self.is_placed() {
            let kept = self.lock();
            self.reached.send_replace(Reached::End);
            let _ = kept.live.send(Frame::live());
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
        if kept.last == 0 {
            (kept.complete_after, kept.last) = (after, after);
        }
    }

    /// Hands on the relay's own state when it changes.
    async fn tell(&self, shared: &Shared) {
        let mut every = tokio::time::interval(AGAIN);
        let mut told = None;
        loop {
            every.tick().await;
            let now = shared.status.ready().err();
            if told.replace(now.clone()) != Some(now) {
                // Nobody may be there to hear it.
                let _ = self.lock().live.send(Frame::state(&shared.status));
            }
        }
    }

    fn push(&self, frame: Frame) {
        let mut kept = self.lock();
        let sequence = frame.sequence().unwrap_or_default();
        // A consumer that had to be made anew may begin too early.
        if sequence <= kept.last {
            return;
        }
        kept.last = sequence;
        kept.bytes += frame.bytes.len();
        kept.frames.push_back(frame.clone());
        while kept.frames.len() > KEPT || kept.bytes > KEPT_BYTES {
            let Some(gone) = kept.frames.pop_front() else { break };
            kept.bytes -= gone.bytes.len();
            kept.complete_after = gone.sequence().unwrap_or_default();
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
        Kept { log: None, frames: VecDeque::new(), bytes: 0, complete_after: 0, last: 0, live }
    }
}

/// Where to begin to see at least the last [`RECENT`] messages, or all there are. The log also holds what
/// is no message, so the server is asked how many there are behind ever earlier sequences.
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
