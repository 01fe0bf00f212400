//! The settings of an IRC room, and what cannot be right about them.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::room::Problem;
use crate::room::http::is_loopback;
use crate::secret::{Pair, Secret};

/// `[rooms.NAME.irc]`. Rooms of one server and nick share one connection, and must agree about it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `host` or `host:port`; the port is 6697 with TLS and 6667 without.
    pub server: String,
    /// Where to post, such as `#ops`. It is joined when there is something to say.
    pub channel: String,
    /// The channel's key, when it has one.
    #[serde(default)]
    pub channel_key: Option<Secret>,
    /// A file with the channel's key.
    #[serde(default)]
    pub channel_key_file: Option<PathBuf>,
    /// What we are called; with `_` behind it while the name is taken.
    #[serde(default = "nick")]
    pub nick: String,
    #[serde(default = "yes")]
    pub tls: bool,
    /// A CA certificate to trust instead of the system's.
    #[serde(default)]
    pub tls_ca: Option<PathBuf>,
    /// The services account for SASL PLAIN; the nick when only a password is given.
    #[serde(default)]
    pub sasl_user: Option<String>,
    /// The services account's password.
    #[serde(default)]
    pub sasl_password: Option<Secret>,
    /// A file with the services account's password.
    #[serde(default)]
    pub sasl_password_file: Option<PathBuf>,
    /// The server's own password (`PASS`), when it has one.
    #[serde(default)]
    pub server_password: Option<Secret>,
    /// A file with the server's own password.
    #[serde(default)]
    pub server_password_file: Option<PathBuf>,
    /// Lines at once before `line_every` counts, for all rooms of the connection together.
    #[serde(default = "burst")]
    pub burst: u32,
    /// One line each so long after the burst.
    #[serde(default = "line_every", deserialize_with = "crate::room::duration::deserialize")]
    #[schemars(with = "String")]
    pub line_every: Duration,
    /// How many lines of one message are shown before the rest is counted.
    #[serde(default = "lines")]
    pub lines: usize,
    /// Mark warnings and worse with colour.
    #[serde(default = "yes")]
    pub colour: bool,
    /// Post with NOTICE, which other robots must not answer, instead of PRIVMSG.
    #[serde(default)]
    pub notice: bool,
}

fn nick() -> String {
    "hal".into()
}

fn yes() -> bool {
    true
}

fn burst() -> u32 {
    4
}

fn line_every() -> Duration {
    Duration::from_secs(2)
}

fn lines() -> usize {
    10
}

/// The fewest lines of a message a room may show.
const LEAST_LINES: usize = 8;
/// The longest channel name: with it and a long own mask a line still has room for text.
const LONGEST_CHANNEL: usize = 64;

