//! What this relay is doing right now, for health, page and metrics. Written by the pipeline, read by everyone.

pub mod metrics;
pub mod notice;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::Serialize;
use tellhal::timestamp::Timestamp;

use crate::delivery::Attempts;

/// After how long without a sign the pipeline counts as stuck.
const STUCK: Duration = Duration::from_secs(15);

/// Where a relay stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Connecting, or the streams are not good.
    #[default]
    Starting,
    StandingBy,
    Leading,
    Stopping,
}

/// How one room is doing.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RoomState {
    /// Deliveries waiting.
    pub pending: u64,
    pub state: State,
    pub last_success: Option<Timestamp>,
    pub last_error: Option<String>,
    pub last_error_at: Option<Timestamp>,
    pub tries: u32,
    /// The post that was not taken yet.
    pub retrying: Option<Retrying>,
}

impl RoomState {
    /// What the receipts tell of the time before this relay led.
    pub fn remember(&mut self, posted: Option<Timestamp>, refused: Option<(Timestamp, String)>) {
        if self.state != State::Unknown {
            return;
        }
        if posted.is_some() || refused.is_some() {
            let refused_last =
                refused.as_ref().is_some_and(|(at, _)| posted.is_none_or(|posted| posted < *at));
            self.state = if refused_last { State::Broken } else { State::Ok };
        }
        self.last_success = posted;
        (self.last_error_at, self.last_error) = refused.unzip();
    }
}

/// How a room is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "RoomState")]
pub enum State {
    /// Not heard of yet, or this relay does not lead.
    #[default]
    Unknown,
    Ok,
    /// A post was not taken and is tried again.
    Retrying,
    /// Credentials or the room itself need somebody: what comes becomes dead letters.
    Broken,
}

/// A post that is tried again.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Retrying {
    /// The deliveries in it.
    pub ids: Arc<[String]>,
    pub attempts: Attempts,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Snapshot {
    pub role: Role,
    /// Why this relay is not ready, when it is not.
    pub problem: Option<String>,
    pub rooms: BTreeMap<String, RoomState>,
    /// Last sequence of the log that was folded.
    pub folded: u64,
    pub config_hash: String,
    pub config_error: Option<String>,
    /// When the pipeline's thread last said that it moves.
    #[serde(skip)]
    pub beat: Option<Instant>,
}

/// Shared by the pipeline's tasks.
#[derive(Debug, Default)]
pub struct Status(Mutex<Snapshot>);

impl Status {
    pub fn get(&self) -> Snapshot {
        self.lock().clone()
    }

    pub fn change(&self, change: impl FnOnce(&mut Snapshot)) {
        change(&mut self.lock());
    }

    pub fn room(&self, room: &str, change: impl FnOnce(&mut RoomState)) {
        change(self.lock().rooms.entry(room.to_owned()).or_default());
    }

    /// Ready: NATS and streams good, leading or standing by. Never a room's state.
    pub fn ready(&self) -> Result<Role, String> {
        let now = self.lock();
        match (now.role, &now.problem) {
            (Role::Leading | Role::StandingBy, None) => Ok(now.role),
            (_, Some(problem)) => Err(problem.clone()),
            (role, None) => Err(format!("{role:?}").to_lowercase()),
        }
    }

    /// Whether the pipeline's thread moves; it says so each second.
    pub fn alive(&self) -> Result<(), String> {
        match self.lock().beat.map(|beat| beat.elapsed()).filter(|silent| *silent > STUCK) {
            Some(silent) => Err(format!("the relay has not moved for {} s", silent.as_secs())),
            None => Ok(()),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Snapshot> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
