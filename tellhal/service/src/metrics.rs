//! The text in which both services give their metrics: Prometheus' text format, which every scraper and `promtool` read.

use std::collections::HashSet;

use prometheus_client::encoding::text::encode_registry;
use prometheus_client::registry::Registry;

/// The media type of [`encode`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The metrics of `registry` in Prometheus' text format.
pub fn encode(registry: &Registry) -> String {
    let mut open = String::new();
    if encode_registry(&mut open, registry).is_err() {
        return "# could not be encoded\n".into();
    }
    plain(&open)
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
            (Some("#"), ..) => text.push_str(line),
            // A family without labels has empty braces.
            _ => text.push_str(&line.replacen("{} ", " ", 1)),
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::registry::Unit;

    use super::*;

    #[test]
    fn a_counter_has_its_suffix_everywhere_and_units_are_left_out() {
        let mut registry = Registry::with_prefix("hal");
        let (posts, waited): (Counter, Counter) = Default::default();
        registry.register("posts", "All posts", posts);
        registry.register_with_unit("waited", "The time", Unit::Seconds, waited);
        let wanted = "# HELP hal_posts_total All posts.\n# TYPE hal_posts_total counter\nhal_posts_total 0\n\
             # HELP hal_waited_seconds_total The time.\n# TYPE hal_waited_seconds_total counter\nhal_waited_seconds_total 0\n";
        assert_eq!(encode(&registry), wanted);
    }
}
