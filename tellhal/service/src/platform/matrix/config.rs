//! The settings of an account on a Matrix homeserver, and their checks.

use std::path::PathBuf;

use reqwest::Url;
use schemars::JsonSchema;
use serde::Deserialize;

use super::client::Settings;
use crate::config::{KeyProblem, PATH};
use crate::http::{address_problem, is_loopback};
use crate::secret::{Pair, Secret};

/// The longest room id or alias, in bytes.
const LONGEST_ROOM: usize = 255;

/// The homeserver and the account. Users of the same ones share a limit of posts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct Server {
    /// The address of the client-server API, such as `https://matrix.example.com`.
    pub homeserver: String,
    /// The account's access token.
    #[serde(default)]
    pub token: Option<Secret>,
    /// A file with the account's access token.
    #[serde(default)]
    #[schemars(extend("format" = PATH))]
    pub token_file: Option<PathBuf>,
    /// A CA certificate to trust instead of the system's.
    #[serde(default)]
    #[schemars(extend("format" = PATH))]
    pub tls_ca: Option<PathBuf>,
}

impl Server {
    /// The secret of the account.
    pub fn token(&self) -> Pair<'_> {
        Pair::new("token", "token_file", &self.token, &self.token_file)
    }

    /// Settings that cannot work. Reads no file and no variable.
    pub fn problems(&self) -> Vec<KeyProblem> {
        homeserver_problem(&self.homeserver).into_iter().chain(self.token().required()).collect()
    }

    /// The settings, secrets read.
    pub fn settings(&self) -> anyhow::Result<Settings> {
        let missing = || anyhow::anyhow!("token: the access token is missing");
        Ok(Settings {
            homeserver: self.homeserver.clone(),
            token: self.token().read()?.ok_or_else(missing)?,
            tls_ca: self.tls_ca.clone(),
        })
    }
}

fn homeserver_problem(address: &str) -> Option<KeyProblem> {
    const KEY: &str = "homeserver";
    let hint = "write the address alone, such as https://matrix.example.com";
    if let Some(problem) = address_problem(KEY, address, true) {
        return Some(KeyProblem { hint: hint.into(), ..problem });
    }
    let url = Url::parse(address).ok()?;
    let host = url.host_str().unwrap_or_default();
    if url.scheme() == "http" && !is_loopback(host) {
        let what = format!("the token would go to {host} in the clear");
        return Some(KeyProblem::new(KEY, what, "write https; plain http is for this machine alone"));
    }
    let has_more = url.query().is_some() || url.fragment().is_some() || !url.username().is_empty();
    has_more.then(|| KeyProblem::new(KEY, "it has more than a host and a path", hint))
}

/// The mistake in a room's id or alias that is written at `key`.
pub fn room_problem(key: &'static str, room: &str) -> Option<KeyProblem> {
    let is_alias = room.starts_with('#') && room.contains(':');
    let bad = |c: char| c.is_control() || c.is_whitespace();
    let is_room = (is_alias || room.starts_with('!')) && room.len() > 1;
    if is_room && room.len() <= LONGEST_ROOM && !room.contains(bad) {
        return None;
    }
    let hint = "such as \"#ops:example.com\", or the id that begins with ! in the room's settings";
    Some(KeyProblem::new(key, format!("{room:?} is not the alias or id of a room"), hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(toml: &str) -> Vec<KeyProblem> {
        toml::from_str::<Server>(toml).unwrap().problems()
    }

    #[test]
    fn settings_that_cannot_work_are_refused_by_key() {
        let keys = |toml: &str| problems(toml).iter().map(|problem| problem.key).collect::<Vec<_>>();
        let none: [&str; 0] = [];
        assert_eq!(keys("homeserver = 'https://a.b'\ntoken = 'x'"), none);
        assert_eq!(keys("homeserver = 'http://[::1]:8008'\ntoken_file = 'x'"), none);
        assert_eq!(keys("homeserver = 'https://a.b/synapse'\ntoken = '${TOKEN}'"), none);
        for wrong in ["a.b", "ftp://a.b", "http://a.b", "https://a.b?x", "https://a:b@c.d", "https://a.b/#x"]
        {
            assert_eq!(keys(&format!("homeserver = '{wrong}'")), ["homeserver", "token"], "{wrong}");
        }
        assert_eq!(keys("homeserver = 'https://a.b'\ntoken = 'x'\ntoken_file = 'y'"), ["token"]);
    }

    #[test]
    fn a_refusal_names_the_host_alone() {
        let problem = &problems("homeserver = 'http://a.b/path?key=hidden'\ntoken = 'x'")[0];
        assert_eq!(problem.what, "the token would go to a.b in the clear");
        let problem = &problems("homeserver = 'https://hidden:hidden@a.b'\ntoken = 'x'")[0];
        assert!(!format!("{problem:?}").contains("hidden"), "{problem:?}");
    }

    #[test]
    fn rooms_are_ids_and_aliases() {
        for room in ["!abc:example.com", "!Z6JiLo3cCzGm", "#ops:example.com", "#ops:[::1]:8008"] {
            assert_eq!(room_problem("room", room), None, "{room}");
        }
        for room in ["", "#", "!", "ops", "#ops", "@hal:example.com", "#a b:c", "!a\n", &"!a".repeat(200)] {
            assert!(room_problem("room", room).is_some(), "{room}");
        }
    }
}
