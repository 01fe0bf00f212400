//! The settings of an XMPP account's connection, and their checks.

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio_xmpp::jid::{BareJid, ResourcePart};

use super::Settings;
use crate::config::{KeyProblem, PATH, duration_in};
use crate::http::is_loopback;
use crate::platform::address::host_and_port;
use crate::secret::{Pair, Secret};

const BURST: u32 = 5;
const MESSAGE_EVERY: Duration = Duration::from_secs(1);
/// The shortest and the longest pause between messages.
const MESSAGE_EVERY_RANGE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(60));
/// The longest nick, in bytes.
const LONGEST_NICK: usize = 60;

/// The account and its server. Users of the same account share one connection and need the same settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct Account {
    /// The account's address, such as `hal@example.com`.
    pub jid: String,
    /// The account's password.
    #[serde(default)]
    pub password: Option<Secret>,
    /// A file with the account's password.
    #[serde(default)]
    #[schemars(extend("format" = PATH))]
    pub password_file: Option<PathBuf>,
    /// `host` or `host:port`; the account's domain and 5222 when absent (SRV records are not looked up).
    #[serde(default)]
    pub server: Option<String>,
    /// TLS, on when absent: from the first byte on port 5223, by STARTTLS on others. The certificate must be for the account's domain.
    #[serde(default = "yes")]
    pub tls: bool,
    /// A CA certificate to trust instead of the system's.
    #[serde(default)]
    #[schemars(extend("format" = PATH))]
    pub tls_ca: Option<PathBuf>,
    /// Our nick in rooms; with `_` behind it while the name is taken. `hal` when absent.
    #[serde(default)]
    pub nick: Option<String>,
    /// Messages at once before `message_every` counts, for all users of the connection together; 5 when absent.
    #[serde(default)]
    pub burst: Option<u32>,
    /// One message each so long after the burst; `1s` when absent.
    #[serde(default)]
    pub message_every: Option<String>,
}

fn yes() -> bool {
    true
}

impl Account {
    /// The nick we ask for.
    pub fn nick(&self) -> &str {
        self.nick.as_deref().unwrap_or("hal")
    }

    /// The secret of the connection.
    pub fn secrets(&self) -> Vec<Pair<'_>> {
        vec![self.password()]
    }

    fn password(&self) -> Pair<'_> {
        Pair::new("password", "password_file", &self.password, &self.password_file)
    }

    fn burst(&self) -> u32 {
        self.burst.unwrap_or(BURST)
    }

    fn message_every(&self) -> Result<Duration, (String, String)> {
        let (least, most) = MESSAGE_EVERY_RANGE;
        let read = |text: &str| duration_in(text, least, most, "1ms to 60s; servers bear about 1s");
        self.message_every.as_deref().map_or(Ok(MESSAGE_EVERY), read)
    }

    /// The account's address, if it is one.
    fn jid(&self) -> Option<BareJid> {
        BareJid::new(&self.jid).ok().filter(|jid| jid.node().is_some())
    }

    /// The server's host and port.
    pub fn address(&self) -> Option<(String, u16)> {
        let written = match &self.server {
            Some(server) => server.clone(),
            None => self.jid()?.domain().to_string(),
        };
        host_and_port(&written, 5222).map(|(host, port)| (host.to_owned(), port))
    }

    /// Users with the same identity share one connection.
    pub fn identity(&self) -> String {
        format!("account {}", self.jid().map_or_else(|| self.jid.clone(), |jid| jid.to_string()))
    }

    /// A fingerprint of each setting in which the users of one connection must agree, by its key.
    pub fn fingerprints(&self) -> Vec<(&'static str, u64)> {
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        vec![
            ("server", hasher.hash_one(self.address())),
            ("password", hasher.hash_one((&self.password, &self.password_file))),
            ("tls", hasher.hash_one((self.tls, &self.tls_ca))),
            ("nick", hasher.hash_one(self.nick())),
            ("burst", hasher.hash_one(self.burst())),
            ("message_every", hasher.hash_one(self.message_every())),
        ]
    }

    /// The settings, secrets read.
    pub fn settings(&self) -> anyhow::Result<Settings> {
        let jid = self.jid().with_context(|| format!("jid: {:?} is not an account's address", self.jid))?;
        let (host, port) = self.address().context("server: it is not the address of a server")?;
        Ok(Settings {
            jid,
            password: self.password().read()?.context("password: the secret is missing")?,
            host,
            port,
            tls: self.tls,
            tls_ca: self.tls_ca.clone(),
            nick: self.nick().to_owned(),
            burst: self.burst(),
            message_every: self.message_every().map_err(|(what, hint)| anyhow::anyhow!("{what}: {hint}"))?,
        })
    }

    /// Settings that cannot work. Reads no file and no variable.
    pub fn problems(&self) -> Vec<KeyProblem> {
        let mut problems: Vec<KeyProblem> = self.password().required().into_iter().collect();
        let mut refuse = |good: bool, key, what: &str, hint: &str| {
            if !good {
                problems.push(KeyProblem::new(key, what, hint));
            }
        };
        let jid = format!("{:?} is not an account's address", self.jid);
        refuse(self.jid().is_some(), "jid", &jid, "write name@domain, such as hal@example.com");
        let address = self.address();
        if let Some(server) = &self.server {
            let server = format!("{server:?} is not the address of a server");
            refuse(
                address.is_some(),
                "server",
                &server,
                "write host or host:port, such as xmpp.example.com:5222",
            );
        }
        let nick = format!("{:?} is not a nick", self.nick());
        let hint = "letters, digits and signs, without blanks at its ends, at most 60 bytes";
        refuse(is_nick(self.nick()), "nick", &nick, hint);
        let open = !self.tls && !address.is_some_and(|(host, _)| is_loopback(&host));
        let hint = "remove tls = false: it is for a server on this machine";
        refuse(!open, "tls", "password and messages would go in the clear", hint);
        let what = "has no effect without tls";
        refuse(self.tls || self.tls_ca.is_none(), "tls_ca", what, "remove it, or set tls = true");
        let burst = format!("{} is out of range", self.burst());
        refuse((1..=100).contains(&self.burst()), "burst", &burst, "1 to 100; servers bear about 5");
        if let Err((what, hint)) = self.message_every() {
            refuse(false, "message_every", &what, &hint);
        }
        problems
    }
}

