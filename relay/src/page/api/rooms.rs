//! `GET /api/rooms`: the state of the rooms.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State as From;
use axum::response::Response;
use schemars::JsonSchema;
use serde::Serialize;
use tellhal::timestamp::Timestamp;

use super::dead::operator;
use super::exchange::ok;
use crate::admin::dead;
use crate::delivery::Attempts;
use crate::lead::report;
use crate::page::Site;
use crate::status::{Role, RoomState, State};
use service::http::problem::Problem;

/// The rooms, and the relay that serves them.
#[derive(Serialize, JsonSchema)]
pub(super) struct Rooms {
    /// The role of this relay; another one tells what the leading relay says of the rooms every few seconds.
    role: Role,
    /// The relay's own problem; absent if there is none.
    problem: Option<String>,
    /// The errors of a changed configuration that was refused; absent if there are none.
    config_error: Option<String>,
    /// In the environment `dev`: the one room that gets all messages.
    dev_room: Option<String>,
    /// The sequence of the last log entry whose deliveries were decided.
    folded: u64,
    /// The number of all dead letters, also those of no room or of one that is no longer configured.
    dead: u64,
    rooms: Vec<Room>,
}

/// One room.
#[derive(Serialize, JsonSchema)]
pub(super) struct Room {
    name: String,
    kind: &'static str,
    /// True for the room that gets messages that no route takes.
    is_default: bool,
    state: State,
    /// The number of waiting deliveries.
    pending: u64,
    /// The time in the log of the oldest that waits; absent if none does.
    oldest: Option<Timestamp>,
    /// The number of dead letters.
    dead: u64,
    /// The platform's rate limit; absent if it has none.
    limiter: Option<Limiter>,
    last_success: Option<Timestamp>,
    last_error: Option<String>,
    last_error_at: Option<Timestamp>,
    /// The number of attempts of the post that is being retried, and their results.
    tries: u32,
    attempts: Attempts,
}

/// A token bucket: `burst` posts at once, then one post every `every` seconds.
#[derive(Serialize, JsonSchema)]
struct Limiter {
    burst: u32,
    /// In seconds.
    every: f64,
    /// The number of posts that may be sent now.
    tokens: u64,
    /// The time until the next post may be sent, in seconds; 0 if it may be sent now.
    wait: f64,
}

pub(super) async fn rooms(From(site): From<Arc<Site>>) -> Result<Response, Problem> {
    let mut now = site.shared.status.get();
    if now.role != Role::Leading {
        now.rooms = leaders_rooms(&site).await.unwrap_or_default();
    }
    let dead = dead_letters(&site).await.unwrap_or_default();
    let rules = site.shared.rules.borrow().clone();
    let served = site.shared.rooms.borrow().clone();
    let rooms = served.open.iter().map(|(name, room)| {
        let state = now.rooms.get(name).cloned().unwrap_or_default();
        let limiter = room.room.limiter();
        let limiter = limiter.rate().map(|(every, burst)| Limiter {
            burst,
            every: every.as_secs_f64(),
            tokens: limiter.tokens() as u64,
            wait: limiter.wait().unwrap_or_default().as_secs_f64(),
        });
        Room {
            name: name.clone(),
            kind: room.kind,
            is_default: *name == rules.routing.default_room,
            state: state.state,
            pending: state.pending,
            oldest: state.oldest,
            dead: dead.get(name).copied().unwrap_or_default(),
            limiter,
            last_success: state.last_success,
            last_error: state.last_error,
            last_error_at: state.last_error_at,
            tries: state.tries,
            attempts: state.retrying.map(|retrying| retrying.attempts).unwrap_or_default(),
        }
    });
    Ok(ok(&Rooms {
        role: now.role,
        problem: site.shared.problem(),
        config_error: now.config_error.clone(),
        dev_room: rules.routing.dev_room.clone(),
        folded: now.folded,
        dead: dead.values().sum(),
        rooms: rooms.collect(),
    }))
}

/// The states of the rooms as the leading relay told them last.
pub(in crate::page) async fn leaders_rooms(site: &Site) -> anyhow::Result<BTreeMap<String, RoomState>> {
    let bus = &site.shared.bus;
    report::read(&bus.js, &bus.names).await
}

/// The number of dead letters of each room.
pub(super) async fn dead_letters(site: &Site) -> anyhow::Result<BTreeMap<String, u64>> {
    dead::count(&operator(site)).await
}
