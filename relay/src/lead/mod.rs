//! The life of one relay: connect, stand by, lead while the lease lasts, stand by again.
//!
//! Leading is one loop: the next entry of the log is folded, and its outputs are written to the outbox. When a window is
//! due, a `tick` is appended to the log; when the configuration has changed, a `config`. Every minute a snapshot of the
//! fold is saved. The loop owns engine, inbox and outbox.

pub mod rooms;
mod unserved;
pub mod workers;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use tellhal::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep};
use tokio_util::sync::CancellationToken;

use crate::bus::files;
use crate::bus::follow::Follow;
use crate::bus::message::StreamMessage;
use crate::bus::{self, Bus, Streams};
use crate::deliver;
use crate::deliver::outbox::{self, Outbox};
use crate::engine::entry::{self, ConfigEntry, Entry, Happening, Raw};
use crate::engine::{Engine, Rules};
use crate::lead::rooms::Rooms;
use crate::lead::workers::Workers;
use crate::status::metrics::{ByKind, Metrics};
use crate::status::notice::Notices;
use crate::status::{Role, Status};
use service::lease;

/// The lease's key in `HAL_STATE`.
pub const LEASE_KEY: &str = "relay";
const SNAPSHOT: Duration = Duration::from_secs(60);
const PURGE: Duration = Duration::from_secs(3600);
const AGAIN: Duration = Duration::from_secs(1);
/// A tick that was too early by the stream's clock is followed by another after this time.
const TICK: Duration = Duration::from_millis(200);
/// Time for the rooms to finish their posts when the relay stops.
const GRACE: Duration = Duration::from_secs(10);

/// The parts and settings of a relay.
pub struct Relay {
    pub bus: Bus,
    pub metrics: Arc<Metrics>,
    pub status: Arc<Status>,
    /// A name that only this process has.
    pub owner: String,
    /// The rules of this relay's configuration; the rules in force are those on the log.
    pub rules: watch::Receiver<Arc<Rules>>,
    /// The rooms of this relay's configuration.
    pub rooms: watch::Receiver<Arc<Rooms>>,
    pub stop: CancellationToken,
}

impl Relay {
    /// Runs until stopped. An error is shown in the status, and the relay tries again.
    pub async fn run(mut self) {
        while !self.stop.is_cancelled() {
            let Err(error) = self.once().await else { continue };
            let problem = format!("{error:#}");
            if self.status.get().problem.as_deref() != Some(&problem) {
                tracing::error!(problem, "not ready");
            }
            self.status.change(|now| {
                now.role = Role::Starting;
                now.problem = Some(problem);
            });
            self.stop.run_until_cancelled(sleep(AGAIN)).await;
        }
        self.status.change(|now| now.role = Role::Stopping);
    }

    /// Stands by, then leads until the lease is lost or the relay is stopped. A leader ends in order: it finishes its
    /// posts, saves a snapshot, and releases the lease.
    async fn once(&mut self) -> anyhow::Result<()> {
        let stop = self.stop.clone();
        let reach = async {
            self.bus.connected().await?;
            self.bus.streams().await
        };
        let Some(streams) = stop.run_until_cancelled(reach).await else { return Ok(()) };
        let streams = streams?;
        self.status.change(|now| {
            now.role = Role::StandingBy;
            now.problem = None;
            // Only the leader knows the states of the rooms.
            now.rooms.clear();
        });
        let lease = tokio::select! {
            lease = lease::campaign(&streams.state, LEASE_KEY, &self.owner) => Arc::new(lease),
            missing = self.bus.watch() => return Err(missing),
            () = stop.cancelled() => return Ok(()),
        };
        tracing::info!(epoch = lease.epoch, "leading");
        let keeper = tokio::spawn({
            let lease = lease.clone();
            async move { lease.keep().await }
        });
        let shared = deliver::Shared {
            bus: self.bus.clone(),
            streams,
            lease: lease.clone(),
            metrics: self.metrics.clone(),
            status: self.status.clone(),
            notices: Notices::new(self.bus.clone(), self.rules.borrow().routing.default_room.clone()),
        };
        let result = self.lead(&shared).await;
        self.metrics.leading.set(0);
        lease.release().await;
        keeper.abort();
        match result {
            Err(error) if error.is::<lease::Lost>() => Ok(()),
            result => result,
        }
    }