/// The mistake in a room's address, if there is one.
pub fn room_problem(key: &'static str, address: &str) -> Option<KeyProblem> {
    let good = BareJid::new(address).is_ok_and(|jid| jid.node().is_some());
    let hint = "write name@service, such as ops@conference.example.com";
    (!good).then(|| KeyProblem::new(key, format!("{address:?} is not a room's address"), hint))
}

fn is_nick(nick: &str) -> bool {
    nick.len() <= LONGEST_NICK
        && nick.trim() == nick
        && !nick.contains(tellhal::text::is_hidden)
        && ResourcePart::new(nick).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(toml: &str) -> Vec<&'static str> {
        toml::from_str::<Account>(toml).unwrap().problems().iter().map(|problem| problem.key).collect()
    }

    #[test]
    fn settings_that_cannot_work_are_refused_by_key() {
        let none: [&str; 0] = [];
        assert_eq!(keys("jid = 'hal@example.com'\npassword = 'x'"), none);
        assert_eq!(keys("jid = 'hal@example.com'\npassword = 'x'\nserver = '[::1]:5222'\ntls = false"), none);
        assert_eq!(keys("jid = 'hal@localhost'\npassword = 'x'\ntls = false"), none);
        assert_eq!(keys("jid = 'example.com'"), ["password", "jid"]);
        assert_eq!(keys("jid = 'hal@example.com/desk'\npassword = 'x'\nserver = 'a b'"), ["jid", "server"]);
        assert_eq!(
            keys("jid = 'hal@example.com'\npassword = 'x'\ntls = false\ntls_ca = 'ca'"),
            ["tls", "tls_ca"]
        );
        assert_eq!(
            keys(
                "jid = 'a@b'\npassword = 'x'\npassword_file = 'y'\nnick = ' a'\nburst = 0\nmessage_every = 'soon'"
            ),
            ["password", "nick", "burst", "message_every"]
        );
        assert!(room_problem("room", "ops@conference.example.com").is_none());
        assert!(["ops", "#ops", "ops@c/nick", ""].iter().all(|room| room_problem("room", room).is_some()));
    }

    #[test]
    fn the_server_is_the_accounts_domain_unless_it_is_named() {
        let address = |toml: &str| toml::from_str::<Account>(toml).unwrap().address();
        assert_eq!(address("jid = 'hal@Example.com'"), Some(("example.com".into(), 5222)));
        assert_eq!(address("jid = 'hal@example.com'\nserver = 'x:7'"), Some(("x".into(), 7)));
        assert_eq!(address("jid = 'hal'"), None);
    }
}
