//! The settings of an IRC room, and their checks.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use service::config::{KeyProblem, PATH};
use service::platform::irc::{Server, is_channel_name};
use service::secret::{Pair, Secret};

/// The fewest lines of a message a room may show.
const LEAST_LINES: usize = 8;

/// `[rooms.NAME.irc]`. Rooms of one server and nick share one connection and need the same settings for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(extend("additionalProperties" = false))]
pub struct Config {
    #[serde(flatten)]
    pub server: Server,
    /// The channel, such as `#ops`. It is joined before the first post.
    pub channel: String,
    /// The channel's key, when it has one.
    #[serde(default)]
    pub channel_key: Option<Secret>,
    /// A file with the channel's key.
    #[serde(default)]
    #[schemars(extend("format" = PATH))]
    pub channel_key_file: Option<PathBuf>,
    /// The number of lines of one message that are shown before the rest is counted.
    #[serde(default = "lines")]
    pub lines: usize,
    /// Mark warnings and worse with colour.
    #[serde(default = "yes")]
    pub colour: bool,
    /// Post with NOTICE, which other robots must not answer, instead of PRIVMSG.
    #[serde(default)]
    pub notice: bool,
}

fn yes() -> bool {
    true
}

fn lines() -> usize {
    10
}

impl Config {
    pub(super) fn key(&self) -> Pair<'_> {
        Pair::new("channel_key", "channel_key_file", &self.channel_key, &self.channel_key_file)
    }

    /// The values that are wrong independent of other rooms.
    pub(super) fn problems(&self) -> Vec<KeyProblem> {
        let mut problems = self.server.problems();
        problems.extend(self.key().problem());
        if !is_channel_name(&self.channel) {
            let what = format!("{:?} is not the name of a channel", self.channel);
            let hint = "write its name with the sign before it, such as \"#ops\"";
            problems.push(KeyProblem::new("channel", what, hint));
        }
        if !(LEAST_LINES..=500).contains(&self.lines) {
            problems.push(KeyProblem::new("lines", format!("{} is out of range", self.lines), "8 to 500"));
        }
        problems
    }
}
