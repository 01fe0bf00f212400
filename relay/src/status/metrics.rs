//! Prometheus metrics. Hosts and raw tags are never labels.

use std::collections::HashSet;

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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByHash {
    hash: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: &'static str,
}

/// The media type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

type Seconds = Family<ByRoom, Histogram, fn() -> Histogram>;

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
    pub pending: Family<ByRoom, Gauge>,
    /// Entries of the log by kind: message, tick, config, retry, unknown.
    pub entries: Family<ByKind, Counter>,
    /// Messages with a remark about how they were read, by kind: foreign, unknown_version, rewritten, shortened.
    pub marked: Family<ByKind, Counter>,
    pub leading: Gauge,
    pub throttle_keys: Gauge,
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
            pending: Family::default(),
            entries: Family::default(),
            marked: Family::default(),
            leading: Gauge::default(),
            throttle_keys: Gauge::default(),
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
        registry.register("pending", "Deliveries waiting by room", m.pending.clone());
        registry.register("entries", "Entries of the log by kind", m.entries.clone());
        registry.register(
            "marked",
            "Messages with a remark about how they were read, by kind",
            m.marked.clone(),
        );
        registry.register("leading", "1 while this relay leads", m.leading.clone());
        registry.register("throttle_keys", "Open throttle windows", m.throttle_keys.clone());
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

    /// One more delivery to `room` ended as `outcome`.
    pub fn delivered(&self, room: &str, outcome: &'static str, count: u64) {
        let label = RoomOutcome { room: room.to_owned(), outcome };
        self.deliveries.get_or_create(&label).inc_by(count);
    }

    /// The metrics in Prometheus' text format, which every scraper and `promtool` read.
    pub fn encode(&self) -> String {
        let mut open = String::new();
        if prometheus_client::encoding::text::encode_registry(&mut open, &self.registry).is_err() {
            return "# could not be encoded\n".into();
        }
        plain(&open)
    }
}

/// Converts OpenMetrics, which the library writes, to Prometheus' older format: there a counter's help and type have the
/// `_total` of its samples, and there are no units.
fn plain(open: &str) -> String {
    let counters: HashSet<&str> =
        open.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let mut text = String::with_capacity(open.len());
    for line in open.lines().filter(|line| !line.starts_with("# UNIT ")) {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(kind), Some(name), Some(rest)) if counters.contains(name) => {
                text.extend(["# ", kind, " ", name, "_total ", rest]);
            }
            _ => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promtool_and_the_documented_names_agree() {
        let metrics = Metrics::default();
        metrics.delivered("ops", "posted", 3);
        metrics.delivery_seconds.get_or_create(&ByRoom { room: "ops".into() }).observe(0.25);
        metrics.pending.get_or_create(&ByRoom { room: "ops".into() }).set(2);
        metrics.configured("00ff");
        let text = metrics.encode();
        for wanted in [
            "# TYPE hal_relay_deliveries_total counter\n",
            "hal_relay_deliveries_total{room=\"ops\",outcome=\"posted\"} 3\n",
            "# TYPE hal_relay_delivery_seconds histogram\n",
            "hal_relay_delivery_seconds_count{room=\"ops\"} 1\n",
            "hal_relay_pending{room=\"ops\"} 2\n",
            "hal_relay_config_last_reload_successful 1\n",
            "hal_relay_config_hash{hash=\"00ff\"} 1\n",
            "hal_relay_build_info{version=",
        ] {
            assert!(text.contains(wanted), "no {wanted:?} in\n{text}");
        }
        check(&text);
    }

    /// Runs `promtool check metrics` if promtool is installed.
    fn check(text: &str) {
        use std::io::Write as _;
        use std::process::{Command, Stdio};
        let mut promtool = Command::new("promtool");
        promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped());
        let Ok(mut child) = promtool.spawn() else {
            eprintln!("promtool is not installed: the metrics' names were not linted");
            return;
        };
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&output.stderr));
    }
}
