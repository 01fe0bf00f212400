//! The present state of this relay for health, page and metrics. Written by the pipeline, read by all others.

pub mod metrics;
pub mod notice;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::Serialize;
use tellhal::timestamp::Timestamp;

use crate::delivery::Attempts;

/// Time without a heartbeat after which the pipeline counts as stuck.
const STUCK: Duration = Duration::from_secs(15);

/// The role of a relay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Connecting, or the streams cannot be used.
    #[default]
    Starting,
    StandingBy,
    Leading,
    Stopping,
}

/// The state of one room with its details.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RoomState {
    /// Number of waiting deliveries.
    pub pending: u64,
    pub state: State,
    pub last_success: Option<Timestamp>,
    pub last_error: Option<String>,
    pub last_error_at: Option<Timestamp>,
    pub tries: u32,
    /// The post that is being retried.
    pub retrying: Option<Retrying>,
}

impl RoomState {
    /// Takes over the last success and the last failure from before this relay led.
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

/// The state of a room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "RoomState")]
pub enum State {
    /// There was no post yet, or this relay does not lead.
    #[default]
    Unknown,
    Ok,
    /// A post failed and is tried again.
    Retrying,
    /// The credentials or the room itself need an operator: deliveries become dead letters.
    Broken,
}

/// A post that is being retried.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Retrying {
    /// The deliveries in it.
    pub ids: Arc<[String]>,
    pub attempts: Attempts,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Snapshot {
    pub role: Role,
    /// The reason why this relay is not ready; `None` if it is.
    pub problem: Option<String>,
    pub rooms: BTreeMap<String, RoomState>,
    /// Last sequence of the log that was folded.
    pub folded: u64,
    pub config_hash: String,
    pub config_error: Option<String>,
    /// The last heartbeat of the pipeline's thread.
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

    /// Ready means: NATS and the streams can be used, and the relay leads or stands by. Independent of the rooms' states.
    pub fn ready(&self) -> Result<Role, String> {
        let now = self.lock();
        match (now.role, &now.problem) {
            (Role::Leading | Role::StandingBy, None) => Ok(now.role),
            (_, Some(problem)) => Err(problem.clone()),
            (role, None) => Err(format!("{role:?}").to_lowercase()),
        }
    }

    /// Checks the heartbeat of the pipeline's thread, which it sends every second.
    pub fn alive(&self) -> Result<(), String> {
        match self.lock().beat.map(|beat| beat.elapsed()).filter(|silent| *silent > STUCK) {
            Some(silent) => Err(format!("the relay has been stuck for {} s", silent.as_secs())),
            None => Ok(()),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Snapshot> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
