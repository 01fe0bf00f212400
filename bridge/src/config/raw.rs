//! The file as it is written: names and shapes. Every key may be absent here, so that a file that lacks one is still
//! read to its end.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use service::config::{OneOrMany, PATH};
use tellhal::audit::Kind;
use tellhal::nats::NatsConfig;

use super::devices::{Mail, Syslog};
use super::graphs::Graph;
use super::mqtt::Mqtt;
use super::ntfy::Ntfy;
use super::webhooks::Webhook;
use crate::monitor::raw::Monitor;
use crate::schedule::raw::Schedule;

pub(super) type Document = service::config::Document<File>;
pub(super) type Checks<'a> = service::config::Checks<'a, File>;

pub(super) const DEFAULT_HTTP: &str = "127.0.0.1:8481";
/// The original's port.
pub(super) const DEFAULT_TCP: &str = "127.0.0.1:7890";

/// hal-bridge's configuration: everything inbound.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "bridge.toml")]
pub(crate) struct File {
    /// A folder for the last good version of every file; `$STATE_DIRECTORY`, else `$XDG_STATE_HOME/hal-bridge`, when
    /// absent.
    #[schemars(extend("format" = PATH))]
    pub(super) state_dir: Option<PathBuf>,
    /// A folder for messages while the bus cannot be reached; `spool` in the state folder when absent.
    #[schemars(extend("format" = PATH))]
    pub(super) spool: Option<PathBuf>,
    /// The connection to the NATS server.
    pub(super) nats: Option<NatsConfig>,
    /// Health and metrics.
    pub(super) http: Option<Http>,
    /// The original's port.
    pub(super) tcp: Option<Tcp>,
    /// `production` when absent.
    pub(super) environment: Option<Environment>,
    /// The rooms in which the environment `dev` hears and answers, such as `main/#dev`. Required there.
    pub(super) dev_rooms: Option<OneOrMany>,
    /// The number of servers of a NATS cluster that hold each stream and bucket of the bridge, from 1 to 5. It is applied at start,
    /// to existing streams too. When absent, new streams are on one server, and existing ones stay as they are.
    #[schemars(range(min = 1, max = 5))]
    pub(super) replicas: Option<usize>,
    /// The sizes of the bridge's streams. They are applied at start, to existing streams too; a stream whose size is absent stays
    /// as it is.
    pub(super) streams: Streams,
    /// The number of commands that one account may give.
    pub(super) flood: Option<Flood>,
    /// The address of the relay's page as people open it, such as `https://hal.example.com`, for links in answers.
    #[schemars(extend("format" = "uri"))]
    pub(super) page_url: Option<String>,
    /// The record of all commands.
    pub(super) audit: Option<Audit>,
    /// The programs that answer commands.
    pub(super) handlers: Option<Handlers>,
    /// Chats whose commands are heard: `[chat.NAME.KIND]`.
    pub(super) chat: BTreeMap<String, Chat>,
    /// The people who may give commands, with their accounts.
    pub(super) people: Vec<Person>,
    /// The commands, with the roles that may give them.
    pub(super) commands: Vec<Command>,
    /// The time zone of schedules and reminders that name none, such as `America/New_York`; UTC when absent.
    pub(super) zone: Option<String>,
    /// Messages and commands at their times.
    pub(super) schedules: Vec<Schedule>,
    /// Measurements whose changes become messages.
    pub(super) monitors: Vec<Monitor>,
    /// Graphs that the chat command `graph NAME` draws.
    pub(super) graphs: BTreeMap<String, Graph>,
    /// Requests from elsewhere: `POST /in/NAME`.
    pub(super) webhooks: BTreeMap<String, Webhook>,
    /// A listener for what publishes to ntfy.
    pub(super) ntfy: Option<Ntfy>,
    /// Listeners for devices that speak syslog: `[syslog.NAME]`.
    pub(super) syslog: BTreeMap<String, Syslog>,
    /// Listeners for devices that can only mail: `[mail.NAME]`.
    pub(super) mail: BTreeMap<String, Mail>,
    /// Topics of MQTT brokers that become messages.
    pub(super) mqtt: BTreeMap<String, Mqtt>,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Http {
    /// Address and port, on the loopback interface; `127.0.0.1:8481` when absent.
    pub(super) listen: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Tcp {
    /// Address and port; `127.0.0.1:7890` when absent.
    pub(super) listen: Option<String>,
    /// Let it listen beyond the loopback interface.
    pub(super) allow_remote: bool,
}

/// The sizes of the bridge's streams, such as `256MiB`, from 4 MiB to 16 TiB; the server reserves as much storage. None is made
/// smaller than what it holds.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Streams {
    /// The size of the record of commands, `HAL_AUDIT`; a new one gets `256MiB` when absent.
    pub(super) audit: Option<String>,
    /// The size of the record of events that were taken, `HAL_CLAIMS`; a new one gets `64MiB` when absent.
    pub(super) claims: Option<String>,
    /// The size of what the bridge must not forget, `HAL_BRIDGE`: reminders, approvals, states of monitors; a new one gets `64MiB`
    /// when absent.
    pub(super) memory: Option<String>,
}

/// Production, or a bridge under development.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Environment {
    /// It hears and answers in all its rooms.
    #[default]
    Production,
    /// It hears and answers in `dev_rooms` alone, and its subjects begin with `dev`.
    Dev,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Handlers {
    /// The connection on which commands are asked, if handlers have an account of their own; `[nats]` when absent.
    pub(super) nats: Option<NatsConfig>,
    /// A file with the nkey seed that signs requests. `signing.nk` in the state folder when absent, created at the first start. Bridges
    /// of one environment need the same.
    #[schemars(extend("format" = PATH))]
    pub(super) signing_key_file: Option<PathBuf>,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Flood {
    /// Commands at once, 1 to 1000; 20 when absent.
    pub(super) burst: Option<u32>,
    /// The time after which one more may be given, from a millisecond to an hour; `2s` when absent.
    pub(super) every: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Audit {
    /// The kinds of entries that become messages too, with the tag `bridge.command.<kind>`, such as `denied`; none when absent.
    pub(super) tell: Vec<Kind>,
}

/// One chat, by its kind.
pub(super) type Chat = crate::chat::registry::Config;

/// A person, with all accounts. A nick or a display name is none: everybody can choose those.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Person {
    /// One word of `A-Z a-z 0-9 _ -`.
    pub(super) name: Option<String>,
    /// The roles, which `allow` of commands names.
    pub(super) roles: Vec<String>,
    /// An account with the network's services, such as `oncall`; `chat/oncall` if there are several IRC chats.
    pub(super) irc: Option<OneOrMany>,
    /// Workspace and user: `T024BE7LD/U2147483697`.
    pub(super) slack: Option<OneOrMany>,
    /// A user id, such as `@oncall:example.com`.
    pub(super) matrix: Option<OneOrMany>,
    /// A JID without a resource, such as `oncall@example.com`.
    pub(super) xmpp: Option<OneOrMany>,
    /// The name of a token of the relay's page; `proxy:NAME` for a user of its proxy.
    pub(super) page: Option<OneOrMany>,
    /// A schedule whose command the person gives.
    pub(super) schedule: Option<OneOrMany>,
}

/// A rule about one command. The first of a command's rules whose rooms and arguments fit decides alone.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Command {
    /// The command's name; `*` stands for every command that is served and has no rule of its own.
    pub(super) name: Option<String>,
    /// The arguments in their order; any are taken when absent.
    pub(super) args: Option<Vec<Argument>>,
    /// The values that arguments must have for the rule to fit, such as `{ target = "production" }`.
    pub(super) when: BTreeMap<String, OneOrMany>,
    /// The rooms in which the rule fits, such as `main/#ops`; every room when absent.
    pub(super) rooms: Option<OneOrMany>,
    /// The roles that may give the command.
    pub(super) allow: Vec<String>,
    /// The consent that the command needs before it runs; `none` when absent.
    pub(super) approve: Option<Approve>,
    /// How sure it must be who speaks; `low` when absent.
    pub(super) assurance: Option<Assurance>,
    /// The time for an answer, from a second to a day; `60s` when absent.
    pub(super) timeout: Option<String>,
}

/// An argument of a command.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Argument {
    /// One word of `A-Z a-z 0-9 _ -`.
    pub(super) name: Option<String>,
    /// The values that it can have; every value when absent.
    pub(super) one_of: Vec<String>,
    /// A regular expression for the whole value.
    pub(super) pattern: Option<String>,
    /// The value when it is not given; it must be given when absent.
    pub(super) default: Option<String>,
    /// Masks the value wherever it would be shown.
    pub(super) secret: bool,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Assurance {
    /// The chat's server says so.
    Low,
    /// It says so over TLS or on this machine: nobody on the way can speak for another.
    High,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Approve {
    /// It runs at once.
    None,
    /// The person must confirm it.
    Confirm,
    /// Another person who may give the command must approve it.
    SecondPerson,
}
