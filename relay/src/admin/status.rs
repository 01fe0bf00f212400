//! The state of the whole in a few points: server, leader, log, configuration, rooms, dead letters. It is read from the
//! server alone, so it is the same on every machine.

use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::kv::{Operation, Store};
use async_nats::jetstream::stream::State as LogState;
use schemars::JsonSchema;
use serde::Serialize;
use service::zone::Zone;
use tellhal::timestamp::Timestamp;
use tokio::time::{Instant, sleep};

use super::Operator;
use super::rooms::Known;
use crate::bus::message::last;
use crate::bus::streams::NEARLY_FULL;
use crate::config::Config;
use crate::engine::Rules;
use crate::engine::entry::ConfigEntry;
use crate::lead::LEASE_KEY;
use crate::status::{RoomState, State};

/// The longest wait for a renewal of the lease, of which there is one each second.
const RENEWED: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(200);

/// One point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Point {
    pub name: &'static str,
    pub is_well: bool,
    pub words: String,
}

/// Every point that can be looked at. Without a server there is only one.
pub async fn points(config: &Config, servers: &str) -> Vec<Point> {
    let point = |name, words: Result<String, String>| Point {
        name,
        is_well: words.is_ok(),
        words: words.unwrap_or_else(|words| words),
    };
    let operator = match Operator::connect(&config.nats).await {
        Ok(operator) => operator,
        Err(error) => return vec![point("server", Err(format!("{error:#}")))],
    };
    let info = operator.jetstream.client().server_info();
    let server = format!("{servers}, nats-server {}", info.version);
    let known = Known::read(&operator).await;
    let rooms = match &known {
        Ok(known) => rooms(config, known),
        Err(error) => vec![("rooms", Err(format!("{error:#}")))],
    };
    let mut points = vec![
        point("server", Ok(server)),
        point("leader", words(leader(&operator).await)),
        point("log", words(log(&operator, &config.zone).await)),
        point("config", words(configuration(&operator, config).await)),
    ];
    points.extend(rooms.into_iter().map(|(name, words)| point(name, words)));
    points
}

/// An error is not well, and neither is what the look itself found wrong.
fn words(found: anyhow::Result<Result<String, String>>) -> Result<String, String> {
    found.unwrap_or_else(|error| Err(format!("{error:#}")))
}

async fn leader(operator: &Operator) -> anyhow::Result<Result<String, String>> {
    let state = operator.jetstream.get_key_value(operator.names.state_bucket()).await;
    let Ok(state) = state else { return Ok(Err("no relay has run with this server yet".into())) };
    let (until, first) = (Instant::now() + RENEWED, lease(&state).await?);
    loop {
        match (lease(&state).await?, first) {
            (Some(now), Some(first)) if now != first => return Ok(Ok("a relay leads".into())),
            (now, _) if Instant::now() > until => {
                let since =
                    now.map_or_else(|| "its lease is free".into(), |_| "its lease is not renewed".to_owned());
                return Ok(Err(format!("no relay leads: {since}")));
            }
            _ => sleep(LOOK).await,
        }
    }
}

/// The revision of a lease that somebody holds.
async fn lease(state: &Store) -> anyhow::Result<Option<u64>> {
    let entry = state.entry(LEASE_KEY).await.context("the lease cannot be read")?;
    let held = entry.filter(|entry| entry.operation == Operation::Put && !entry.value.is_empty());
    Ok(held.map(|entry| entry.revision))
}

async fn log(operator: &Operator, zone: &Zone) -> anyhow::Result<Result<String, String>> {
    let log = operator.log().await?;
    let (state, config) = (&log.cached_info().state, &log.cached_info().config);
    let most = u64::try_from(config.max_bytes).ok().filter(|most| *most > 0);
    let words = filled(state, most, zone);
    let is_nearly_full = most.is_some_and(|most| state.bytes > most / 100 * NEARLY_FULL);
    Ok(if is_nearly_full {
        Err(format!("{words}: nearly full, its oldest entries give way"))
    } else {
        Ok(words)
    })
}

fn filled(state: &LogState, most: Option<u64>, zone: &Zone) -> String {
    let mib = |bytes: u64| bytes >> 20;
    let most = most.map_or_else(String::new, |most| format!(" of {}", mib(most)));
    let last = Timestamp::from_stream(state.last_timestamp);
    let last =
        if state.messages > 0 { format!(", the last at {}", zone.moment(last)) } else { String::new() };
    format!("{} entries, {}{most} MiB{last}", state.messages, mib(state.bytes))
}

async fn configuration(operator: &Operator, config: &Config) -> anyhow::Result<Result<String, String>> {
    let own = Rules::new(config.routing.clone()).hash;
    let entry = last::<ConfigEntry>(&operator.log().await?, operator.names.ctl("config")).await?;
    Ok(match entry.and_then(|(_, entry)| entry) {
        Some(entry) if entry.hash == own => Ok("these files are in force".into()),
        Some(entry) => Err(format!("these files ({own:.8}) are not in force, but {:.8}", entry.hash)),
        None => Err("no configuration is in force yet".into()),
    })
}

/// The points of the rooms: those that fail, what waits, and the dead letters.
fn rooms(config: &Config, known: &Known) -> Vec<(&'static str, Result<String, String>)> {
    let states = || config.rooms.keys().filter_map(|name| Some((name, known.states.get(name)?)));
    let is_failing = |state: &RoomState| matches!(state.state, State::Retrying | State::Broken);
    let failing: Vec<String> = states()
        .filter(|(_, state)| is_failing(state))
        .map(|(name, state)| {
            state.why(&config.zone).map_or_else(|| name.clone(), |why| format!("{name}: {why}"))
        })
        .collect();
    let rooms = match failing.is_empty() {
        true => Ok(format!("none of {} fails", config.rooms.len())),
        false => Err(failing.join("; ")),
    };
    let waiting: u64 = states().map(|(_, state)| state.pending).sum();
    let oldest = states().filter_map(|(_, state)| state.oldest).min();
    let waiting = match oldest.filter(|_| waiting > 0) {
        Some(oldest) => format!("{waiting} deliveries, the oldest since {}", config.zone.moment(oldest)),
        None => "nothing".into(),
    };
    let dead = known.dead.iter().flatten().map(|(room, count)| format!("{count} of {room}"));
    let dead: Vec<String> = dead.collect();
    let dead = match dead.is_empty() {
        true => Ok("none".into()),
        false => Err(format!("{}: see hal-relay dead list", dead.join(", "))),
    };
    vec![("rooms", rooms), ("waiting", Ok(waiting)), ("dead", dead)]
}
