//! Prometheus metrics. Hosts and raw tags are never labels.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RoomOutcome {
    pub room: String,
    pub outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByRoom {
    pub room: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByKind {
    pub kind: &'static str,
}

/// No label: a family with it has one value or none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Single {}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByHash {
    hash: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: &'static str,
}

type Seconds = Family<ByRoom, Histogram, fn() -> Histogram>;

/// The metrics that only the leading relay knows. They are absent from a relay that stands by, so that an alert takes no old value
/// of it for the present one.
#[derive(Debug, Default)]
pub struct Leaders {
    pub pending: Family<ByRoom, Gauge>,
    /// The age of the oldest delivery that waits; 0 if none does.
    pub oldest: Family<ByRoom, Gauge<f64, AtomicU64>>,
    /// 1 from the time on when the room is told as failing until it takes posts again.
    pub failing: Family<ByRoom, Gauge>,
    pub dead_letters: Family<Single, Gauge>,
    pub log_bytes: Family<Single, Gauge>,
    pub log_limit: Family<Single, Gauge>,
    /// The Unix time at which the last snapshot had all that was folded.
    pub snapshot: Family<Single, Gauge>,
    pub throttle_keys: Family<Single, Gauge>,
}

impl Leaders {
    fn clear(&self) {
        [&self.pending, &self.failing].into_iter().for_each(Family::clear);
        self.oldest.clear();
        let single =
            [&self.dead_letters, &self.log_bytes, &self.log_limit, &self.snapshot, &self.throttle_keys];
        single.into_iter().for_each(Family::clear);
    }

    fn register(&self, registry: &mut Registry) {
        registry.register("pending", "Deliveries waiting by room", self.pending.clone());
        let help = "Age of the oldest delivery that waits, by room";
        registry.register_with_unit("pending_oldest", help, Unit::Seconds, self.oldest.clone());
        let help = "1 while the room takes no posts, or messages wait in it for too long";
        registry.register("room_failing", help, self.failing.clone());
        registry.register("dead_letters", "Dead letters that are kept", self.dead_letters.clone());
        registry.register_with_unit("log", "Size of the log", Unit::Bytes, self.log_bytes.clone());
        let help = "Size that the log may have";
        registry.register_with_unit("log_limit", help, Unit::Bytes, self.log_limit.clone());
        let help = "Unix time at which the last snapshot had everything";
        registry.register_with_unit("snapshot_timestamp", help, Unit::Seconds, self.snapshot.clone());
        registry.register("throttle_keys", "Open throttle windows", self.throttle_keys.clone());
    }
}

/// Sets a gauge that has no label.
pub fn set(gauge: &Family<Single, Gauge>, value: u64) {
    gauge.get_or_create(&Single {}).set(i64::try_from(value).unwrap_or(i64::MAX));
}

