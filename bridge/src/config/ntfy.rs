//! The listener for what publishes to ntfy, as it is written, and its checks.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use service::config::{KeyProblem, PATH, listen_address};
use service::secret::Secret;
use tellhal::Tag;

use crate::webhook::intake;
use crate::webhook::kind::{json::Mapping, ntfy::KIND};
use crate::webhook::ntfy::Config;
use crate::webhook::template::Template;

const DEFAULT: &str = "127.0.0.1:8482";

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Ntfy {
    /// Address and port; `127.0.0.1:8482` when absent.
    listen: Option<String>,
    /// Let it listen beyond the loopback interface.
    allow_remote: bool,
    /// The token that publishers show, of at least 128 bits: as a bearer's, or as the password of any user.
    token: Option<Secret>,
    /// A file with the token.
    #[schemars(extend("format" = PATH))]
    token_file: Option<PathBuf>,
    /// The tag of each topic; others are refused.
    topics: BTreeMap<String, String>,
}

impl Ntfy {
    /// The settings, their problems, and those that matter only at the start.
    pub(super) fn checked(&self) -> (Config, Vec<KeyProblem>, Vec<KeyProblem>) {
        let mut problems = Vec::new();
        let text = self.listen.as_deref().unwrap_or(DEFAULT);
        let listen = match listen_address(text, DEFAULT) {
            Ok(address) if address.ip().is_loopback() || self.allow_remote => address,
            Ok(address) => {
                let hint = format!(
                    "write {DEFAULT} and put a proxy with TLS before it, or allow_remote = true beside it"
                );
                problems.push(KeyProblem::new(
                    "listen",
                    format!("{text} is not on the loopback interface"),
                    hint,
                ));
                address
            }
            Err((what, hint)) => {
                problems.push(KeyProblem::new("listen", what, hint));
                SocketAddr::from(([127, 0, 0, 1], 0))
            }
        };
        let mut topics = BTreeMap::new();
        for (topic, tag) in &self.topics {
            match tag.parse::<Tag>() {
                Ok(tag) => drop(topics.insert(topic.clone(), tag)),
                Err(bad) => problems.push(KeyProblem::new("topics", bad.what, bad.hint)),
            }
        }
        if self.topics.is_empty() {
            problems.push(KeyProblem::new(
                "topics",
                "there is none, so that nothing could be published",
                "such as topics = { backups = \"backup.told\" }",
            ));
        }
        let intake = intake::Config {
            kind: &KIND,
            secret: self.token.clone(),
            secret_file: self.token_file.clone(),
            keys: ("token", "token_file"),
            tag: Template::default(),
            tags: Vec::new(),
            topics,
            arns: Vec::new(),
            mapping: Mapping::default(),
        };
        problems.extend(intake.secret().required());
        let is_written = intake.secret().is_set() && intake.secret().problem().is_none();
        let at_start = is_written.then(|| intake.read_secret().err()).flatten();
        (Config { listen, intake }, problems, at_start.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_has_a_token_topics_and_stays_on_this_machine() {
        for (json, wrong) in [
            (r#"{"token":"x","topics":{"a":"b.c"}}"#, &[][..]),
            (r#"{"token":"x","topics":{"a":"b.c"},"listen":"0.0.0.0:1","allow_remote":true}"#, &[]),
            (r#"{"listen":"0.0.0.0:1"}"#, &["listen", "topics", "token"]),
            (r#"{"token":"x","topics":{"a":"b..c"},"listen":"everywhere"}"#, &["listen", "topics"]),
        ] {
            let ntfy: Ntfy = serde_json::from_str(json).unwrap();
            assert_eq!(
                ntfy.checked().1.iter().map(|problem| problem.key).collect::<Vec<_>>(),
                wrong,
                "{json}"
            );
        }
    }
}
