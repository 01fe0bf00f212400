//! One leader's time: the fold from the last snapshot on, its queues, its snapshots, and the log's purge.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use async_nats::jetstream::stream;
use tellhal::Timestamp;

use crate::bus::Bus;
use crate::bus::files;
use crate::bus::follow::Follow;
use crate::bus::message::{StreamMessage, last};
use crate::bus::streams::{LOG_AGE, NEARLY_FULL, Streams};
use crate::deliver::Shared;
use crate::deliver::notes::Notes;
use crate::deliver::queues::Queues;
use crate::delivery::ages::Ages;
use crate::engine::entry::{self, ConfigEntry, Entry, Happening, Raw, TickEntry};
use crate::engine::snapshot::Snapshot;
use crate::engine::{Engine, Output, Rules};
use crate::lead::clock::StreamClock;
use crate::status::metrics::{ByKind, Metrics, set};

const DAY: Duration = Duration::from_secs(86_400);

/// The engine, inbox and queues of a leader.
pub(super) struct Term {
    bus: Bus,
    streams: Streams,
    metrics: Arc<Metrics>,
    engine: Engine,
    pub(super) inbox: Follow,
    pub(super) queues: Arc<Queues>,
    notes: Notes,
    /// The last entry of the log when the term began.
    pub(super) log_end: u64,
    said_nearly_full: Option<Instant>,
    /// The configuration in force at the end of the log, which the engine may not have reached.
    in_force: Option<String>,
    /// The sequence of the last snapshot.
    kept: u64,
    /// The sequence of the last attempt at one.
    tried: u64,
    clock: StreamClock,
    /// True once a tick was appended. The first is due at once, since the clock cannot know how long nobody led.
    ticked: bool,
}

impl Term {
    pub(super) async fn open(shared: &Shared, own: &Arc<Rules>) -> anyhow::Result<Self> {
        let Shared { bus, streams, metrics, .. } = shared.clone();
        let (engine, queues) = restore(&bus, &streams, own).await?;
        let log_end = streams.ops.get_info().await.context("the log cannot be read")?.state.last_sequence;
        ensure!(
            log_end >= engine.sequence(),
            "{} ends at sequence {log_end}, but the snapshot is of sequence {}",
            bus.names.ops_stream(),
            engine.sequence()
        );
        let notes = Notes::new(shared);
        let everything = String::new();
        let inbox = Follow::after(&bus, streams.ops.clone(), everything, engine.sequence());
        let in_force = in_force(&bus, &streams).await?;
        let kept = engine.sequence();
        let clock = StreamClock::new(engine.now(), Instant::now());
        let term = Term {
            bus,
            streams,
            metrics,
            engine,
            inbox,
            queues: Arc::new(queues),
            notes,
            log_end,
            said_nearly_full: None,
            in_force,
            kept,
            tried: kept,
            clock,
            ticked: false,
        };
        // A new leader counts from its start on.
        term.kept_all();
        Ok(term)
    }

    pub(super) async fn fold(&mut self, message: StreamMessage) -> anyhow::Result<()> {
        let (sequence, at) = (message.sequence, message.at);
        let StreamMessage { subject, payload, .. } = &message;
        let what = match entry::read(&self.bus.names, subject, payload, message.once(), sequence, at) {
            Raw::Ready(what) => what,
            Raw::Config(hash) => match files::load_rules(&self.streams.files, &hash).await? {
                Some(rules) => Happening::Config(rules),
                None => {
                    tracing::error!(
                        hash,
                        "a configuration on the log is missing in the object store; the one before stays in force"
                    );
                    Happening::Unknown
                }
            },
        };
        self.metrics.entries.get_or_create(&ByKind { kind: what.kind() }).inc();
        if let Happening::Message(received) = &what {
            received
                .marks
                .iter()
                .for_each(|mark| _ = self.metrics.marked.get_or_create(&ByKind { kind: mark.kind() }).inc());
        }
        let outputs = self.engine.apply(Entry { sequence, at, what });
        self.clock.saw(self.engine.now(), Instant::now());
        set(&self.metrics.leaders.throttle_keys, self.engine.open_windows() as u64);
        for output in outputs {
            match output {
                Output::Deliver(delivery) => self.queues.push(*delivery),
                Output::Note(note) => self.notes.push(note).await?,
            }
        }
        Ok(())
    }

    /// The last entry folded.
    pub(super) fn sequence(&self) -> u64 {
        self.engine.sequence()
    }

    /// The number of entries that were folded since the last snapshot, or the last attempt at one.
    pub(super) fn unkept(&self) -> u64 {
        self.engine.sequence() - self.kept.max(self.tried)
    }