    async fn lead(&mut self, shared: &deliver::Shared) -> anyhow::Result<()> {
        let own = self.rules.borrow_and_update().clone();
        let stop = self.stop.clone();
        let open = async {
            let mut leading = Leading::open(shared, &own).await?;
            leading.put_in_force(&own).await?;
            anyhow::Ok(leading)
        };
        let Some(leading) = stop.run_until_cancelled(open).await else { return Ok(()) };
        let mut leading = leading?;
        let mut workers = Workers::start(&self.rooms.borrow_and_update().clone(), shared);
        self.metrics.leading.set(1);
        self.status.change(|now| {
            now.role = Role::Leading;
            now.folded = leading.engine.sequence();
        });
        let result = self.follow(&mut leading, &mut workers, shared).await;
        workers.stop(GRACE).await;
        // After an error, an output of the engine may not be written: then the fold starts from the last snapshot.
        if result.is_ok()
            && shared.lease.is_held()
            && let Err(error) = leading.keep().await
        {
            tracing::warn!(error = format!("{error:#}"), "the last snapshot could not be saved");
        }
        result
    }

    async fn follow(
        &mut self,
        leading: &mut Leading,
        workers: &mut Workers,
        shared: &deliver::Shared,
    ) -> anyhow::Result<()> {
        let (mut snapshot, mut purge) = (every(SNAPSHOT), every(PURGE));
        let mut missing = std::pin::pin!(shared.bus.watch());
        let mut tick_at = Instant::now();
        loop {
            let due = leading.due_in().map(|wait| (Instant::now() + wait).max(tick_at));
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(()),
                () = shared.lease.lost.cancelled() => return Ok(()),
                missing = &mut missing => {
                    if let Err(error) = leading.keep().await {
                        tracing::warn!(error = format!("{error:#}"), "the snapshot could not be saved");
                    }
                    return Err(missing);
                }
                _ = snapshot.tick() => leading.keep().await?,
                _ = purge.tick() => leading.purge().await,
                Ok(()) = self.rules.changed() => {
                    let rules = self.rules.borrow_and_update().clone();
                    leading.put_in_force(&rules).await?;
                }
                Ok(()) = self.rooms.changed() => {
                    workers.stop(GRACE).await;
                    *workers = Workers::start(&self.rooms.borrow_and_update().clone(), shared);
                }
                () = sleep_until(due) => {
                    tick_at = Instant::now() + TICK;
                    leading.tick().await;
                }
                entry = leading.inbox.next() => match entry {
                    Ok(entry) => {
                        let sequence = entry.sequence;
                        leading.fold(entry).await?;
                        self.status.change(|now| now.folded = sequence);
                    }
                    Err(error) => {
                        tracing::warn!(error = format!("{error:#}"), "reading the log was interrupted; trying again");
                        sleep(AGAIN / 4).await;
                    }
                },
                oldest = leading.outbox.oldest(), if !leading.outbox.is_idle() => {
                    leading.outbox.conclude(oldest).await?;
                }
            }
        }
    }
}

/// The engine, inbox and outbox of a leader.
struct Leading {
    bus: Bus,
    streams: Streams,
    metrics: Arc<Metrics>,
    engine: Engine,
    inbox: Follow,
    outbox: Outbox,
    /// The configuration in force at the end of the log, which the engine may not have reached.
    in_force: Option<String>,
    /// The sequence of the last snapshot.
    kept: u64,
    /// The sequence of our last tick, and the milliseconds by which the stream's clock was ahead of ours at the last tick
    /// that was folded: a tick is due by the stream's clock, and one that is too early only fills the log.
    ticked: u64,
    ahead: i64,
}

impl Leading {
    async fn open(shared: &deliver::Shared, own: &Arc<Rules>) -> anyhow::Result<Self> {
        let deliver::Shared { bus, streams, lease, metrics, .. } = shared.clone();
        let engine = restore(&bus, &streams, own).await?;
        let log_end = streams.ops.get_info().await.context("the log cannot be read")?.state.last_sequence;
        ensure!(
            log_end >= engine.sequence(),
            "{} ends at sequence {log_end}, but the snapshot is of sequence {}: the stream was recreated by hand. Delete \
             it: the relay creates one that continues where the old one ended",
            bus.names.ops_stream(),
            engine.sequence()
        );
        let outbox = Outbox::open(&bus, &streams, &lease, &metrics).await?;
        let everything = String::new();
        let inbox = Follow::after(&bus, streams.ops.clone(), everything, engine.sequence());
        let in_force = in_force(&bus, &streams).await?;
        let kept = engine.sequence();
        Ok(Leading { bus, streams, metrics, engine, inbox, outbox, in_force, kept, ticked: 0, ahead: 0 })
    }