impl Config {
    pub(in crate::room) fn secrets(&self) -> Vec<Pair<'_>> {
        vec![self.sasl(), self.pass(), self.key()]
    }

    pub(super) fn sasl(&self) -> Pair<'_> {
        Pair::new("sasl_password", "sasl_password_file", &self.sasl_password, &self.sasl_password_file)
    }

    pub(super) fn pass(&self) -> Pair<'_> {
        Pair::new(
            "server_password",
            "server_password_file",
            &self.server_password,
            &self.server_password_file,
        )
    }

    pub(super) fn key(&self) -> Pair<'_> {
        Pair::new("channel_key", "channel_key_file", &self.channel_key, &self.channel_key_file)
    }

    /// The server's host and port.
    pub(super) fn address(&self) -> Option<(&str, u16)> {
        let default = if self.tls { 6697 } else { 6667 };
        // IPv6 addresses have colons of their own; one with a port stands in brackets.
        let (host, port) = match self.server.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':')?)),
            None => match self.server.rsplit_once(':') {
                Some((host, port)) if !host.contains(':') => (host, Some(port)),
                _ => (self.server.as_str(), None),
            },
        };
        let port = match port {
            Some(port) => port.parse().ok().filter(|port| *port != 0)?,
            None => default,
        };
        let legal = |c: char| c.is_ascii_alphanumeric() || ".-:_".contains(c);
        (!host.is_empty() && host.chars().all(legal)).then_some((host, port))
    }

    /// What the rooms of one connection must agree about, in words for the one that differs.
    pub(super) fn differs(&self, other: &Config) -> Option<&'static str> {
        let pairs = [
            ("tls", self.tls == other.tls && self.tls_ca == other.tls_ca),
            ("sasl_user", self.sasl_user == other.sasl_user),
            (
                "sasl_password",
                self.sasl_password == other.sasl_password
                    && self.sasl_password_file == other.sasl_password_file,
            ),
            (
                "server_password",
                self.server_password == other.server_password
                    && self.server_password_file == other.server_password_file,
            ),
            ("burst", self.burst == other.burst),
            ("line_every", self.line_every == other.line_every),
        ];
        pairs.into_iter().find(|(_, same)| !same).map(|(key, _)| key)
    }

    pub(in crate::room) fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<Problem> = self.secrets().iter().filter_map(Pair::problem).collect();
        let mut check = |good: bool, key, what: String, hint: &str| {
            if !good {
                problems.push(Problem::new(key, what, hint));
            }
        };
        let what = format!("{:?} is not a server", self.server);
        check(
            self.address().is_some(),
            "server",
            what,
            "write host or host:port, such as irc.example.com:6697",
        );
        let what = format!("{:?} is not a channel", self.channel);
        check(
            is_channel(&self.channel),
            "channel",
            what,
            "write its name with the sign before it, such as \"#ops\"",
        );
        let what = format!("{:?} is not a nick", self.nick);
        let hint = "letters, digits and -_[]{}\\`^|, not beginning with a digit or -, at most 30";
        check(is_nick(&self.nick), "nick", what, hint);
        let hint = "leave tls on, or drop it; a password goes over TLS or stays on this machine";
        let open = !self.tls && !self.address().is_some_and(|(host, _)| is_loopback(host));
        check(
            !(open && self.sasl().is_set()),
            "sasl_password",
            "the password would go in the clear".into(),
            hint,
        );
        check(
            !(open && self.pass().is_set()),
            "server_password",
            "the password would go in the clear".into(),
            hint,
        );
        check(
            self.tls || self.tls_ca.is_none(),
            "tls_ca",
            "without tls no certificate is looked at".into(),
            "drop it, or set tls = true",
        );
        check(
            self.sasl_user.is_none() || self.sasl().is_set(),
            "sasl_user",
            "there is no password for it".into(),
            "write sasl_password or sasl_password_file",
        );
        check(
            (1..=100).contains(&self.burst),
            "burst",
            format!("{} is out of range", self.burst),
            "1 to 100; servers bear about 4",
        );
        let range = Duration::from_millis(1)..=Duration::from_secs(60);
        check(
            range.contains(&self.line_every),
            "line_every",
            "it is out of range".into(),
            "1ms to 60s; servers bear about 2s",
        );
        check(
            (LEAST_LINES..=500).contains(&self.lines),
            "lines",
            format!("{} is out of range", self.lines),
            "8 to 500",
        );
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
        toml::from_str::<Config>(toml).unwrap().problems().iter().map(|problem| problem.key).collect()
    }

    #[test]
    fn what_cannot_work_is_said_by_key() {
        let none: [&str; 0] = [];
        assert_eq!(keys("server = '127.0.0.1:6667'\ntls = false\nnick = 'hal'\nchannel = '#ops'"), none);
        assert_eq!(keys("server = '[::1]'\ntls = false\nchannel = '#a'\nsasl_password = 'x'"), none);
        assert_eq!(keys("server = 'irc.example.com'\nchannel = 'ops'"), ["channel"]);
        assert_eq!(
            keys("server = 'irc.example.com:x'\nchannel = '#a b'\nnick = '1'"),
            ["server", "channel", "nick"]
        );
        assert_eq!(keys("server = 'a'\ntls = false\nchannel = '#a'\nsasl_password = 'x'"), ["sasl_password"]);
        assert_eq!(
            keys("server = 'a'\nchannel = '#a'\nsasl_user = 'x'\nlines = 3\nburst = 0"),
            ["sasl_user", "burst", "lines"]
        );
        assert!(toml::from_str::<Config>("server = 'a'\nchannel = '#a'\nline_every = 'soon'").is_err());
    }

    #[test]
    fn the_port_follows_tls() {
        let address = |server: &str, tls| {
            Config { server: server.into(), tls, ..Config::default() }
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
