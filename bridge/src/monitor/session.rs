//! One monitor under this bridge's lease: looks at its times, and tells what changed. The times are the same in every bridge and
//! after every restart: multiples of the interval since 1970, moved by a part of it that the name decides, so that not all
//! monitors look at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use service::lease::Lease;
use tellhal::{Message, Timestamp};
use tokio::time::{sleep, timeout};

use super::Monitor;
use super::core::step;
use super::observation::{Level, Observation, Observed, Reading, together};
use super::picture::illustrate;
use super::source::{Opening, Source};
use super::store::{Store, Stored};
use crate::api::PATIENCE;
use crate::hash::hash;
use crate::means::Means;
use crate::memory::Memory;
use crate::metrics::{Metrics, MonitorLabel, MonitorOutcome};

/// The kind of a monitor's entries.
pub(super) const KIND: &str = "monitor";
/// The longest time of one observation, in which a source may ask more than once.
const LONGEST: Duration = PATIENCE.saturating_mul(3);
/// The most series with messages of their own.
const EACH: usize = 1000;

/// One monitor, and all that it needs.
pub(super) struct Session {
    pub(super) monitor: Monitor,
    pub(super) means: Means,
    pub(super) lease: Arc<Lease>,
}

impl Session {
    /// Looks at once and then at each of its times, until the lease is lost or the caller drops it.
    pub(super) async fn run(self) {
        let _ = self.lease.bound(self.look_again_and_again()).await;
    }

    async fn look_again_and_again(&self) {
        let _shown = Shown(&self.means.metrics, self.label());
        let source = self.monitor.open(Some(&self.means.bus));
        let memory = Memory::new(&self.means.bus, KIND);
        let mut store = None;
        loop {
            let now = Timestamp::now();
            if let Err(error) = self.look(&source, &memory, &mut store).await {
                let error = format!("{error:#}");
                tracing::warn!(
                    monitor = self.monitor.name,
                    error,
                    "the monitor has not looked; it will again"
                );
                store = None;
            }
            sleep(until_next(&self.monitor, now.max(Timestamp::now()))).await;
        }
    }

    /// Looks once. After an error the state is read again.
    async fn look(
        &self,
        source: &Result<Box<dyn Source>, String>,
        memory: &Memory,
        store: &mut Option<Store>,
    ) -> anyhow::Result<()> {
        let store = match store {
            Some(store) => store,
            None => store.insert(Store::load(memory, &self.monitor.name).await?),
        };
        // The messages of a bridge that was killed come first.
        store.publish(&self.means.outbox).await?;
        let observation = match source {
            Ok(source) => self.monitor.observe(source.as_ref(), &store.stored.source).await,
            Err(reason) => Err(reason.clone()),
        };
        self.count(&observation);
        let (mut next, wrong) = self.monitor.next(&store.stored, &observation, Timestamp::now());
        if let Some(graph) = &self.monitor.graph {
            let about_wrong = next.pending.iter_mut().filter(|message| wrong.contains(&message.id));
            illustrate(&self.means, graph, about_wrong.collect()).await;
        }
        store.keep(next).await?;
        store.publish(&self.means.outbox).await
    }

    fn count(&self, observation: &Observation) {
        let outcome = match observation {
            Err(_) => "failed",
            Ok(observed) => match together(&observed.readings).level {
                Level::Good | Level::Between => "good",
                Level::Wrong => "wrong",
                Level::Nothing => "no_data",
            },
        };
        let label = MonitorOutcome { kind: self.monitor.source.kind(), outcome };
        self.means.metrics.observations.get_or_create(&label).inc();
        self.means.metrics.monitors.get_or_create(&self.label()).set(observation.is_ok().into());
    }

    fn label(&self) -> MonitorLabel {
        MonitorLabel { monitor: self.monitor.name.clone() }
    }
}

/// The metric of a monitor, which ends with this bridge's looking: another one may look from then on.
struct Shown<'a>(&'a Metrics, MonitorLabel);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        self.0.monitors.remove(&self.1);
    }
}

impl Monitor {
    /// The source, or the reason why it cannot be opened.
    pub(super) fn open(&self, bus: Option<&crate::bus::Bus>) -> Result<Box<dyn Source>, String> {
        let opening = Opening { clear: self.clear, bus };
        self.source.settings().open(&opening).map_err(|error| format!("{error:#}"))
    }

    /// Looks once, within bounds.
    pub(super) async fn observe(&self, source: &dyn Source, memory: &serde_json::Value) -> Observation {
        let observed = timeout(LONGEST, source.observe(memory, Timestamp::now())).await;
        let mut observed = observed.unwrap_or_else(|_| Err("it takes too long".into()))?;
        observed.readings = self.series(observed.readings)?;
        Ok(observed)
    }

    /// The series that have messages of their own, each with a name that no other one has.
    fn series(&self, readings: Vec<Reading>) -> Result<Vec<Reading>, String> {
        if !self.each {
            return Ok(vec![together(&readings)]);
        }
        if readings.len() > EACH {
            let count = readings.len();
            return Err(format!(
                "{count} series; at most {EACH} can have messages of their own: each = false"
            ));
        }
        let mut times = BTreeMap::<String, usize>::new();
        let distinct = readings.into_iter().map(|reading| {
            let time = times.entry(reading.series.clone()).or_default();
            *time += 1;
            match *time {
                1 => reading,
                time => Reading { series: format!("{} ({time})", reading.series), ..reading },
            }
        });
        Ok(distinct.collect())
    }

    /// The entry after an observation, with the messages that it leads to, and the ids of those that something is wrong now.
    pub(super) fn next(
        &self,
        stored: &Stored,
        observation: &Observation,
        now: Timestamp,
    ) -> (Stored, BTreeSet<String>) {
        let (state, transitions) = step(&self.rules, stored.state.clone(), now, observation);
        let told: Vec<Message> = transitions.iter().map(|transition| self.tell(transition, now)).collect();
        let wrong = transitions.iter().zip(&told).filter(|(transition, _)| transition.change.is_to_wrong());
        let wrong = wrong.map(|(_, message)| message.id.clone()).collect();
        let (events, source) = match observation {
            Ok(Observed { events, memory, .. }) => (events.as_slice(), memory.clone()),
            Err(_) => (&[][..], stored.source.clone()),
        };
        let events = events.iter().map(|event| self.tell_event(event));
        let pending: Vec<Message> = stored.pending.iter().cloned().chain(told).chain(events).collect();
        (Stored { state, source, pending, about: Some(self.about()) }, wrong)
    }
}

/// The time until a monitor looks next.
fn until_next(monitor: &Monitor, now: Timestamp) -> Duration {
    let every = i64::try_from(monitor.every.as_millis()).unwrap_or(i64::MAX).max(1);
    let part = u64::from_str_radix(&hash(&monitor.name)[..8], 16).unwrap_or_default();
    let moved = i64::try_from(part).unwrap_or_default().rem_euclid(every);
    let since = (now.0 - moved).rem_euclid(every);
    Duration::from_millis(u64::try_from(every - since).unwrap_or(1))
}
