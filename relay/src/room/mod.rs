//! Rooms: one file each, with its settings, its adapter and its tests, and one line each in `registry`.
//!
//! An adapter renders a post, sends one part of it and classifies the answer. It never sleeps, retries,
//! spawns work of its own accord or routes: `deliver` does.

pub mod console;
pub mod irc;
pub mod matrix;
pub mod mqtt;
mod page;
pub mod registry;
pub mod slack;
pub mod webhook;
pub mod xmpp;

#[cfg(test)]
mod conformance;

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use service::config::KeyProblem;
use service::platform::{Failure, Limiter, Sent, TIMEOUT};
use service::secret::Pair;
use service::zone::Zone;
use sha2::{Digest as _, Sha256};
use tellhal::attached::File;

use crate::delivery::Delivery;

/// The number of messages that one post lists in a chat.
const LISTED_CHAT: usize = 10;
/// The number of deliveries in one post.
const MOST: usize = 5_000;

/// A room as `deliver` uses it.
#[async_trait]
pub trait Room: Send + Sync {
    /// The number of messages that one post lists beside a count of the rest: 10 in a chat, 499 in a webhook. If one is left, it
    /// is listed too.
    fn listed(&self) -> usize {
        LISTED_CHAT
    }

    /// The number of deliveries in one post, listed or counted: its receipt contains every id.
    fn most(&self) -> usize {
        MOST
    }

    /// The platform's limit of posts, shared by the rooms of one connection or token; no limit by default.
    fn limiter(&self) -> Arc<Limiter> {
        static NONE: LazyLock<Arc<Limiter>> = LazyLock::new(|| Arc::new(Limiter::none()));
        NONE.clone()
    }

    /// The longest time that sending one part may take.
    fn timeout(&self) -> Duration {
        TIMEOUT
    }

    /// The platform takes files, which [`Post::files`] then has; elsewhere a message's links lead to them.
    fn takes_files(&self) -> bool {
        false
    }

    /// The post as the platform wants it, in the parts it is sent in. Pure: `explain` shows it.
    fn render(&self, post: &Post) -> Vec<Part>;

    /// Sends one part, once.
    async fn send(&self, part: &Part) -> Result<Sent, Failure>;
}

/// The content of one post.
#[derive(Clone, Debug, PartialEq)]
pub struct Post {
    pub room: String,
    /// Stable across retries, the first delivery's id: the idempotency key where a platform takes one.
    pub id: String,
    /// In the log's order; exactly one unless this is a backlog.
    pub listed: Vec<Delivery>,
    /// The waiting deliveries that are only counted.
    pub counted: Option<Counted>,
    /// The time zone of the times that it shows.
    pub zone: Zone,
    /// The files of its message, if the room takes files and it is no backlog.
    pub files: Vec<File>,
}

/// The part of a backlog that is not listed.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Counted {
    pub count: u64,
    pub first: tellhal::Timestamp,
    pub last: tellhal::Timestamp,
    pub worst: tellhal::Severity,
    /// The number under each tag; past 20 tags the rest is under `…`.
    pub tags: std::collections::BTreeMap<String, u64>,
}

impl Post {
    /// A delivery in a post of its own, with times in UTC.
    pub fn single(delivery: Delivery) -> Self {
        Post {
            room: delivery.room.clone(),
            id: delivery.id.to_string(),
            listed: vec![delivery],
            counted: None,
            zone: Zone::default(),
            files: Vec::new(),
        }
    }

    /// True if this is a backlog that is sent as one post.
    pub fn is_batch(&self) -> bool {
        self.listed.len() > 1 || self.counted.is_some()
    }

    /// The idempotency key: a backlog's names its members, so that a receiver never takes a longer one for a repeat.
    fn key(&self) -> String {
        if !self.is_batch() {
            return self.id.clone();
        }
        let mut hash = Sha256::new();
        for delivery in &self.listed {
            hash.update(delivery.id.as_bytes());
            hash.update([0]);
        }
        hash.update(self.counted.as_ref().map_or(0, |counted| counted.count).to_be_bytes());
        let short: String = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        format!("{}/{short}", self.id)
    }
}

/// A part of a post that is sent on its own: an IRC line, an HTTP body.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// The text as a reader sees it.
    pub shown: String,
    /// The text as it is sent: a body or a line.
    pub wire: String,
    /// The same without anything that a room may forbid, such as colours: it is sent once if `wire` is refused.
    pub plain: Option<String>,
    /// The post's id.
    pub id: String,
    /// A file, which is sent instead of `wire` while that is empty.
    pub file: Option<Arc<File>>,
}

/// The settings of one kind of room, as they are written.
pub trait Settings {
    /// Settings that cannot work. Reads no file and no variable.
    fn problems(&self) -> Vec<KeyProblem> {
        Vec::new()
    }

    /// The secrets, whether or not they are written.
    fn secrets(&self) -> Vec<Pair<'_>> {
        Vec::new()
    }

    /// The CA certificate to trust, if one is named.
    fn tls_ca(&self) -> Option<&Path> {
        None
    }

    /// The connection this room would share with others, and must agree about.
    fn connection(&self) -> Option<Connection> {
        None
    }

    /// Opens the room. Reads its secrets and certificates; connects only when something is sent.
    fn open(&self, shared: &Shared) -> anyhow::Result<Box<dyn Room>>;
}

/// A connection that rooms share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Rooms with the same identity share it, such as those of one server and nick.
    pub identity: String,
    /// A fingerprint of each setting in which those rooms must agree, by its key.
    pub settings: Vec<(&'static str, u64)>,
}

/// State that rooms of one kind share, such as connections; kept across reloads.
#[derive(Debug, Default)]
pub struct Shared(Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>);

impl Shared {
    /// The one `T` of this relay.
    pub fn of<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        let mut shared = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let one = shared.entry(TypeId::of::<T>()).or_insert_with(|| Arc::new(T::default()));
        one.clone().downcast().unwrap_or_default()
    }
}
