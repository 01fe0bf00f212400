//! XMPP rooms: a post as one message, sent on a connection that rooms of one account share. Only posts; commands are the
//! bridge's.
//!
//! A message is plain text, in which nothing is markup and nothing addresses a whole room. A client may light up when a text
//! happens to hold its user's nick; such words stay, since changing them would falsify the text that people copy.

mod config;

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use service::config::KeyProblem;
use service::platform::xmpp::{Connection, Connections, Message, Muc};
use service::platform::{Failure, Limiter, Sent};
use service::secret::Pair;
use service::text;

pub use config::Config;

use super::{self as room, Part, Post, Room, Shared};
use crate::render::budget::Budget;
use crate::render::{self, View};

/// With the first line that is below what the platform cuts.
const BUDGET: Budget = Budget { line: 1_000, below: 10_000, tail: 3_000, cost: |line| line.len() + 1 };

pub(super) struct Xmpp {
    connection: Arc<Connection>,
    muc: Muc,
}

impl Xmpp {
    pub(super) fn open(config: &Config, shared: &Shared) -> anyhow::Result<Self> {
        let connection = shared.of::<Connections>().get(config.account.settings()?)?;
        Ok(Xmpp { connection, muc: config.muc()? })
    }
}

impl room::Settings for Config {
    fn problems(&self) -> Vec<KeyProblem> {
        Config::problems(self)
    }

    fn secrets(&self) -> Vec<Pair<'_>> {
        [self.account.secrets(), vec![self.room_password()]].concat()
    }

    fn tls_ca(&self) -> Option<&Path> {
        self.account.tls_ca.as_deref()
    }

    fn connection(&self) -> Option<room::Connection> {
        Some(room::Connection { identity: self.account.identity(), settings: self.account.fingerprints() })
    }

    fn open(&self, shared: &Shared) -> anyhow::Result<Box<dyn Room>> {
        Ok(Box::new(Xmpp::open(self, shared)?))
    }
}

/// A post's lines, as they are read.
fn lines(post: &Post) -> Vec<String> {
    let (false, [delivery]) = (post.is_batch(), &post.listed[..]) else { return render::lines(post) };
    let view = View::of(delivery, &post.zone);
    let marker = view.marker().map(|marker| format!("{marker} ")).unwrap_or_default();
    let mut head = text::wrap(&format!("{marker}{}", view.head()), BUDGET.line);
    let (body, tail) = BUDGET.below(&view, head.split_off(1));
    [head, body, tail].concat()
}

#[async_trait]
impl Room for Xmpp {
    fn limiter(&self) -> Arc<Limiter> {
        self.connection.limiter.clone()
    }

    fn render(&self, post: &Post) -> Vec<Part> {
        let shown = lines(post).join("\n");
        // A backlog that has grown is not a repeat of the shorter one.
        let hash = || BuildHasherDefault::<DefaultHasher>::default().hash_one(&shown);
        let id = if post.is_batch() { format!("{}/{:x}", post.id, hash()) } else { post.id.clone() };
        vec![Part { wire: shown.clone(), shown, plain: None, id, file: None }]
    }

    async fn send(&self, part: &Part) -> Result<Sent, Failure> {
        let message = Message { id: &part.id, text: &part.wire, replaces: None };
        self.connection.post(&self.muc, message).await
    }
}

#[cfg(test)]
mod tests;
