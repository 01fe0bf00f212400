//! IRC: rooms of one server and nick share one connection and its flood limit.
//!
//! A line counts as posted when the server has confirmed it: with `labeled-response` by its labelled echo,
//! elsewhere by the PONG to a PING sent right behind it. A connection is opened when there is something to
//! say, lives until it is lost, and is not reopened before the next line.
//!
//! Nothing on IRC addresses a whole channel. A client may light up when a message happens to hold
//! its user's nick; we leave such words alone, since changing them would falsify what people copy.

mod config;
mod connection;
mod format;
mod line;
mod register;
mod session;
mod stream;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use async_trait::async_trait;

pub use config::Config;
use connection::Connection;
use format::Format;

use super::{Failure, LISTED_CHAT, Limiter, Part, Post, Problem, Room, Sent, TIMEOUT, tls};
use crate::render::text::{cut, one_line};
use crate::secret::Secret;

/// How much of what a server says an error shows, in bytes.
const EXCERPT: usize = 200;

/// What makes a connection the same: rooms that agree in all of it share one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Settings {
    host: String,
    port: u16,
    tls: bool,
    tls_ca: Option<PathBuf>,
    nick: String,
    sasl: Option<(String, Secret)>,
    pass: Option<Secret>,
    burst: u32,
    line_every: Duration,
}

impl Settings {
    fn read(config: &Config) -> anyhow::Result<Self> {
        let bad = || anyhow::anyhow!("server: {:?} is not a server", config.server);
        let (host, port) = config.address().ok_or_else(bad)?;
        let user = config.sasl_user.clone().unwrap_or_else(|| config.nick.clone());
        Ok(Settings {
            host: host.to_owned(),
            port,
            tls: config.tls,
            tls_ca: config.tls_ca.clone(),
            nick: config.nick.clone(),
            sasl: config.sasl().read()?.map(|password| (user, password)),
            pass: config.pass().read()?,
            burst: config.burst,
            line_every: config.line_every,
        })
    }

    /// `host: what the server said`, clean and without any of our secrets.
    fn reason(&self, said: &str) -> String {
        let mut said = one_line(said);
        for secret in self.sasl.iter().map(|(_, secret)| secret).chain(&self.pass) {
            said = said.replace(secret.reveal(), "…");
        }
        format!("{}: {}", self.host, cut(&said, EXCERPT))
    }

    fn transient(&self, said: &str) -> Failure {
        Failure::transient(self.reason(said))
    }

    fn auth(&self, said: &str) -> Failure {
        Failure::Auth { reason: self.reason(said) }
    }

    fn lost(&self, error: &std::io::Error) -> Failure {
        self.transient(&error.to_string())
    }
}

/// The connections there are. One ends with the last room that uses it.
#[derive(Debug, Default)]
pub(super) struct Connections(Mutex<HashMap<Settings, Weak<Connection>>>);

impl Connections {
    fn get(&self, settings: Settings) -> anyhow::Result<Arc<Connection>> {
        let mut known = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        known.retain(|_, connection| connection.strong_count() > 0);
        if let Some(connection) = known.get(&settings).and_then(Weak::upgrade) {
            return Ok(connection);
        }
        let tls = settings.tls.then(|| tls::client(settings.tls_ca.as_deref()).map(Arc::new)).transpose()?;
        let connection = Arc::new(Connection::new(settings.clone(), tls));
        known.insert(settings, Arc::downgrade(&connection));
        Ok(connection)
    }
}

pub(super) struct Irc {
    connection: Arc<Connection>,
    channel: String,
    key: Option<Secret>,
    nick: String,
    lines: usize,
    colour: bool,
    notice: bool,
}

impl Irc {
    pub(super) fn open(config: &Config, connections: &Connections) -> anyhow::Result<Self> {
        if let Some(problem) = config.problems().into_iter().next() {
            return Err(problem.into());
        }
        Ok(Irc {
            connection: connections.get(Settings::read(config)?)?,
            channel: config.channel.clone(),
            key: config.key().read()?,
            nick: config.nick.clone(),
            lines: config.lines,
            colour: config.colour,
            notice: config.notice,
        })
    }

    fn format(&self) -> Format<'_> {
        Format {
            verb: if self.notice { "NOTICE" } else { "PRIVMSG" },
            channel: &self.channel,
            nick: &self.nick,
            mask: self.connection.mask(),
            lines: self.lines,
            colour: self.colour,
        }
    }
}

#[async_trait]
impl Room for Irc {
    fn listed(&self) -> usize {
        LISTED_CHAT
    }

    fn limiter(&self) -> Arc<Limiter> {
        self.connection.limiter.clone()
    }

    fn timeout(&self) -> Duration {
        TIMEOUT
    }

    /// One part a line.
    fn render(&self, post: &Post) -> Vec<Part> {
        let part = |(shown, wire)| Part { shown, wire, id: post.id.clone() };
        self.format().post(post).into_iter().map(part).collect()
    }

    async fn send(&self, part: &Part) -> Result<Sent, Failure> {
        self.connection.say(&self.channel, self.key.as_ref(), part).await
    }
}

/// Rooms of one server and nick that do not agree about their connection.
pub(super) fn clashes<'a>(rooms: impl Iterator<Item = (&'a str, &'a Config)>) -> Vec<(String, Problem)> {
    let mut first = BTreeMap::new();
    let mut clashes = Vec::new();
    for (name, config) in rooms {
        let (other, agreed) = *first.entry((config.address(), &config.nick)).or_insert((name, config));
        if let Some(key) = config.differs(agreed) {
            let what = format!("room {other} has another {key} for the same server and nick");
            clashes
                .push((name.to_owned(), Problem::new(key, what, "make them the same, or use another nick")));
        }
    }
    clashes
}

#[cfg(test)]
mod tests;
