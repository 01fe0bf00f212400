//! The file as it is written: names, shapes and defaults. What the values mean is `check`'s.
//! Every key may be absent here, so that a file that lacks one is still read to its end.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use service::config::{OneOrMany, PATH};
use service::secret::Secret;
use tellhal::nats::NatsConfig;

use crate::engine::rule::condition;
use crate::room::registry;

/// The files on their way to a [`super::Config`].
pub(super) type Checks<'a> = service::config::Checks<'a, File>;
/// One of the files.
pub(super) type Document = service::config::Document<File>;

pub(super) const DEFAULT_LISTEN: &str = "127.0.0.1:8480";
pub(super) const DEFAULT_STRANDED_AFTER: &str = "10m";

/// hal-relay's configuration: rooms, and the routes that lead to them.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "relay.toml")]
pub struct File {
    /// `production` when absent; in `dev` everything goes to `dev_room` and nowhere else.
    pub environment: Option<Environment>,
    /// Where a message goes that no route takes. Required.
    pub default_room: Option<String>,
    /// Where everything goes in the environment `dev`. Required there.
    pub dev_room: Option<String>,
    /// How long a delivery for a room this relay does not know waits for one that does; `10m` when absent.
    pub stranded_after: Option<String>,
    /// Where the last good version of every file is kept; `$STATE_DIRECTORY`, else
    /// `$XDG_STATE_HOME/hal-relay`, when absent.
    #[schemars(extend("format" = PATH))]
    pub state_dir: Option<PathBuf>,
    /// How to reach the NATS server.
    pub nats: Option<NatsConfig>,
    /// The page, the JSON API, health and metrics.
    pub page: Option<Page>,
    /// The rooms by name: `[rooms.NAME.KIND]`. The room `page` is built in.
    pub rooms: BTreeMap<String, registry::Config>,
    /// Which message is read in which rooms. Every route that matches adds its rooms.
    pub routes: Vec<Route>,
    /// What must be true of these rules; a configuration that fails one is refused.
    pub tests: Vec<Test>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    #[default]
    Production,
    Dev,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Page {
    /// Address and port; `127.0.0.1:8480` when absent. Beyond the loopback interface somebody must have a token.
    pub listen: Option<String>,
    /// What whoever is on this machine may do without a token; `viewer` when absent.
    pub loopback: Option<Loopback>,
    /// Who may see the page from elsewhere, and who may act.
    pub tokens: Vec<PageToken>,
    /// A reverse proxy in front that says who asks.
    pub proxy: Option<Proxy>,
}

/// What whoever is on this machine may do without a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Loopback {
    #[default]
    Viewer,
    Operator,
    None,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PageToken {
    /// Who has it: one word, unlike every other's. Required.
    pub name: Option<String>,
    /// `viewer` may look, `operator` may also tell, retry and drop. Required.
    pub role: Option<PageRole>,
    /// The token itself, at least 16 characters.
    pub token: Option<Secret>,
    /// Or the file that holds it.
    #[schemars(extend("format" = PATH))]
    pub token_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PageRole {
    Viewer,
    Operator,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Proxy {
    /// The addresses its connections come from. Required.
    pub addresses: Option<OneOrMany>,
    /// The header in which it names the user; from anywhere else it is ignored. Required.
    pub user_header: Option<String>,
    /// The users who may act; all others may look.
    pub operators: Option<OneOrMany>,
}

// Flattened fields and deny_unknown_fields exclude each other; the schema says it, and every file is held against it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("additionalProperties" = false))]
pub struct Route {
    /// One word, unlike every other route's. Required.
    pub name: Option<String>,
    /// What it asks of a message.
    #[serde(flatten)]
    pub conditions: condition::Written,
    /// The rooms that read the message.
    pub rooms: Option<OneOrMany>,
    /// No later route is tried.
    pub stop: bool,
    /// The message goes to no room on this route's account, and is counted.
    pub drop: bool,
    /// The first message passes, repeats within this time are counted and summed up at its end. 1s to 5 days.
    pub throttle: Option<String>,
    /// What makes a message a repeat: of tag, source, severity, key, status, title, host, `field.NAME`.
    /// Tag and source when absent.
    pub throttle_by: Option<OneOrMany>,
}

/// A message, and the rooms that must read it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Test {
    /// The message's tag. Required.
    pub tag: Option<String>,
    /// `info` when absent.
    pub severity: Option<String>,
    /// `test` when absent.
    pub source: Option<String>,
    pub fields: BTreeMap<String, String>,
    pub text: Option<String>,
    /// Exactly the rooms that must read it, in any order; empty when a route must drop it. Required.
    pub rooms: Option<OneOrMany>,
}