    /// Appends our configuration to the log, unless it is in force already. A log that takes no entry (it may be full of what
    /// is not folded yet) is no reason not to lead by the configuration before.
    pub(super) async fn put_in_force(&mut self, rules: &Rules) {
        if self.in_force.as_deref() == Some(rules.hash.as_str()) {
            return;
        }
        match append_config(&self.bus, &self.streams, rules).await {
            Ok(()) => {
                self.in_force = Some(rules.hash.clone());
                tracing::info!(hash = rules.hash, "configuration put in force");
            }
            Err(error) => tracing::error!(
                error = format!("{error:#}"),
                "the configuration could not be put in force; trying again, the one before stays in force"
            ),
        }
    }

    pub(super) fn due_in(&self) -> Option<Duration> {
        let due = self.engine.next_due()?;
        Some(if self.ticked { due.since(self.clock.now(Instant::now())) } else { Duration::ZERO })
    }

    /// Appends a tick; true if the log has taken it.
    pub(super) async fn tick(&mut self) -> bool {
        let id = format!("tick-{}", uuid::Uuid::now_v7());
        let tick = TickEntry { now: self.clock.now(Instant::now()) };
        let payload = serde_json::to_vec(&tick).unwrap_or_default();
        match self.bus.append(self.bus.names.ctl("tick"), &id, payload).await {
            Ok(_) => {
                self.ticked = true;
                true
            }
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "the tick could not be appended");
                false
            }
        }
    }

    /// Saves a snapshot if entries were folded since the last.
    pub(super) async fn keep(&mut self) -> anyhow::Result<()> {
        // The age of what waits changes without an entry.
        let is_old = self.kept != self.engine.sequence() || self.queues.oldest().is_some();
        if is_old {
            self.save().await?;
        }
        self.kept_all();
        Ok(())
    }

    /// Notes for the metrics that nothing is missing in the last snapshot now.
    fn kept_all(&self) {
        let seconds = u64::try_from(Timestamp::now().0 / 1000).unwrap_or_default();
        set(&self.metrics.leaders.snapshot, seconds);
    }

    /// The same; a snapshot that cannot be saved is no reason to stop leading.
    pub(super) async fn try_keep(&mut self) {
        self.tried = self.engine.sequence();
        if let Err(error) = self.keep().await {
            tracing::warn!(
                error = format!("{error:#}"),
                "the snapshot could not be saved; trying again in a minute"
            );
        }
    }

    /// Saves a snapshot of the fold and the queues, after all its notes are written.
    pub(super) async fn save(&mut self) -> anyhow::Result<()> {
        let ages = self.mark_age();
        self.notes.flush().await?;
        let log = Some(created(&self.streams));
        let snapshot = Snapshot { ages, log, ..self.engine.snapshot(self.queues.keep()) };
        files::save_snapshot(&self.streams.files, &snapshot).await?;
        self.kept = snapshot.sequence;
        Ok(())
    }

    /// Notes how long ago the entries were folded.
    pub(super) fn mark_age(&self) -> Ages {
        self.queues.mark_age(Instant::now(), self.engine.sequence())
    }

    /// Purges entries of the log that are older than seven days.
    pub(super) async fn purge_old(&self) {
        let old = self.queues.older_than(LOG_AGE);
        if let Err(error) = self.purge_before(old + 1).await {
            tracing::warn!(error = format!("{error:#}"), "the log was not purged");
        }
    }

    /// Purges the oldest entries of a log that is nearly full, so that there is space for new ones. If waiting deliveries are
    /// in the way, their rooms give them up. The error is that of the snapshot.
    pub(super) async fn make_room(&mut self) -> anyhow::Result<()> {
        let Ok(info) = self.streams.ops.get_info().await else { return Ok(()) };
        let Some(before) = history_to_give_up(&info) else { return Ok(()) };
        self.keep().await?;
        self.queues.give_up(before - 1);
        match self.purge_before(before).await {
            Ok(()) => self.say_how_far_back().await,
            Err(error) => tracing::warn!(error = format!("{error:#}"), "the log was not purged"),
        }
        Ok(())
    }

    /// Measures the streams for the metrics. An old value is better than none if the server does not answer now.
    pub(super) async fn measure(&self) {
        let metrics = &self.metrics.leaders;
        if let Ok(log) = self.streams.ops.get_info().await {
            set(&metrics.log_bytes, log.state.bytes);
            // A log without a limit has -1.
            if let Ok(limit) = u64::try_from(log.config.max_bytes) {
                set(&metrics.log_limit, limit);
            }
        }
        if let Ok(letters) = self.streams.dead.get_info().await {
            set(&metrics.dead_letters, letters.state.messages);
        }
    }

    /// Says how far back the log reaches, at most once a day.
    async fn say_how_far_back(&mut self) {
        if self.said_nearly_full.is_some_and(|said| said.elapsed() < DAY) {
            return;
        }
        self.said_nearly_full = Some(Instant::now());
        let first = StreamMessage::first_from(&self.bus.js, &self.bus.names.ops_stream(), "", 1).await;
        let reaches_back_to = first.ok().flatten().map(|first| first.at.to_string()).unwrap_or_default();
        tracing::warn!(reaches_back_to, "the log is nearly full: its oldest entries give way to new ones");
    }

    /// Purges the entries before this sequence that the snapshot covers and no room needs.
    async fn purge_before(&self, before: u64) -> anyhow::Result<()> {
        let before = before.min(self.kept).min(self.queues.oldest().unwrap_or(u64::MAX));
        if before > 1 {
            self.streams.ops.purge().sequence(before).await?;
        }
        Ok(())
    }
}

