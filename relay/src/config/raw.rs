//! The file as it is written: names, shapes and defaults. The values are checked in `check`. Every key may be absent here, so
//! that a file that lacks one is still read to its end.

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
pub(super) const DEFAULT_FAILING_AFTER: &str = "2m";
pub(super) const DEFAULT_MAX_WAITING: usize = 50_000;
pub(super) const HIGHEST_MAX_WAITING: usize = 500_000;

/// hal-relay's configuration: rooms, and the routes that lead to them.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "relay.toml")]
pub struct File {
    /// `production` when absent; in `dev` all messages go to `dev_room` and to no other room.
    pub environment: Option<Environment>,
    /// The room of messages that no route takes. Required.
    pub default_room: Option<String>,
    /// The room of all messages in the environment `dev`. Required there.
    pub dev_room: Option<String>,
    /// The time zone of the times that people read in rooms and on the page, such as `Europe/Berlin`; `UTC` when absent. Data are always in UTC.
    pub zone: Option<String>,
    /// The time that a delivery waits for a relay that has its room; `10m` when absent.
    pub stranded_after: Option<String>,
    /// The time after which a room that takes no posts is told in the default room; `2m` when absent. A critical message that
    /// waits so long is told too, and others that wait five times as long.
    pub failing_after: Option<String>,
    /// The number of deliveries that may wait for a room that fails, from 1 to 500,000; `50000` when absent. The oldest beyond
    /// it become dead letters.
    #[schemars(range(min = 1, max = 500_000))]
    pub max_waiting: Option<usize>,
    /// The number of servers of a NATS cluster that hold each stream and bucket, from 1 to 5. It is applied at start, to existing
    /// streams too. When absent, new streams are on one server, and existing ones stay as they are.
    #[schemars(range(min = 1, max = 5))]
    pub replicas: Option<usize>,
    /// The sizes of the streams. They are applied at start, to existing streams too; a stream whose size is absent stays as it is.
    pub streams: Streams,
    /// The public keys of the bridges whose chat commands `status`, `rooms`, `tags`, `last` and `trace` are answered; without one, only
    /// on a NATS server of this machine.
    // Not shown in errors: it may be a seed by mistake.
    #[schemars(extend("writeOnly" = true))]
    pub bridge_keys: Vec<String>,
    /// A folder for the last good version of every file and for the page's index; `$STATE_DIRECTORY`, else
    /// `$XDG_STATE_HOME/hal-relay`, when absent.
    #[schemars(extend("format" = PATH))]
    pub state_dir: Option<PathBuf>,
    /// The connection to the NATS server.
    pub nats: Option<NatsConfig>,
    /// The page, the JSON API, health and metrics.
    pub page: Option<Page>,
    /// The rooms by name: `[rooms.NAME.KIND]`. The room `page` is built in.
    pub rooms: BTreeMap<String, registry::Config>,
    /// The routes from messages to rooms. Every route that matches adds its rooms.
    pub routes: Vec<Route>,
    /// Messages with the rooms they must go to; a configuration that fails one is refused.
    pub tests: Vec<Test>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    #[default]
    Production,
    Dev,
}

/// The sizes of the relay's streams, such as `2GiB`, from 4 MiB to 16 TiB; the server reserves as much storage.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Streams {
    /// The size of the log of all messages, `HAL_OPS`; a new one gets `2GiB` when absent. From 85 % on its oldest entries give way.
    pub log: Option<String>,
    /// The size of the receipts of posts, `HAL_SENT`; a new one gets `512MiB` when absent. It is not made smaller than what it
    /// holds.
    pub receipts: Option<String>,
    /// The size of the dead letters, `HAL_DEAD`; a new one gets `512MiB` when absent. It is not made smaller than what it holds.
    pub dead_letters: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Page {
    /// Address and port; `127.0.0.1:8480` when absent. An address beyond the loopback interface needs at
    /// least one token.
    pub listen: Option<String>,
    /// The role of this machine's users without a token; `viewer` when absent.
    pub loopback: Option<Loopback>,
    /// The tokens with which the page is read from other machines, and with which users act.
    pub tokens: Vec<PageToken>,
    /// A reverse proxy that names the user of each request.
    pub proxy: Option<Proxy>,
}

/// The role of this machine's users without a token.
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
    /// The holder's name: one word, used by no other token. Required.
    pub name: Option<String>,
    /// A `viewer` reads; an `operator` also sends messages, and retries and drops dead letters. Required.
    pub role: Option<PageRole>,
    /// The token, at least 16 characters.
    pub token: Option<Secret>,
    /// A file with the token.
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
    /// The proxy's addresses. Required.
    pub addresses: Option<OneOrMany>,
    /// The header in which the proxy names the user; it is ignored in requests from other addresses. Required.
    pub user_header: Option<String>,
    /// The users who are operators; all others are viewers.
    pub operators: Option<OneOrMany>,
}

// Flattened fields and deny_unknown_fields exclude each other; the schema says it, and every file is held against it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("additionalProperties" = false))]
pub struct Route {
    /// One word, used by no other route. Required.
    pub name: Option<String>,
    #[serde(flatten)]
    pub conditions: condition::Written,
    /// The rooms that get the message.
    pub rooms: Option<OneOrMany>,
    /// Later routes are not tried.
    pub stop: bool,
    /// The route sends the message to no room; the drop is counted.
    pub drop: bool,
    /// The time in which repeats of a message are only counted, and summed up at its end. 1s to 5 days.
    pub throttle: Option<String>,
    /// The properties that a repeat shares with the first message: tag, source, severity, key, status, title, host,
    /// `field.NAME`. Tag and source when absent.
    pub throttle_by: Option<OneOrMany>,
}

/// A message, and the rooms that must get it.
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
    /// All rooms that must get it, in any order; empty if a route must drop it. Required.
    pub rooms: Option<OneOrMany>,
}
