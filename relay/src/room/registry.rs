//! The kinds of rooms: a room's settings by the name of its kind, and how each is opened.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use service::config::KeyProblem;
use service::secret::unresolved;

use super::{Connection, Room, Settings, Shared, page};

/// The kinds of rooms, a line each: the module beside this file, and the name of its settings below.
macro_rules! rooms {
    ($($kind:ident $variant:ident),* $(,)?) => {
        /// The settings of one room: `[rooms.NAME.KIND]`.
        #[derive(Clone, Debug, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum Config {
            /// Built in: the page every relay serves. It is never written.
            #[serde(skip)]
            Page,
            $($variant(super::$kind::Config),)*
        }

        impl Config {
            /// The kinds a configuration may name.
            pub const KINDS: &[&str] = &[$(stringify!($kind)),*];

            /// The last key of the room's table.
            pub fn kind(&self) -> &'static str {
                match self {
                    Config::Page => "page",
                    $(Config::$variant(_) => stringify!($kind),)*
                }
            }

            /// The settings of the room's kind.
            pub fn settings(&self) -> &dyn Settings {
                match self {
                    Config::Page => &page::Config,
                    $(Config::$variant(config) => config,)*
                }
            }
        }
    };
}

rooms! {
    console Console,
    irc Irc,
    matrix Matrix,
    mqtt Mqtt,
    slack Slack,
    webhook Webhook,
    xmpp Xmpp,
}

impl Config {
    /// The secrets and certificates that cannot be read now: a warning in `check`, an error in `run`.
    pub fn unresolved(&self) -> Vec<KeyProblem> {
        unresolved("hal-relay", &self.settings().secrets(), self.settings().tls_ca())
    }
}

/// Mistakes between rooms: those on one connection must agree about it. Each with the room's name.
pub fn clashes(rooms: &BTreeMap<String, Config>) -> Vec<(String, KeyProblem)> {
    let mut first: BTreeMap<String, (&str, Connection)> = BTreeMap::new();
    let mut clashes = Vec::new();
    for (name, config) in rooms {
        let Some(connection) = config.settings().connection() else { continue };
        let identity = format!("{} {}", config.kind(), connection.identity);
        let (other, agreed) = first.entry(identity).or_insert_with(|| (name, connection.clone()));
        let differs = connection.settings.iter().find(|setting| !agreed.settings.contains(setting));
        if let Some((key, _)) = differs {
            let what = format!("room {other} has a different {key} for {}", connection.identity);
            let hint = "rooms of one connection need the same value";
            clashes.push((name.clone(), KeyProblem::new(key, what, hint)));
        }
    }
    clashes
}

/// Opens a room, unless its settings cannot work.
pub fn open(name: &str, config: &Config, shared: &Shared) -> anyhow::Result<Box<dyn Room>> {
    use anyhow::Context as _;
    let context = || format!("room {name}");
    match config.settings().problems().into_iter().next() {
        Some(problem) => Err(problem).with_context(context),
        None => config.settings().open(shared).with_context(context),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kinds_are_those_that_can_be_written() {
        let schema = serde_json::to_string(&schemars::schema_for!(Config)).unwrap();
        for kind in Config::KINDS {
            assert!(schema.contains(&format!("\"{kind}\":{{")), "{kind} in {schema}");
        }
        let unknown = toml::from_str::<BTreeMap<String, Config>>("[ops.hipchat]").unwrap_err().to_string();
        for kind in Config::KINDS {
            assert!(unknown.contains(kind), "{unknown}");
        }
        assert!(!unknown.contains("page"), "{unknown}");
    }
}
