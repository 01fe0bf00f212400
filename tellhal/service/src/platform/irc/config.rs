//! The settings of a connection to an IRC server, and their checks.

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Settings;
use crate::config::{KeyProblem, PATH, duration_in};
use crate::http::is_loopback;
use crate::platform::address::host_and_port;
use crate::secret::{Pair, Secret};

const BURST: u32 = 4;
const LINE_EVERY: Duration = Duration::from_secs(2);
/// The shortest and the longest pause between lines.
const LINE_EVERY_RANGE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(60));

/// The server and the login. Users of the same server and nick share one connection and need the same settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct Server {
    /// `host` or `host:port`; the port is 6697 with TLS and 6667 without.
    pub server: String,
    /// Our nick; with `_` behind it while the name is taken. `hal` when absent.
    #[serde(default)]
    pub nick: Option<String>,
    /// On when absent.
    #[serde(default = "yes")]
    pub tls: bool,
    /// A CA certificate to trust instead of the system's.
    #[serde(default)]
    #[schemars(extend("format" = PATH))]
    pub tls_ca: Option<PathBuf>,
    /// The services account for SASL PLAIN; the nick when only a password is given.
    #[serde(default)]
    pub sasl_user: Option<String>,
    /// The services account's password.
    #[serde(default)]
    pub sasl_password: Option<Secret>,
    /// A file with the services account's password.
    #[serde(default)]
    #[schemars(extend("format" = PATH))]
    pub sasl_password_file: Option<PathBuf>,
    /// The server's own password (`PASS`), when it has one.
    #[serde(default)]
    pub server_password: Option<Secret>,
    /// A file with the server's own password.
    #[serde(default)]
    #[schemars(extend("format" = PATH))]
    pub server_password_file: Option<PathBuf>,
    /// Lines at once before `line_every` counts, for all users of the connection together; 4 when absent.
    #[serde(default)]
    pub burst: Option<u32>,
    /// One line each so long after the burst; `2s` when absent.
    #[serde(default)]
    pub line_every: Option<String>,
}

fn yes() -> bool {
    true
}

impl Server {
    /// The nick we ask for.
    pub fn nick(&self) -> &str {
        self.nick.as_deref().unwrap_or("hal")
    }

