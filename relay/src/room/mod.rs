//! Rooms: one file each, with its settings, its adapter and its tests; `open` is the registry.
//!
//! An adapter renders a post, sends one part of it and classifies the answer. It never sleeps, retries,
//! spawns work of its own accord or routes: `deliver` does.

pub mod console;
mod http;
pub mod irc;
mod page;
pub mod slack;
mod tls;
pub mod webhook;

#[cfg(test)]
mod conformance;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use tellhal::Severity;

use crate::delivery::Delivery;

/// How many messages one post lists in a chat.
const LISTED_CHAT: usize = 10;

/// How long a part may take: a post must end before the lease of the relay that started it (5 s,
/// renewed each second), so that a successor never posts beside it.
pub const TIMEOUT: Duration = Duration::from_millis(3500);

/// What `deliver` asks of a room.
#[async_trait]
pub trait Room: Send + Sync {
    /// How many messages one post lists before the rest is counted: about 10 in a chat, 500 in a webhook.
    fn listed(&self) -> usize;

    /// How the platform lets us go on; shared by the rooms of one connection or token.
    fn limiter(&self) -> Arc<Limiter>;

    /// How long one part may take, at most.
    fn timeout(&self) -> Duration;

    /// The post as the platform wants it, in the parts it is sent in. Pure: `explain` shows it.
    fn render(&self, post: &Post) -> Vec<Part>;

    /// Sends one part, once.
    async fn send(&self, part: &Part) -> Result<Sent, Failure>;
}

/// What goes out as one post.
#[derive(Clone, Debug, PartialEq)]
pub struct Post {
    pub room: String,
    /// Stable across retries, the first delivery's id: the idempotency key where a platform takes one.
    pub id: String,
    /// In the log's order; exactly one unless this is a backlog going out at once.
    pub listed: Vec<Delivery>,
    /// What waits and is only counted.
    pub counted: Option<Counted>,
}

/// The part of a backlog that is not listed.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Counted {
    pub count: u64,
    pub first: tellhal::Timestamp,
    pub last: tellhal::Timestamp,
    pub worst: tellhal::Severity,
    /// How many under each tag; past 20 tags the rest is under `…`.
    pub tags: std::collections::BTreeMap<String, u64>,
}

impl Post {
    /// A delivery in a post of its own.
    pub fn single(delivery: Delivery) -> Self {
        Post { room: delivery.room.clone(), id: delivery.id.clone(), listed: vec![delivery], counted: None }
    }

    /// Whether this is a backlog going out at once.
    pub fn is_batch(&self) -> bool {
        self.listed.len() > 1 || self.counted.is_some()
    }

    /// The worst there is in it.
    pub fn severity(&self) -> Severity {
        let listed = self.listed.iter().map(Delivery::severity);
        listed.chain(self.counted.as_ref().map(|counted| counted.worst)).max().unwrap_or_default()
    }
}

/// One thing that is sent in one go: an IRC line, an HTTP body.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// What a reader sees of it.
    pub shown: String,
    /// What goes over the wire: a body or a line.
    pub wire: String,
    /// The post's id.
    pub id: String,
}

/// What a platform said when it took a part.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sent {
    /// Its answer in words, for whoever looks at what became of a message.
    pub answer: String,
    /// The platform's own id of the post, and its address.
    pub post: Option<String>,
    pub link: Option<String>,
}

/// Why a part was not taken; decided where the answer is known, and also a metric's label.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Failure {
    /// Later may succeed. `wait` is the platform's own wish. `ambiguous` when the room may have taken it.
    #[error("{reason}")]
    Transient { reason: String, wait: Option<Duration>, ambiguous: bool },
    /// This post will never be taken.
    #[error("{reason}")]
    Permanent { reason: String },
    /// Nothing of ours will be taken until somebody mends credentials or the room.
    #[error("{reason}")]
    Auth { reason: String },
}

/// A token bucket: `burst` at once, then one each `every`.
#[derive(Debug)]
pub struct Limiter {
    every: Duration,
    burst: u32,
    /// When the bucket will be full again.
    full_at: std::sync::Mutex<tokio::time::Instant>,
}

impl Limiter {
    pub fn new(every: Duration, burst: u32) -> Self {
        Limiter { every, burst: burst.max(1), full_at: std::sync::Mutex::new(tokio::time::Instant::now()) }
    }

    /// No limit at all.
    pub fn none() -> Self {
        Limiter::new(Duration::ZERO, u32::MAX)
    }

    /// How much it lets through: after a burst of so many one each so often. Nothing when it sets no limit.
    pub fn rate(&self) -> Option<(Duration, u32)> {
        (!self.every.is_zero()).then_some((self.every, self.burst))
    }

    /// Takes one token, or says how long until there is one.
    pub fn take(&self) -> Result<(), Duration> {
        let now = tokio::time::Instant::now();
        let mut full_at = self.full_at();
        match self.missing(*full_at, now) {
            Some(wait) => Err(wait),
            None => {
                *full_at = (*full_at).max(now) + self.every;
                Ok(())
            }
        }
    }

    /// How long until there is a token; none when there is one.
    pub fn wait(&self) -> Option<Duration> {
        self.missing(*self.full_at(), tokio::time::Instant::now())
    }

    /// How many tokens there are.
    pub fn tokens(&self) -> usize {
        if self.every.is_zero() {
            return usize::MAX;
        }
        let spent = self.full_at().saturating_duration_since(tokio::time::Instant::now());
        let left = self.every.saturating_mul(self.burst).saturating_sub(spent);
        usize::try_from(left.as_nanos() / self.every.as_nanos()).unwrap_or(usize::MAX)
    }

