//! The settings of a bot in a workspace, and their checks.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::{KeyProblem, PATH};
use crate::http::{Reach, address_problem};
use crate::secret::{Pair, Secret};

/// The bot, and the way to the Web API.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct Api {
    /// The bot's token (`xoxb-…`), which needs the scope `chat:write`, and `files:write` to show pictures.
    #[serde(default)]
    pub token: Option<Secret>,
    /// A file with the bot's token.
    #[serde(default)]
    #[schemars(extend("format" = PATH))]
    pub token_file: Option<PathBuf>,
    /// The address of the Web API.
    #[serde(default = "api_url")]
    pub api_url: String,
    /// A CA certificate to trust instead of the system's.
    #[serde(default)]
    #[schemars(extend("format" = PATH))]
    pub tls_ca: Option<PathBuf>,
    /// Let addresses be plain http elsewhere than on this machine.
    #[serde(default)]
    pub allow_private: bool,
}

fn api_url() -> String {
    "https://slack.com/api".into()
}

impl Api {
    /// The bot's token.
    pub fn token(&self) -> Pair<'_> {
        Pair::new("token", "token_file", &self.token, &self.token_file)
    }

    /// The mistake in the address, if there is one.
    pub fn address_problem(&self) -> Option<KeyProblem> {
        address_problem("api_url", &self.api_url, self.allow_private)
    }

    /// True over TLS, or to this machine.
    pub fn is_protected(&self) -> bool {
        address_problem("api_url", &self.api_url, false).is_none()
    }

    pub(super) fn reach(&self) -> Reach<'_> {
        Reach { tls_ca: self.tls_ca.as_deref(), ..Reach::default() }
    }
}

/// The mistake in a channel that is written at `key`.
pub fn channel_problem(key: &'static str, channel: &str) -> Option<KeyProblem> {
    let hint = "the id is at the end of the channel's details in Slack, such as C0123456789";
    let is_id = is_id(channel);
    (!is_id).then(|| KeyProblem::new(key, format!("{channel:?} is not a channel's id"), hint))
}

/// True for an id as Slack gives it to workspaces, people and channels.
pub(super) fn is_id(id: &str) -> bool {
    (2..=30).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
}
