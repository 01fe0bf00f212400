//! The relay's configuration: read from a file or a folder of `*.toml`, checked, every error at once.
//!
//! Files, secrets, paths and reloads behave as in every service: see [`service::config`].

mod cases;
mod check;
pub mod page;
mod raw;
mod rooms;
mod routes;
mod shadow;

pub use check::Config;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use proptest::prelude::*;
    use service::config::{Configuration as _, Level, Problem, Problems};

    use super::*;

    const EXAMPLE: &str = include_str!("../../tests/config/valid/every_key.toml");

    fn parse(text: &str) -> (Option<Config>, Vec<Problem>) {
        Config::parse(&[("conf/relay.toml".into(), text.to_owned())])
    }

    #[test]
    fn every_key_arrives() {
        let config = parse(EXAMPLE).0.unwrap();
        assert_eq!(config.nats.servers().len(), 2);
        assert_eq!(config.stranded_after, Duration::from_secs(3600));
        assert_eq!(config.zone.to_string(), "Europe/Berlin");
        assert_eq!(config.failing_after, Duration::from_secs(60));
        assert_eq!(config.state_dir, Some("conf/state".into()));
        assert_eq!(config.routing.dev_room.as_deref(), Some("page"));
        assert_eq!(config.rooms.len(), 4);
        assert_eq!((config.page.loopback, config.page.tokens.len()), (None, 1));
        let proxy = config.page.proxy.unwrap();
        assert_eq!((proxy.addresses.len(), proxy.operators.len()), (2, 2));
        let [noise, databases] = &config.routing.routes[..] else { panic!() };
        let asks = &noise.conditions;
        assert!(noise.drop && noise.stop && asks.fields.0["ticket"].is_empty());
        assert_eq!((asks.tag.0.len(), asks.source.0.len(), asks.fields.0["shard"].len()), (2, 2, 2));
        assert_eq!(databases.throttle, Some(Duration::from_secs(5400)));
        assert_eq!(databases.throttle_by.len(), 8);
        assert_eq!(config.tests, 3);
    }

    /// A condition that no test can meet could not be tested in a configuration.
    #[test]
    fn tests_have_a_key_for_each_condition() {
        let keys = |schema: &serde_json::Value| {
            schema["properties"].as_object().unwrap().keys().cloned().collect::<BTreeSet<String>>()
        };
        let conditions = schemars::schema_for!(crate::engine::rule::condition::Written);
        let file = Config::schema();
        let (conditions, tests) = (keys(conditions.as_value()), keys(&file.as_value()["$defs"]["Test"]));
        assert!(conditions.is_subset(&tests), "{:?} of raw::Test", conditions.difference(&tests));
    }

    #[test]
    fn the_dev_room_counts_only_in_dev() {
        let config = parse(&EXAMPLE.replace("\"dev\"\ndefault", "\"production\"\ndefault")).0.unwrap();
        assert_eq!(config.routing.dev_room, None);
    }

    #[test]
    fn a_missing_secret_is_an_error_when_the_relay_starts() {
        let text = "default_room = \"page\"\n[nats]\ntoken_file = \"/nonexistent/token\"\n";
        let config = Config::from_texts(&[("relay.toml".into(), text.to_owned())]).unwrap();
        let refused = config.ready().unwrap_err();
        assert!(refused.has_errors() && refused.to_string().contains("/nonexistent/token"), "{refused}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        /// A file after any edits is accepted, or refused with a place in it.
        #[test]
        fn no_text_panics(
            edits in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..40, "[\\[\\]\"'=.#\n a-z{}0-9-]{0,6}"), 1..6),
        ) {
            let mut text: Vec<char> = EXAMPLE.chars().collect();
            for (at, cut, insert) in edits {
                let at = at.index(text.len() + 1);
                let end = (at + cut).min(text.len());
                text.splice(at..end, insert.chars());
            }
            let text: String = text.into_iter().collect();
            let (config, problems) = parse(&text);
            let errors = problems.iter().any(|problem| problem.level == Level::Error);
            prop_assert_eq!(config.is_none(), errors);
            for problem in &problems {
                prop_assert!(!problem.hint.is_empty() && !problem.what.is_empty());
                let line = problem.place.as_ref().map_or(1, |place| place.line);
                prop_assert!(line <= text.lines().count() + 1);
            }
            Problems(problems).report(true);
        }
    }
}