    fn missing(&self, full_at: tokio::time::Instant, now: tokio::time::Instant) -> Option<Duration> {
        let next = full_at.max(now) + self.every;
        let over = next.duration_since(now).saturating_sub(self.every.saturating_mul(self.burst));
        (!over.is_zero()).then_some(over)
    }

    fn full_at(&self) -> std::sync::MutexGuard<'_, tokio::time::Instant> {
        self.full_at.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Failure {
    /// A failure to be tried again, of which the room cannot have taken anything.
    fn transient(reason: impl Into<String>) -> Self {
        Failure::Transient { reason: reason.into(), wait: None, ambiguous: false }
    }
}

/// The settings of one room: `[rooms.NAME.KIND]`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Config {
    /// Built in: the page every relay serves. Nobody writes it.
    #[serde(skip)]
    Page,
    Console(console::Config),
    Irc(irc::Config),
    Slack(slack::Config),
    Webhook(webhook::Config),
}

impl Config {
    /// The kinds a configuration may name.
    pub const KINDS: [&'static str; 4] = ["console", "irc", "slack", "webhook"];

    /// The last key of the room's table.
    pub fn kind(&self) -> &'static str {
        match self {
            Config::Page => "page",
            Config::Console(_) => "console",
            Config::Irc(_) => "irc",
            Config::Slack(_) => "slack",
            Config::Webhook(_) => "webhook",
        }
    }

    /// What cannot work, as far as the settings themselves tell. Reads no file and no variable.
    pub fn problems(&self) -> Vec<Problem> {
        match self {
            Config::Page | Config::Console(_) => Vec::new(),
            Config::Irc(config) => config.problems(),
            Config::Slack(config) => config.problems(),
            Config::Webhook(config) => config.problems(),
        }
    }

    /// The secrets that cannot be had here and now: a warning in `check`, an error in `run`.
    pub fn unresolved(&self) -> Vec<Problem> {
        let secrets = match self {
            Config::Page | Config::Console(_) => Vec::new(),
            Config::Irc(config) => config.secrets(),
            Config::Slack(config) => config.secrets(),
            Config::Webhook(config) => config.secrets(),
        };
        // How a secret is written is `problems`' business.
        let written = secrets.iter().filter(|secret| secret.problem().is_none());
        written.filter_map(|secret| secret.read().err()).collect()
    }
}

/// What is wrong with a room's settings; never shows a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {what}; {hint}")]
pub struct Problem {
    /// The key in the room's table.
    pub key: &'static str,
    pub what: String,
    pub hint: String,
}

impl Problem {
    pub fn new(key: &'static str, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Problem { key, what: what.into(), hint: hint.into() }
    }
}

/// What is wrong between rooms: those on one IRC connection must agree about it. Each with the room's name.
pub fn clashes(rooms: &BTreeMap<String, Config>) -> Vec<(String, Problem)> {
    irc::clashes(rooms.iter().filter_map(|(name, config)| match config {
        Config::Irc(config) => Some((name.as_str(), config)),
        _ => None,
    }))
}

/// What the rooms of one relay have in common; kept across reloads, so that connections are too.
#[derive(Debug, Default)]
pub struct Shared {
    irc: irc::Connections,
}

/// Opens a room. Reads its secrets and certificates; connects only when something is sent.
pub fn open(name: &str, config: &Config, shared: &Shared) -> anyhow::Result<Box<dyn Room>> {
    use anyhow::Context as _;
    let room: anyhow::Result<Box<dyn Room>> = match config {
        Config::Page => Ok(Box::new(page::Page::open())),
        Config::Console(_) => Ok(Box::new(console::Console::open())),
        Config::Irc(config) => irc::Irc::open(config, &shared.irc).map(boxed),
        Config::Slack(config) => slack::Slack::open(config).map(boxed),
        Config::Webhook(config) => webhook::Webhook::open(config).map(boxed),
    };
    room.with_context(|| format!("room {name}"))
}

fn boxed(room: impl Room + 'static) -> Box<dyn Room> {
    Box::new(room)
}

/// Durations as people write them in a configuration: `2s`, `10m`.
mod duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, de::Error};

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(from)?;
        humantime::parse_duration(&text).map_err(|error| {
            D::Error::custom(format!("{text:?} is not a duration: {error}; write 2s or 10m"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kinds_are_those_that_can_be_written() {
        let schema = serde_json::to_string(&schemars::schema_for!(Config)).unwrap();
        for kind in Config::KINDS {
            assert!(schema.contains(&format!("\"{kind}\":{{")), "{kind} in {schema}");
        }
        let unknown = toml::from_str::<BTreeMap<String, Config>>("[ops.hipchat]").unwrap_err().to_string();
        for kind in Config::KINDS {
            assert!(unknown.contains(kind), "{unknown}");
        }
        assert!(!unknown.contains("page"), "{unknown}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_bucket_gives_its_burst_and_then_one_each_while() {
        let limiter = Limiter::new(Duration::from_secs(2), 4);
        assert!((0..4).all(|_| limiter.take().is_ok()));
        assert_eq!(limiter.take(), Err(Duration::from_secs(2)));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!((limiter.take(), limiter.take()), (Ok(()), Err(Duration::from_secs(2))));
        assert!((0..100_000).all(|_| Limiter::none().take().is_ok()));
    }
}