/// All metrics, behind cheap handles.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// `outcome` is posted, listed, counted, throttled, dropped, duplicate, moved or dead.
    pub deliveries: Family<RoomOutcome, Counter>,
    /// `outcome` is ok, transient, permanent or auth: one for each attempt, not for each delivery.
    pub attempts: Family<RoomOutcome, Counter>,
    /// From the log's time to the room's answer.
    pub delivery_seconds: Seconds,
    pub leaders: Leaders,
    /// Entries of the log by kind: message, tick, config, retry, unknown.
    pub entries: Family<ByKind, Counter>,
    /// Messages with a remark about how they were read, by kind: foreign, unknown_version, rewritten, shortened.
    pub marked: Family<ByKind, Counter>,
    pub leading: Gauge,
    pub throttle_overflow: Counter,
    pub possible_duplicates: Family<ByRoom, Counter>,
    pub page_readers: Gauge,
    pub index_behind: Gauge,
    pub config_ok: Gauge,
    pub reloads: Family<ByKind, Counter>,
    config_hash: Family<ByHash, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("hal_relay");
        let seconds: fn() -> Histogram = || Histogram::new(exponential_buckets(0.001, 4.0, 12));
        let metrics = Metrics {
            deliveries: Family::default(),
            attempts: Family::default(),
            delivery_seconds: Family::new_with_constructor(seconds),
            leaders: Leaders::default(),
            entries: Family::default(),
            marked: Family::default(),
            leading: Gauge::default(),
            throttle_overflow: Counter::default(),
            possible_duplicates: Family::default(),
            page_readers: Gauge::default(),
            index_behind: Gauge::default(),
            config_ok: Gauge::default(),
            reloads: Family::default(),
            config_hash: Family::default(),
            registry: Registry::default(),
        };
        let m = &metrics;
        registry.register("deliveries", "Deliveries by room and outcome", m.deliveries.clone());
        registry.register("attempts", "Attempts to post by room and outcome", m.attempts.clone());
        let help = "From the message's arrival in the log to the room's answer";
        registry.register_with_unit("delivery", help, Unit::Seconds, m.delivery_seconds.clone());
        m.leaders.register(&mut registry);
        registry.register("entries", "Entries of the log by kind", m.entries.clone());
        registry.register(
            "marked",
            "Messages with a remark about how they were read, by kind",
            m.marked.clone(),
        );
        registry.register("leading", "1 while this relay leads", m.leading.clone());
        let help = "Messages that passed because the throttle had no room for another window";
        registry.register("throttle_overflow", help, m.throttle_overflow.clone());
        let help = "Posts that may be duplicates of an earlier attempt";
        registry.register("possible_duplicates", help, m.possible_duplicates.clone());
        registry.register(
            "page_readers",
            "Open pages and other readers of the stream",
            m.page_readers.clone(),
        );
        let help = "Entries of the log that are not in the page's index yet";
        registry.register("index_behind", help, m.index_behind.clone());
        let help = "1 if the last reload of the configuration succeeded";
        registry.register("config_last_reload_successful", help, m.config_ok.clone());
        registry.register("config_reloads", "Reloads of the configuration by result", m.reloads.clone());
        let help = "1 under the hash of the configuration in force";
        registry.register("config_hash", help, m.config_hash.clone());
        let build: Family<Build, Gauge> = Family::default();
        build.get_or_create(&Build { version: env!("CARGO_PKG_VERSION") }).set(1);
        registry.register("build_info", "The relay's version", build);
        metrics.config_ok.set(1);
        Metrics { registry, ..metrics }
    }
}

impl Metrics {
    /// The configuration with this hash is in force from now on.
    pub fn configured(&self, hash: &str) {
        self.config_hash.clear();
        self.config_hash.get_or_create(&ByHash { hash: hash.to_owned() }).set(1);
    }

    /// Another relay may lead from now on.
    pub fn leads_no_more(&self) {
        self.leading.set(0);
        self.leaders.clear();
    }

    /// One more delivery to `room` ended as `outcome`.
    pub fn delivered(&self, room: &str, outcome: &'static str, count: u64) {
        let label = RoomOutcome { room: room.to_owned(), outcome };
        self.deliveries.get_or_create(&label).inc_by(count);
    }

    /// The metrics in Prometheus' text format.
    pub fn encode(&self) -> String {
        service::metrics::encode(&self.registry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_names_are_there_and_those_of_a_leader_only_while_it_leads() {
        let metrics = Metrics::default();
        metrics.delivered("ops", "posted", 3);
        let ops = ByRoom { room: "ops".into() };
        metrics.delivery_seconds.get_or_create(&ops).observe(0.25);
        metrics.configured("00ff");
        let before = metrics.encode();
        metrics.leaders.pending.get_or_create(&ops).set(2);
        metrics.leaders.oldest.get_or_create(&ops).set(1.5);
        set(&metrics.leaders.dead_letters, 7);
        let text = metrics.encode();
        for wanted in [
            "# TYPE hal_relay_deliveries_total counter\n",
            "hal_relay_deliveries_total{room=\"ops\",outcome=\"posted\"} 3\n",
            "# TYPE hal_relay_delivery_seconds histogram\n",
            "hal_relay_delivery_seconds_count{room=\"ops\"} 1\n",
            "hal_relay_pending{room=\"ops\"} 2\n",
            "hal_relay_pending_oldest_seconds{room=\"ops\"} 1.5\n",
            "hal_relay_dead_letters 7\n",
            "hal_relay_config_last_reload_successful 1\n",
            "hal_relay_config_hash{hash=\"00ff\"} 1\n",
            "hal_relay_build_info{version=",
        ] {
            assert!(text.contains(wanted), "no {wanted:?} in\n{text}");
        }
        metrics.leads_no_more();
        assert_eq!(metrics.encode(), before);
    }
}
