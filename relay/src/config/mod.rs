//! The relay's configuration: read from a file or a folder of `*.toml`, checked, every error at once.
//!
//! ```text
//!  files ──▶ document (TOML, held against the schema of raw) ──▶ check, routes, cases ──▶ Config
//!                 └─────────── problems, each with its place and a hint ───────┘
//! ```
//!
//! A relative path in a `*_file`, `*_dir` or `tls_*` key is relative to the folder of the file that names it.

mod cases;
mod check;
mod document;
pub mod files;
mod last_good;
pub(crate) mod nearest;
pub mod page;
pub mod problem;
mod raw;
mod routes;
mod shadow;
mod shape;
pub mod watch;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tellhal::nats::NatsConfig;

use crate::engine::routing::Routing;
use crate::room;
use document::Document;
pub use page::Page;
pub use problem::{Level, Problem, Problems};
pub use raw::schema;

/// A configuration in which everything named exists and every value makes sense.
#[derive(Clone, Debug)]
pub struct Config {
    pub nats: NatsConfig,
    pub page: Page,
    /// What the engine needs of it.
    pub routing: Routing,
    /// The rooms by name; the built-in `page` is always there.
    pub rooms: BTreeMap<String, room::Config>,
    /// How long a delivery for a room this relay does not know waits for one that does.
    pub stranded_after: Duration,
    /// Where the configuration wants the relay's state; [`Config::state_dir`] knows the default.
    pub state_dir: Option<PathBuf>,
    /// How many tests the files hold; all of them pass.
    pub tests: usize,
    /// What somebody should look at.
    pub warnings: Vec<Problem>,
}

impl Config {
    /// Reads a file, or every `*.toml` of a folder in the order of their names.
    pub fn load(path: &Path) -> Result<Config, Problems> {
        Config::from_texts(&files::read(path)?)
    }

    /// [`Config::parse`] with its problems where they belong.
    pub fn from_texts(files: &[(PathBuf, String)]) -> Result<Config, Problems> {
        match Config::parse(files) {
            (Some(config), problems) => Ok(Config { warnings: problems, ..config }),
            (None, problems) => Err(Problems(problems)),
        }
    }

    /// Reads configuration texts. Gives a configuration exactly if no problem is an error. Looks at the
    /// files that secrets are in, and at nothing else.
    pub fn parse(files: &[(PathBuf, String)]) -> (Option<Config>, Vec<Problem>) {
        let mut problems = Vec::new();
        let read = |(file, text): &(PathBuf, String)| Document::read(file, text, &mut problems);
        let documents: Vec<Document> = files.iter().map(read).collect();
        let misshapen = !problems.is_empty();
        let (config, found) = check::check(&documents, misshapen);
        problems.extend(found);
        (config.filter(|_| !misshapen), Problems::sorted(problems).0)
    }

    /// The configuration, if it can be used as it stands: a secret that cannot be had is an error here.
    pub fn ready(self) -> Result<Config, Problems> {
        if !self.warnings.iter().any(|problem| problem.at_start) {
            return Ok(self);
        }
        let error = |problem: Problem| match problem.at_start {
            true => Problem { level: Level::Error, ..problem },
            false => problem,
        };
        Err(Problems(self.warnings.into_iter().map(error).collect()))
    }

    /// Where the relay keeps what must outlive it: `state_dir`, else `$STATE_DIRECTORY`, else
    /// `$XDG_STATE_HOME/hal-relay`.
    pub fn state_dir(&self) -> Option<PathBuf> {
        self.state_dir.clone().or_else(|| check::default_state_dir(|name| std::env::var(name).ok()))
    }
}

/// The state directory these texts name, also if something else is wrong with them.
fn state_dir_of(files: &[(PathBuf, String)]) -> Option<PathBuf> {
    files.iter().find_map(|(file, text)| Document::read(file, text, &mut Vec::new()).raw.state_dir)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
        assert_eq!(config.state_dir, Some("conf/state".into()));
        assert_eq!(config.routing.dev_room.as_deref(), Some("page"));
        assert_eq!(config.rooms.len(), 3);
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

        /// Whatever somebody does to a file in an editor: it is taken, or refused with a place in it.
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
