//! The settings of an IRC room, and their checks.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use service::config::{KeyProblem, PATH};
use service::platform::irc::Server;
use service::secret::{Pair, Secret};

/// The fewest lines of a message a room may show.
const LEAST_LINES: usize = 8;
/// The longest channel name: with it and a long own mask a line still has room for text.
const LONGEST_CHANNEL: usize = 64;

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
        if !is_channel(&self.channel) {
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

fn is_channel(name: &str) -> bool {
    let bad = |c: char| c.is_control() || c.is_whitespace() || c == ',' || c == ':';
    name.len() > 1
        && name.len() <= LONGEST_CHANNEL
        && name.starts_with(['#', '&', '+', '!'])
        && !name.contains(bad)
}
