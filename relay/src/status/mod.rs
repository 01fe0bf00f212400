//! The present state of this relay for health, page and metrics. Written by the pipeline, read by all others.

pub mod metrics;
pub mod notice;
pub mod trouble;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use service::zone::Zone;
use tellhal::timestamp::Timestamp;

use crate::delivery::{Attempts, Outcome, Receipt};
use trouble::{Ailment, Trouble};

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
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RoomState {
    /// Number of waiting deliveries.
    pub pending: u64,
    /// The time in the log of the oldest that waits.
    pub oldest: Option<Timestamp>,
    pub state: State,
    pub last_success: Option<Timestamp>,
    pub last_error: Option<String>,
    pub last_error_at: Option<Timestamp>,
    /// The first failure since the last success, for people; `trouble` has it by a clock that nobody sets.
    pub failing_since: Option<Timestamp>,
    /// The time of the next try.
    pub retry_at: Option<Timestamp>,
    pub tries: u32,
    /// The post that is being retried.
    #[serde(skip)]
    pub retrying: Option<Retrying>,
    /// The failures since the last post that it took.
    #[serde(skip)]
    pub trouble: Trouble,
}

impl RoomState {
    /// The reason why deliveries wait, in words, with times in `zone`; `None` for a room that does not fail.
    pub fn why(&self, zone: &Zone) -> Option<String> {
        let (since, error) = (self.failing_since?, self.last_error.as_ref()?);
        let error = tellhal::text::one_line(error);
        let mut why = format!("the room has failed since {}: {error}", zone.moment(since));
        if let Some(retry_at) = self.retry_at {
            why += &format!("; next try at {}", zone.moment(retry_at));
        }
        Some(why)
    }

    /// Takes over what the last receipt from before this relay led says.
    pub fn remember(&mut self, receipt: &Receipt) {
        if self.state != State::Unknown {
            return;
        }
        match receipt.outcome {
            Outcome::Dead => {
                self.last_error.clone_from(&receipt.reason);
                self.last_error_at = Some(receipt.at);
            }
            _ if receipt.tries > 0 => {
                self.state = State::Ok;
                self.last_success = Some(receipt.at);
            }
            _ => {}
        }
    }

    /// Takes over what the watch over the rooms sees; `is_told` is true if the log says that the room fails.
    pub fn ails(&mut self, ailment: Option<Ailment>, is_told: bool) {
        let fails = matches!(ailment, Some(Ailment::Fails(_)));
        if fails && self.state == State::Ok || (fails || is_told) && self.state == State::Unknown {
            self.state = State::Broken;
        }
    }
}

/// The state of a room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "RoomState")]
pub enum State {
    /// There was no post yet, or this relay does not lead.
    #[default]
    Unknown,
    Ok,
    /// A post failed and is tried again.
    Retrying,
    /// The credentials or the room itself need an operator: deliveries become dead letters. One refused post is no such state.
    Broken,
}

/// A post that is being retried.
#[derive(Clone, Debug, PartialEq)]
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
    /// The same, as it is seen from outside of the loop that leads: the server is gone, or no relay leads.
    pub obstacle: Option<String>,
    pub rooms: BTreeMap<String, RoomState>,
    /// Last sequence of the log that was folded.
    pub folded: u64,
    pub config_hash: String,
    pub config_error: Option<String>,
    /// The last heartbeat of the pipeline's thread.
    #[serde(skip)]
    pub beat: Option<Instant>,
    /// The last turn of a leader's loop, which has one at least every five seconds.
    #[serde(skip)]
    pub turn: Option<Instant>,
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

    /// Ready means: NATS and the streams can be used, and the relay leads or stands by for one that does. Independent of the
    /// rooms' states.
    pub fn ready(&self) -> Result<Role, String> {
        let now = self.lock();
        match (now.role, now.obstacle.as_ref().or(now.problem.as_ref())) {
            (Role::Leading | Role::StandingBy, None) => Ok(now.role),
            (_, Some(problem)) => Err(problem.clone()),
            (role, None) => Err(format!("{role:?}").to_lowercase()),
        }
    }

    /// Checks the heartbeat of the pipeline's thread, which it sends every second, and the turns of a leader's loop.
    pub fn alive(&self) -> Result<(), String> {
        let now = self.lock();
        for (moved, part) in [(now.beat, "the relay"), (now.turn, "the reading of the log")] {
            if let Some(still) = moved.map(|moved| moved.elapsed()).filter(|still| *still > STUCK) {
                return Err(format!("{part} has been stuck for {} s", still.as_secs()));
            }
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Snapshot> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
