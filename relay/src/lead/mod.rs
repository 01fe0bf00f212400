//! The life of one relay: connect, stand by, lead while the lease lasts, stand by again.
//!
//! Leading is one loop: the next entry of the log is folded, and its deliveries are added to the queues of their rooms. When a
//! window is due, a `tick` is appended to the log; when the configuration has changed, a `config`. Snapshots are saved every
//! minute and every 100,000 entries. The loop waits for no room. A relay leads only while every part of leading runs: the
//! end of one ends the term.

mod clock;
mod failing;
pub mod observe;
pub mod report;
pub mod rooms;
mod term;
mod unserved;
pub mod workers;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep};
use tokio_util::sync::CancellationToken;

use crate::bus::Bus;
use crate::bus::renumber::renumber;
use crate::bus::streams::{Settings, Streams};
use crate::deliver::{self, Unsaved, queues::Queues};
use crate::engine::Rules;
use crate::lead::rooms::Rooms;
use crate::lead::term::Term;
use crate::lead::workers::Workers;
use crate::status::metrics::Metrics;
use crate::status::notice::Notices;
use crate::status::{Role, Status};
use service::lease::{self, Lease};

/// The lease's key in `HAL_STATE`.
pub const LEASE_KEY: &str = "relay";
const SNAPSHOT: Duration = Duration::from_secs(60);
/// The number of entries after which a snapshot is saved.
const SNAPSHOT_ENTRIES: u64 = 100_000;
/// Interval at which entries of the log that are too old are purged.
const PURGE: Duration = Duration::from_secs(3600);
/// Interval at which the size of the log is checked.
const CHECK_SIZE: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_secs(1);
/// The wait for a post while all queues together are full.
const FULL: Duration = Duration::from_millis(50);
/// Interval at which the ages of entries are noted.
const MARK_AGE: Duration = Duration::from_secs(1);
/// The wait for an appended tick to be folded.
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
    /// The replicas and sizes of the streams.
    pub streams: Settings,
    pub stop: CancellationToken,
    pub memory: Memory,
}

/// The part of a term that this process remembers for its next one.
#[derive(Default)]
pub struct Memory {
    /// The queues, if their log is gone: they may hold content that is nowhere else.
    queues: Option<Arc<Queues>>,
    unsaved: Arc<Unsaved>,
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
            self.bus.streams(&self.streams).await
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
            replaced = self.bus.watch(streams.clone()) => return Err(replaced.into()),
            () = stop.cancelled() => return Ok(()),
        };
        tracing::info!(epoch = lease.epoch, "leading");
        let keeper = tokio::spawn({
            let lease = lease.clone();
            async move { lease.keep().await }
        });
        let result = self.lead(streams, &lease).await;
        self.metrics.leads_no_more();
        self.status.change(|now| (now.role, now.turn) = (Role::Starting, None));
        lease.release().await;
        keeper.abort();
        match result {
            Err(error) if error.is::<lease::Lost>() => Ok(()),
            result => result,
        }
    }

    async fn lead(&mut self, streams: Streams, lease: &Arc<Lease>) -> anyhow::Result<()> {
        let own = self.rules.borrow_and_update().clone();
        let stop = self.stop.clone();
        let open = async {
            let streams = renumber(&self.bus, streams, &self.streams).await?;
            let shared = self.shared(streams, lease);
            let mut term = Term::open(&shared, &own).await?;
            if let Some(earlier) = self.memory.queues.take() {
                term.queues.refill(&earlier);
            }
            term.make_room().await?;
            term.put_in_force(&own).await;
            anyhow::Ok((term, shared))
        };
        let Some(opened) = stop.run_until_cancelled(lease.bound(open)).await else { return Ok(()) };
        let (mut term, shared) = opened??;
        let shared = &shared;
        let doubtful = lease.is_after_lapse.then_some(term.log_end);
        let mut workers =
            Workers::start(&self.rooms.borrow_and_update().clone(), &term.queues, doubtful, shared);
        self.metrics.leading.set(1);
        self.status.change(|now| {
            now.role = Role::Leading;
            now.folded = term.sequence();
        });
        let result = shared.lease.bound(self.follow(&mut term, &mut workers, shared)).await;
        workers.stop(GRACE).await;
        // Without the lease, the snapshot is its successor's.
        let _ = shared.lease.bound(term.try_keep()).await;
        result?
    }

    fn shared(&self, streams: Streams, lease: &Arc<Lease>) -> deliver::Shared {
        deliver::Shared {
            bus: self.bus.clone(),
            streams,
            lease: lease.clone(),
            metrics: self.metrics.clone(),
            status: self.status.clone(),
            unsaved: self.memory.unsaved.clone(),
            notices: Notices::new(self.bus.clone()),
        }
    }

    async fn follow(
        &mut self,
        term: &mut Term,
        workers: &mut Workers,
        shared: &deliver::Shared,
    ) -> anyhow::Result<()> {
        let (mut snapshot, mut purge, mut check_size) = (every(SNAPSHOT), every(PURGE), every(CHECK_SIZE));
        let mut mark_age = every(MARK_AGE);
        let mut streams = shared.streams.clone();
        let mut replaced = Box::pin(shared.bus.watch(streams.clone()));
        let mut tick_at = Instant::now();
        loop {
            self.status.change(|now| now.turn = Some(std::time::Instant::now()));
            let due = term.due_in().map(|wait| (Instant::now() + wait).max(tick_at));
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(()),
                ended = workers.ended() => return Err(ended),
                what = &mut replaced => {
                    if what.is_log {
                        self.memory.queues = Some(term.queues.clone());
                        return Err(what.into());
                    }
                    // Queues and snapshot hold each room's place, so nothing is posted twice.
                    tracing::error!(error = %what, "the page no longer knows what was in it");
                    streams.renew(&what, shared.bus.streams(&self.streams).await?);
                    term.save().await?;
                    replaced = Box::pin(shared.bus.watch(streams.clone()));
                }
                _ = snapshot.tick() => term.try_keep().await,
                _ = purge.tick() => term.purge_old().await,
                _ = mark_age.tick() => drop(term.mark_age()),
                _ = check_size.tick() => {
                    term.make_room().await?;
                    term.measure().await;
                    // Again, if the log was full.
                    let rules = self.rules.borrow().clone();
                    term.put_in_force(&rules).await;
                }
                Ok(()) = self.rules.changed() => {
                    let rules = self.rules.borrow_and_update().clone();
                    term.put_in_force(&rules).await;
                }
                Ok(()) = self.rooms.changed() => {
                    workers.stop(GRACE).await;
                    *workers = Workers::start(&self.rooms.borrow_and_update().clone(), &term.queues, None, shared);
                }
                () = sleep_until(due) => {
                    let appended = term.tick().await;
                    tick_at = Instant::now() + if appended { TICK } else { CHECK_SIZE };
                }
                () = sleep(FULL), if term.queues.is_full() => {}
                entry = term.inbox.next(), if !term.queues.is_full() => match entry {
                    Ok(entry) => {
                        let sequence = entry.sequence;
                        term.fold(entry).await?;
                        self.status.change(|now| now.folded = sequence);
                        if term.unkept() >= SNAPSHOT_ENTRIES {
                            term.try_keep().await;
                        }
                    }
                    Err(error) => {
                        tracing::warn!(error = format!("{error:#}"), "reading the log was interrupted; trying again");
                        sleep(AGAIN / 4).await;
                    }
                },
            }
        }
    }
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
