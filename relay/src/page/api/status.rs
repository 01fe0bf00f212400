//! `GET /api/status`: what is wrong, in the few words that every view of the page shows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State as From;
use axum::response::Response;
use schemars::JsonSchema;
use serde::Serialize;
use tellhal::timestamp::Timestamp;
use tokio::time::Instant;

use super::exchange::ok;
use super::rooms::{dead_letters, leaders_rooms};
use crate::page::Site;
use crate::page::site::Told;
use crate::status::{Role, RoomState, State};
use service::http::problem::Problem;

/// A room that was tried this often in vain fails; fewer are a hiccup.
const TRIES: u32 = 3;
/// A delivery that has waited for longer waits too long.
const PATIENCE: Duration = Duration::from_secs(60);
/// The time for which an answer of the server is used again: every open page asks every two seconds.
const FRESH: Duration = Duration::from_secs(1);
/// The time in which the server must answer.
const ANSWER: Duration = Duration::from_secs(1);

/// The state of the relay, its rooms and its log.
#[derive(Serialize, JsonSchema)]
pub(in crate::page) struct Now {
    /// True if nothing is wrong.
    well: bool,
    role: Role,
    /// The relay's own problem, such as a server that is gone; absent if there is none.
    problem: Option<String>,
    /// The errors of a changed configuration that was refused; absent if there are none.
    config_error: Option<String>,
    /// The rooms that do not take their posts.
    failing: Vec<Failing>,
    /// The rooms in which a delivery has waited for more than a minute.
    waiting: Vec<Waiting>,
    /// The number of dead letters; absent if the server does not tell it.
    dead: Option<u64>,
    /// The last message of the log.
    last: Option<Last>,
}

/// A room that does not take its posts.
#[derive(Serialize, JsonSchema)]
struct Failing {
    room: String,
    state: State,
    last_success: Option<Timestamp>,
    last_error: Option<String>,
    last_error_at: Option<Timestamp>,
}

/// A room in which deliveries wait.
#[derive(Serialize, JsonSchema)]
struct Waiting {
    room: String,
    /// The number of deliveries that wait.
    pending: u64,
    /// The time in the log of the oldest.
    oldest: Timestamp,
}

/// A message of the log.
#[derive(Serialize, JsonSchema)]
struct Last {
    sequence: u64,
    at: Timestamp,
}

pub(super) async fn status(From(site): From<Arc<Site>>) -> Result<Response, Problem> {
    Ok(ok(&now(&site).await))
}

/// The state of everything at this moment.
pub(in crate::page) async fn now(site: &Site) -> Now {
    let now = site.shared.status.get();
    let (dead, told) = told(site).await;
    let rooms = if now.role == Role::Leading { now.rooms } else { told };
    let problem = site.shared.status.ready().err();
    let (failing, waiting) = (failing(&rooms), waiting(&rooms, Timestamp::now()));
    let last = site.tail.newest().map(|(sequence, at)| Last { sequence, at });
    let quiet = problem.is_none() && now.config_error.is_none() && dead == Some(0);
    let well = quiet && failing.is_empty() && waiting.is_empty();
    Now { well, role: now.role, problem, config_error: now.config_error, failing, waiting, dead, last }
}

impl Now {
    /// A line for each thing that is wrong; one that says that all is well, if none is.
    pub(in crate::page) fn words(&self) -> Vec<String> {
        let mut lines: Vec<String> =
            self.problem.iter().map(|problem| format!("✗ relay: {problem}")).collect();
        lines.extend(self.config_error.as_ref().map(|_| "✗ a changed configuration is refused".to_owned()));
        let reason =
            |room: &Failing| room.last_error.as_deref().map(|error| format!(": {error}")).unwrap_or_default();
        lines.extend(self.failing.iter().map(|room| format!("✗ room {} fails{}", room.room, reason(room))));
        let waits = |room: &Waiting| {
            format!("✗ room {}: {} wait, the oldest since {}", room.room, room.pending, room.oldest)
        };
        lines.extend(self.waiting.iter().map(waits));
        lines.extend(self.dead.filter(|dead| *dead > 0).map(|dead| format!("✗ {dead} dead letters")));
        lines.extend(
            self.dead
                .is_none()
                .then(|| "✗ the server does not say how many dead letters there are".to_owned()),
        );
        if lines.is_empty() {
            lines.push("✓ all is well".into());
        }
        lines
    }
}

fn failing(rooms: &BTreeMap<String, RoomState>) -> Vec<Failing> {
    let fails = |room: &RoomState| match room.state {
        State::Broken => true,
        State::Retrying => room.tries >= TRIES,
        State::Ok | State::Unknown => false,
    };
    let rooms = rooms.iter().filter(|(_, room)| fails(room)).map(|(name, room)| Failing {
        room: name.clone(),
        state: room.state,
        last_success: room.last_success,
        last_error: room.last_error.clone(),
        last_error_at: room.last_error_at,
    });
    rooms.collect()
}

fn waiting(rooms: &BTreeMap<String, RoomState>, now: Timestamp) -> Vec<Waiting> {
    let rooms = rooms.iter().filter_map(|(name, room)| {
        let oldest = room.oldest.filter(|oldest| room.pending > 0 && now.since(*oldest) > PATIENCE)?;
        Some(Waiting { room: name.clone(), pending: room.pending, oldest })
    });
    rooms.collect()
}

/// The number of dead letters, and the leading relay's rooms. Asks the server once for all pages.
async fn told(site: &Site) -> (Option<u64>, BTreeMap<String, RoomState>) {
    let mut told = site.told.lock().await;
    if told.at.is_none_or(|at| at.elapsed() > FRESH) {
        let asked = async { tokio::join!(dead_letters(site), leaders_rooms(site)) };
        let (dead, rooms) = match tokio::time::timeout(ANSWER, asked).await {
            Ok((dead, rooms)) => (dead.ok().map(|dead| dead.values().sum()), rooms.unwrap_or_default()),
            Err(_) => (None, BTreeMap::new()),
        };
        *told = Told { at: Some(Instant::now()), dead, rooms };
    }
    (told.dead, told.rooms.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(state: State, tries: u32) -> BTreeMap<String, RoomState> {
        BTreeMap::from([("ops".to_owned(), RoomState { state, tries, ..RoomState::default() })])
    }

    #[test]
    fn a_room_fails_when_it_is_broken_or_was_tried_often() {
        let cases = [
            (State::Ok, 9, 0),
            (State::Unknown, 9, 0),
            (State::Retrying, 2, 0),
            (State::Retrying, 3, 1),
            (State::Broken, 0, 1),
        ];
        for (state, tries, wanted) in cases {
            assert_eq!(failing(&room(state, tries)).len(), wanted, "{state:?} {tries}");
        }
    }

    #[test]
    fn a_delivery_waits_too_long_after_a_minute() {
        let now = Timestamp(1_000_000);
        let mut rooms = room(State::Ok, 0);
        let ops = rooms.get_mut("ops").unwrap();
        (ops.pending, ops.oldest) = (2, Some(Timestamp(now.0 - 60_000)));
        assert!(waiting(&rooms, now).is_empty());
        assert_eq!(waiting(&rooms, Timestamp(now.0 + 1))[0].pending, 2);
        rooms.get_mut("ops").unwrap().pending = 0;
        assert!(waiting(&rooms, Timestamp(now.0 + 1)).is_empty());
    }
}
