//! IRC rooms: a post as lines, sent on a connection that rooms of one server and nick share.
//!
//! No text on IRC addresses a whole channel. A client may light up when a message happens to hold
//! its user's nick; such words stay, since changing them would falsify the text that people copy.

mod config;
mod format;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use service::config::KeyProblem;
use service::platform::irc::{Connection, Connections};
use service::platform::{Failure, Limiter, Sent};
use service::secret::{Pair, Secret};

pub use config::Config;
use format::{Format, Line};

use super::{Part, Post, Room, Shared};
use crate::room;

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
    pub(super) fn open(config: &Config, shared: &Shared) -> anyhow::Result<Self> {
        Ok(Irc {
            connection: shared.of::<Connections>().get(config.server.settings()?)?,
            channel: config.channel.clone(),
            key: config.key().read()?,
            nick: config.server.nick().to_owned(),
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

impl room::Settings for Config {
    fn tls_ca(&self) -> Option<&Path> {
        self.server.tls_ca.as_deref()
    }

    fn problems(&self) -> Vec<KeyProblem> {
        Config::problems(self)
    }

    fn secrets(&self) -> Vec<Pair<'_>> {
        [self.server.secrets(), vec![self.key()]].concat()
    }

    fn open(&self, shared: &Shared) -> anyhow::Result<Box<dyn Room>> {
        Ok(Box::new(Irc::open(self, shared)?))
    }

    fn connection(&self) -> Option<room::Connection> {
        Some(room::Connection { identity: self.server.identity(), settings: self.server.fingerprints() })
    }
}

#[async_trait]
impl Room for Irc {
    fn limiter(&self) -> Arc<Limiter> {
        self.connection.limiter.clone()
    }

    /// One part a line.
    fn render(&self, post: &Post) -> Vec<Part> {
        let part = |Line { shown, wire, plain }| Part { shown, wire, plain, id: post.id.clone(), file: None };
        self.format().post(post).into_iter().map(part).collect()
    }

    async fn send(&self, part: &Part) -> Result<Sent, Failure> {
        self.connection.say(&self.channel, self.key.as_ref(), &part.id, &part.wire).await
    }
}

#[cfg(test)]
mod tests;