    async fn fold(&mut self, message: StreamMessage) -> anyhow::Result<()> {
        let (sequence, at) = (message.sequence, message.at);
        if sequence == self.ticked {
            self.ahead = at.0 - Timestamp::now().0;
        }
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
        self.metrics.throttle_keys.set(i64::try_from(self.engine.open_windows()).unwrap_or(i64::MAX));
        self.outbox.push(outputs).await
    }

    /// Appends our configuration to the log, unless it is in force already.
    async fn put_in_force(&mut self, rules: &Rules) -> anyhow::Result<()> {
        if self.in_force.as_deref() == Some(rules.hash.as_str()) {
            return Ok(());
        }
        append_config(&self.bus, &self.streams, rules).await?;
        self.in_force = Some(rules.hash.clone());
        tracing::info!(hash = rules.hash, "configuration put in force");
        Ok(())
    }

    fn due_in(&self) -> Option<Duration> {
        let stream_now = Timestamp(Timestamp::now().0.saturating_add(self.ahead));
        self.engine.next_due().map(|due| due.since(stream_now))
    }

    async fn tick(&mut self) {
        let id = format!("tick-{}", uuid::Uuid::now_v7());
        match self.bus.append(self.bus.names.ctl("tick"), &id, Vec::new()).await {
            Ok(sequence) => self.ticked = sequence,
            Err(error) => tracing::warn!(error = format!("{error:#}"), "the tick could not be appended"),
        }
    }

    /// Saves a snapshot of the fold, after all its outputs are written.
    async fn keep(&mut self) -> anyhow::Result<()> {
        if self.kept == self.engine.sequence() {
            return Ok(());
        }
        self.outbox.flush().await?;
        files::save_snapshot(&self.streams.files, &self.engine.snapshot()).await?;
        self.kept = self.engine.sequence();
        Ok(())
    }

    /// Purges entries of the log that are older than seven days and covered by the snapshot.
    async fn purge(&mut self) {
        let result = async {
            let Some(first) = first_since(&self.streams, bus::LOG_AGE).await? else { return anyhow::Ok(()) };
            let before = first.min(self.kept);
            self.streams.ops.purge().sequence(before).await?;
            Ok(())
        };
        if let Err(error) = result.await {
            tracing::warn!(error = format!("{error:#}"), "the log was not purged");
        }
    }
}

/// The fold from the snapshot, or from before the first entry.
async fn restore(bus: &Bus, streams: &Streams, own: &Arc<Rules>) -> anyhow::Result<Engine> {
    if let Some(snapshot) = files::load_snapshot(&streams.files).await? {
        for (part, error) in snapshot.state.unreadable() {
            tracing::warn!(part, error, "a part of the snapshot cannot be read; it starts empty");
        }
        if let Some(rules) = files::load_rules(&streams.files, &snapshot.configuration).await? {
            return Ok(Engine::restore(snapshot, rules));
        }
        tracing::error!(
            hash = snapshot.configuration,
            "the snapshot's configuration is missing; this relay's own is used"
        );
        return Ok(Engine::restore(snapshot, own.clone()));
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
    files::save_snapshot(&streams.files, &engine.snapshot()).await?;
    Ok(engine)
}

/// The hash of the last configuration on the log.
async fn in_force(bus: &Bus, streams: &Streams) -> anyhow::Result<Option<String>> {
    let last = outbox::last::<ConfigEntry>(&streams.ops, bus.names.ctl("config")).await?;
    Ok(last.map(|entry| entry.hash))
}

async fn append_config(bus: &Bus, streams: &Streams, rules: &Rules) -> anyhow::Result<()> {
    files::save_rules(&streams.files, rules).await?;
    let entry = ConfigEntry { hash: rules.hash.clone() };
    let id = format!("config-{}", uuid::Uuid::now_v7());
    bus.append(bus.names.ctl("config"), &id, serde_json::to_vec(&entry)?).await?;
    Ok(())
}

/// The first sequence of the log that is younger than `age`.
async fn first_since(streams: &Streams, age: Duration) -> anyhow::Result<Option<u64>> {
    let start_time = time::OffsetDateTime::now_utc() - age;
    let config = pull::Config {
        deliver_policy: DeliverPolicy::ByStartTime { start_time },
        ack_policy: AckPolicy::None,
        inactive_threshold: Duration::from_secs(10),
        ..pull::Config::default()
    };
    let consumer = streams.ops.create_consumer(config).await?;
    let info = consumer.cached_info();
    Ok((info.num_pending > 0).then_some(info.delivered.stream_sequence + 1))
}

fn every(period: Duration) -> Interval {
    let mut interval = interval_at(Instant::now() + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
