//! The kinds of chats: a chat's settings by the name of its kind.

use schemars::JsonSchema;
use serde::Deserialize;
use service::config::KeyProblem;
use service::secret::unresolved;

use super::{Settings, irc, matrix, slack, xmpp};

/// The settings of one chat: `[chat.NAME.KIND]`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Config {
    Irc(irc::Config),
    Matrix(matrix::Config),
    Slack(slack::Config),
    Xmpp(xmpp::Config),
}

impl Config {
    /// The last key of the chat's table.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Config::Irc(_) => "irc",
            Config::Matrix(_) => "matrix",
            Config::Slack(_) => "slack",
            Config::Xmpp(_) => "xmpp",
        }
    }

    pub(crate) fn settings(&self) -> &dyn Settings {
        match self {
            Config::Irc(config) => config,
            Config::Matrix(config) => config,
            Config::Slack(config) => config,
            Config::Xmpp(config) => config,
        }
    }

    /// The secrets and certificates that cannot be read now: a warning in `check`, an error in `run`.
    pub(crate) fn unresolved(&self) -> Vec<KeyProblem> {
        unresolved("hal-bridge", &self.settings().secrets(), self.settings().tls_ca())
    }
}
