//! Listens to all rooms that an account is in, by a long poll. It waits between failures, but joins no room, answers nothing
//! and stores nothing: the caller keeps the token to resume with.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::time::{Instant, sleep_until};

use super::client::{Client, json};
use super::sync::{self, Heard, Sync};
use crate::http::{Bounds, Call};
use crate::platform::Failure;

/// The time that the server waits for something to tell.
const POLL: Duration = Duration::from_secs(30);
/// The time that an answer may take beyond that.
const GRACE: Duration = Duration::from_secs(10);
/// The largest answer, in bytes.
const LARGEST: usize = 8 << 20;
/// The number of events of a room in one answer. It is lowered while an answer is too large.
const MOST: u32 = 100;
/// The most that is read of a list of members: more than two need.
const MEMBERS: usize = 4096;
/// The number of rooms of which it is known whether they are private.
const KNOWN: usize = 10_000;
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A listener; it can be dropped while it waits, without loss.
pub struct Listener {
    client: Arc<Client>,
    /// Our own user id, once it is known.
    us: Option<String>,
    since: Option<String>,
    heard: VecDeque<Heard>,
    /// True if a room has only us and one other in it.
    private: HashMap<String, bool>,
    most: u32,
    failures: u32,
    retry_at: Option<Instant>,
}

#[derive(Deserialize)]
struct Members {
    joined: HashMap<String, IgnoredAny>,
}

impl Listener {
    /// Resumes behind the token `since`; without one it hears only what comes from now on.
    pub fn new(client: Arc<Client>, since: Option<String>) -> Self {
        Listener {
            client,
            us: None,
            since,
            heard: VecDeque::new(),
            private: HashMap::new(),
            most: MOST,
            failures: 0,
            retry_at: None,
        }
    }

    /// The next that is heard. After a failure the next call waits before it asks again.
    pub async fn next(&mut self) -> Result<Heard, Failure> {
        if let Some(retry_at) = self.retry_at {
            sleep_until(retry_at).await;
        }
        let next = self.ask().await;
        (self.failures, self.retry_at) = match &next {
            Ok(_) => (0, None),
            Err(failure) => (self.failures + 1, Some(Instant::now() + self.wait(failure))),
        };
        next
    }

    fn wait(&self, failure: &Failure) -> Duration {
        let doubled = FIRST_WAIT.saturating_mul(1 << self.failures.min(16)).min(LONGEST_WAIT);
        doubled.mul_f64(0.5 + fastrand::f64() / 2.0).max(failure.wait())
    }

    async fn ask(&mut self) -> Result<Heard, Failure> {
        loop {
            if let Some(Heard::Message(message)) = self.heard.front() {
                let room = message.room.clone();
                let is_private = self.is_private(room).await?;
                if let Some(Heard::Message(message)) = self.heard.front_mut() {
                    message.is_private = is_private;
                }
            }
            if let Some(heard) = self.heard.pop_front() {
                return Ok(heard);
            }
            self.sync().await?;
        }
    }

    /// Asks for what is new; it is in `heard` then, unless there was too much at once.
    async fn sync(&mut self) -> Result<(), Failure> {
        let us = match &self.us {
            Some(us) => us.clone(),
            None => self.us.insert(self.client.whoami().await?).clone(),
        };
        let is_first = self.since.is_none();
        let poll = if is_first { Duration::ZERO } else { POLL };
        let (timeout, filter) = (poll.as_millis().to_string(), filter(if is_first { 1 } else { self.most }));
        let mut query = vec![("timeout", timeout.as_str()), ("filter", &filter)];
        query.extend(self.since.as_deref().map(|since| ("since", since)));
        let bounds = Bounds { deadline: Instant::now() + poll + GRACE, rest: GRACE, limit: LARGEST };
        let call = Call { query, ..json(Method::GET, &["sync"], "", bounds) };
        let answer = self.client.answer(call).await?;
        if answer.body.len() >= LARGEST && self.most > 1 {
            self.most = 1;
            return Ok(());
        }
        let sync: Sync = self.client.read(&answer)?;
        let batch = sync::read(sync, &us, is_first);
        (self.since, self.heard, self.most) = (Some(batch.token), batch.heard, MOST);
        self.private.retain(|room, _| !batch.changed.contains(room));
        Ok(())
    }

    async fn is_private(&mut self, room: String) -> Result<bool, Failure> {
        if let Some(is_private) = self.private.get(&room) {
            return Ok(*is_private);
        }
        let bounds = Bounds { limit: MEMBERS, ..Bounds::of_post() };
        let call = json(Method::GET, &["rooms", &room, "joined_members"], "", bounds);
        let answer = match self.client.answer(call).await.map_err(Failure::from) {
            Ok(answer) => answer,
            // We are no longer in the room, for example.
            Err(Failure::Permanent { .. } | Failure::Auth { .. }) => return Ok(false),
            Err(failure) => return Err(failure),
        };
        // A longer list is not of two.
        let is_private =
            answer.body.len() < MEMBERS && self.client.read::<Members>(&answer)?.joined.len() == 2;
        if self.private.len() >= KNOWN {
            self.private.clear();
        }
        self.private.insert(room, is_private);
        Ok(is_private)
    }
}

/// Texts and who comes and goes, and nothing else.
fn filter(most: u32) -> String {
    let none = serde_json::json!({ "not_types": ["*"] });
    serde_json::json!({
        "presence": none,
        "account_data": none,
        "room": {
            "account_data": none,
            "ephemeral": none,
            "state": none,
            "timeline": { "types": ["m.room.message", "m.room.member"], "limit": most },
        },
    })
    .to_string()
}