    /// The secrets of the connection.
    pub fn secrets(&self) -> Vec<Pair<'_>> {
        vec![self.sasl(), self.pass()]
    }

    fn sasl(&self) -> Pair<'_> {
        Pair::new("sasl_password", "sasl_password_file", &self.sasl_password, &self.sasl_password_file)
    }

    fn pass(&self) -> Pair<'_> {
        Pair::new(
            "server_password",
            "server_password_file",
            &self.server_password,
            &self.server_password_file,
        )
    }

    fn burst(&self) -> u32 {
        self.burst.unwrap_or(BURST)
    }

    fn line_every(&self) -> Result<Duration, (String, String)> {
        let (least, most) = LINE_EVERY_RANGE;
        let read = |text: &str| duration_in(text, least, most, "1ms to 60s; servers bear about 2s");
        self.line_every.as_deref().map_or(Ok(LINE_EVERY), read)
    }

    /// The server's host and port.
    pub fn address(&self) -> Option<(&str, u16)> {
        let default = if self.tls { 6697 } else { 6667 };
        host_and_port(&self.server, default)
    }

    /// Users with the same identity share one connection.
    pub fn identity(&self) -> String {
        let (host, port) = self.address().unwrap_or((&self.server, 0));
        format!("nick {} on {host}:{port}", self.nick())
    }

    /// A fingerprint of each setting in which the users of one connection must agree, by its key.
    pub fn fingerprints(&self) -> Vec<(&'static str, u64)> {
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        vec![
            ("tls", hasher.hash_one((self.tls, &self.tls_ca))),
            ("sasl_user", hasher.hash_one(&self.sasl_user)),
            ("sasl_password", hasher.hash_one((&self.sasl_password, &self.sasl_password_file))),
            ("server_password", hasher.hash_one((&self.server_password, &self.server_password_file))),
            ("burst", hasher.hash_one(self.burst())),
            ("line_every", hasher.hash_one(self.line_every())),
        ]
    }

    /// The settings, secrets read.
    pub fn settings(&self) -> anyhow::Result<Settings> {
        let bad = || anyhow::anyhow!("server: {:?} is not the address of a server", self.server);
        let (host, port) = self.address().ok_or_else(bad)?;
        let user = self.sasl_user.as_deref().unwrap_or(self.nick()).to_owned();
        Ok(Settings {
            host: host.to_owned(),
            port,
            tls: self.tls,
            tls_ca: self.tls_ca.clone(),
            nick: self.nick().to_owned(),
            sasl: self.sasl().read()?.map(|password| (user, password)),
            pass: self.pass().read()?,
            burst: self.burst(),
            line_every: self.line_every().map_err(|(what, hint)| anyhow::anyhow!("{what}: {hint}"))?,
            listen: Vec::new(),
        })
    }

    /// True over TLS, or to this machine.
    pub fn is_protected(&self) -> bool {
        self.tls || self.address().is_some_and(|(host, _)| is_loopback(host))
    }

    /// Settings that cannot work. Reads no file and no variable.
    pub fn problems(&self) -> Vec<KeyProblem> {
        let mut problems: Vec<KeyProblem> = self.secrets().iter().filter_map(Pair::problem).collect();
        let mut refuse = |good: bool, key, what: &str, hint: &str| {
            if !good {
                problems.push(KeyProblem::new(key, what, hint));
            }
        };
        let server = format!("{:?} is not the address of a server", self.server);
        refuse(
            self.address().is_some(),
            "server",
            &server,
            "write host or host:port, such as irc.example.com:6697",
        );
        let nick = format!("{:?} is not a nick", self.nick());
        let hint = "letters, digits and -_[]{}\\`^|, not beginning with a digit or -, at most 30";
        refuse(is_nick(self.nick()), "nick", &nick, hint);
        let hint = "remove tls = false, or the password: it is sent over TLS or to this machine only";
        let open = !self.is_protected();
        let clear = "the password would go in the clear";
        refuse(!(open && self.sasl().is_set()), "sasl_password", clear, hint);
        refuse(!(open && self.pass().is_set()), "server_password", clear, hint);
        let what = "has no effect without tls";
        refuse(self.tls || self.tls_ca.is_none(), "tls_ca", what, "remove it, or set tls = true");
        let hint = "write sasl_password or sasl_password_file";
        let alone = self.sasl_user.is_some() && !self.sasl().is_set();
        refuse(!alone, "sasl_user", "needs a password", hint);
        let burst = format!("{} is out of range", self.burst());
        refuse((1..=100).contains(&self.burst()), "burst", &burst, "1 to 100; servers bear about 4");
        if let Err((what, hint)) = self.line_every() {
            refuse(false, "line_every", &what, &hint);
        }
        problems
    }
}

fn is_nick(nick: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_[]{}\\`^|".contains(c);
    nick.len() <= 30
        && nick.chars().all(legal)
        && !nick.is_empty()
        && !nick.starts_with(|c: char| c.is_ascii_digit() || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(toml: &str) -> Vec<&'static str> {
        toml::from_str::<Server>(toml).unwrap().problems().iter().map(|problem| problem.key).collect()
    }

    #[test]
    fn settings_that_cannot_work_are_refused_by_key() {
        let none: [&str; 0] = [];
        assert_eq!(keys("server = '127.0.0.1:6667'\ntls = false\nnick = 'hal'"), none);
        assert_eq!(keys("server = '[::1]'\ntls = false\nsasl_password = 'x'"), none);
        assert_eq!(keys("server = 'irc.example.com:x'\nnick = '1'"), ["server", "nick"]);
        assert_eq!(keys("server = 'a'\ntls = false\nsasl_password = 'x'"), ["sasl_password"]);
        assert_eq!(
            keys("server = 'a'\nsasl_user = 'x'\nburst = 0\nline_every = 'soon'"),
            ["sasl_user", "burst", "line_every"]
        );
    }

    #[test]
    fn the_port_follows_tls() {
        let address = |server: &str, tls| {
            Server { server: server.into(), tls, ..Server::default() }
                .address()
                .map(|(h, p)| (h.to_owned(), p))
        };
        assert_eq!(address("a.b", true), Some(("a.b".into(), 6697)));
        assert_eq!(address("a.b", false), Some(("a.b".into(), 6667)));
        assert_eq!(address("[::1]:7", false), Some(("::1".into(), 7)));
        assert_eq!(address("::1", true), Some(("::1".into(), 6697)));
        assert_eq!(address("a:0", true), None);
        assert_eq!(address("a\r\nQUIT", true), None);
    }
}