/// The first sequence to keep of a log that is nearly full; `None` if it is not.
fn history_to_give_up(info: &stream::Info) -> Option<u64> {
    let (bytes, most) =
        (info.state.bytes, u64::try_from(info.config.max_bytes).ok().filter(|most| *most > 0)?);
    let nearly_full = most / 100 * NEARLY_FULL;
    if bytes <= nearly_full {
        return None;
    }
    // Entries are of about the same size.
    let first = info.state.first_sequence;
    let entries = info.state.last_sequence.saturating_sub(first) + 1;
    let excess = bytes - most / 100 * (NEARLY_FULL - 5);
    Some(first + entries * excess / bytes.max(1) + 1)
}

/// The fold from the snapshot, or from before the first entry.
async fn restore(bus: &Bus, streams: &Streams, own: &Arc<Rules>) -> anyhow::Result<(Engine, Queues)> {
    if let Some(mut snapshot) = files::load_snapshot(&streams.files).await? {
        let (rooms, ages) = (std::mem::take(&mut snapshot.rooms), std::mem::take(&mut snapshot.ages));
        let queues = Queues::restore(rooms, ages);
        for (part, error) in snapshot.state.unreadable() {
            tracing::warn!(part, error, "a part of the snapshot cannot be read; it starts empty");
        }
        if let Some(rules) = files::load_rules(&streams.files, &snapshot.configuration).await? {
            return Ok((Engine::restore(snapshot, rules), queues));
        }
        tracing::error!(
            hash = snapshot.configuration,
            "the snapshot's configuration is missing; this relay's own is used"
        );
        return Ok((Engine::restore(snapshot, own.clone()), queues));
    }
    // Before the first entry of the log, the first configuration on it is in force.
    let first = streams.ops.direct_get_first_for_subject(bus.names.ctl("config")).await;
    let first = first.ok().and_then(|message| serde_json::from_slice::<ConfigEntry>(&message.payload).ok());
    let rules = match first {
        Some(entry) => files::load_rules(&streams.files, &entry.hash).await?,
        None => None,
    };
    let engine = Engine::new(rules.unwrap_or_else(|| own.clone()));
    // Saved at once: a log that vanishes must not start again at the first sequence of this one.
    files::save_rules(&streams.files, engine.rules()).await?;
    let snapshot = Snapshot { log: Some(created(streams)), ..engine.snapshot(BTreeMap::new()) };
    files::save_snapshot(&streams.files, &snapshot).await?;
    Ok((engine, Queues::default()))
}

fn created(streams: &Streams) -> Timestamp {
    Timestamp::from_stream(streams.ops.cached_info().created)
}

/// The hash of the last configuration on the log.
async fn in_force(bus: &Bus, streams: &Streams) -> anyhow::Result<Option<String>> {
    let entry = last::<ConfigEntry>(&streams.ops, bus.names.ctl("config")).await?;
    Ok(entry.and_then(|(_, entry)| entry).map(|entry| entry.hash))
}

async fn append_config(bus: &Bus, streams: &Streams, rules: &Rules) -> anyhow::Result<()> {
    files::save_rules(&streams.files, rules).await?;
    let entry = ConfigEntry { hash: rules.hash.clone() };
    let id = format!("config-{}", uuid::Uuid::now_v7());
    bus.append(bus.names.ctl("config"), &id, serde_json::to_vec(&entry)?).await?;
    Ok(())
}
