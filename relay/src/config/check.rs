//! From the files to a checked `Config`: the settings, and the order of the checks.
//! `rooms` checks the rooms, `routes` the rules, `cases` runs the tests in the files.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use service::config::{Configuration, Problem, duration};
use service::zone::Zone;
use tellhal::nats::NatsConfig;

use super::raw::{
    self, Checks, DEFAULT_FAILING_AFTER, DEFAULT_MAX_WAITING, DEFAULT_STRANDED_AFTER, Environment,
    HIGHEST_MAX_WAITING,
};
use super::{cases, page, rooms, routes};
use crate::bus::streams::Settings;
use crate::engine::routing::Routing;
use crate::room::registry;

/// A checked configuration: every name in it exists, and every value is legal.
#[derive(Clone, Debug)]
pub struct Config {
    pub nats: NatsConfig,
    pub page: page::Page,
    /// The rules, as the engine needs them.
    pub routing: Routing,
    /// The rooms by name; the built-in `page` is always there.
    pub rooms: BTreeMap<String, registry::Config>,
    /// The time zone of the times that people read.
    pub zone: Zone,
    /// The time that a delivery waits for a relay that serves its room.
    pub stranded_after: Duration,
    /// The time after which a failing room is told.
    pub failing_after: Duration,
    /// The number of deliveries that may wait for a room that fails.
    pub max_waiting: usize,
    /// The replicas and sizes of the streams.
    pub streams: Settings,
    /// The public keys of the bridges whose chat commands are answered.
    pub bridge_keys: Vec<String>,
    /// The state folder if it is configured; [`Config::state_dir`] has the default.
    pub state_dir: Option<PathBuf>,
    /// The number of tests in the files; all of them pass.
    pub tests: usize,
    /// Problems despite which it can be used.
    pub warnings: Vec<Problem>,
}

impl Configuration for Config {
    type File = raw::File;
    const SERVICE: &'static str = "hal-relay";
    const LEAST: &'static str = "default_room = \"page\"";

    fn check(checks: &mut Checks<'_>) -> Self {
        check(checks)
    }

    fn warnings(&mut self) -> &mut Vec<Problem> {
        &mut self.warnings
    }

    fn state_dir_of(file: &raw::File) -> Option<&PathBuf> {
        file.state_dir.as_ref()
    }
}

impl Config {
    /// The relay's folder for state that must outlive it: `state_dir`, else `$STATE_DIRECTORY`, else
    /// `$XDG_STATE_HOME/hal-relay`.
    pub fn state_dir(&self) -> Option<PathBuf> {
        service::config::state_dir::<Self>(self.state_dir.as_deref())
    }
}

fn check(checks: &mut Checks) -> Config {
    let rooms = rooms::check(checks);
    let dev = checks.only("environment", |raw| raw.environment).unwrap_or_default() == Environment::Dev;
    let default_room = room(checks, "default_room", |raw| raw.default_room.clone());
    let dev_room = room(checks, "dev_room", |raw| raw.dev_room.clone());
    presence(checks, dev, &default_room, &dev_room);
    let nats = checks.nats(|raw| raw.nats.clone());
    let page = page::check(checks);
    let stranded_after =
        time(checks, "stranded_after", DEFAULT_STRANDED_AFTER, |raw| raw.stranded_after.clone());
    let failing_after = time(checks, "failing_after", DEFAULT_FAILING_AFTER, |raw| raw.failing_after.clone());
    let (max_waiting, zone) = (max_waiting(checks), zone(checks));
    let streams = streams(checks);
    let bridge_keys = bridge_keys(checks);
    let state_dir = checks.only("state_dir", |raw| raw.state_dir.clone());
    let routes = routes::check(checks);
    let routing = Routing {
        dev_room: dev_room.filter(|_| dev),
        default_room: default_room.unwrap_or_default(),
        rooms: rooms.keys().cloned().collect(),
        routes,
    };
    let sound = checks.sound();
    let tests = cases::run(checks, &routing, sound);
    let warnings = Vec::new();
    Config {
        nats,
        page,
        routing,
        rooms,
        zone,
        stranded_after,
        failing_after,
        max_waiting,
        streams,
        bridge_keys,
        state_dir,
        tests,
        warnings,
    }
}

fn streams(checks: &mut Checks) -> Settings {
    Settings {
        replicas: checks.only("replicas", |raw| raw.replicas),
        log: checks.size("streams.log", |raw| raw.streams.log.clone()),
        receipts: checks.size("streams.receipts", |raw| raw.streams.receipts.clone()),
        dead_letters: checks.size("streams.dead_letters", |raw| raw.streams.dead_letters.clone()),
    }
}

fn room(checks: &mut Checks, key: &str, get: impl Fn(&raw::File) -> Option<String>) -> Option<String> {
    let room = checks.only(key, get)?;
    let document = checks.owner(key)?;
    checks.defined(document, key, "room", &room);
    Some(room)
}

/// The public keys of all files. A wrong one is not shown: it may be a seed.
fn bridge_keys(checks: &mut Checks) -> Vec<String> {
    let mut keys = Vec::new();
    for document in checks.documents {
        for (i, key) in document.raw.bridge_keys.iter().enumerate() {
            match tellhal::command::is_public_key(key) {
                true => keys.push(key.clone()),
                false => {
                    let hint = "hal-bridge key prints it";
                    let problem =
                        document.error(&format!("bridge_keys[{i}]"), "it is not a public nkey", hint);
                    checks.problems.push(problem);
                }
            }
        }
    }
    keys
}

fn presence(checks: &mut Checks, dev: bool, default_room: &Option<String>, dev_room: &Option<String>) {
    let Some(first) = checks.documents.first() else { return };
    if default_room.is_none() && !checks.in_the_dark() && !checks.has("default_room") {
        let hint = "it names the room of messages that no route takes, such as default_room = \"page\"";
        let problem = Problem::whole(&first.file, "default_room is missing", hint);
        checks.problems.push(problem);
    }
    if dev && dev_room.is_none() && !checks.has("dev_room") {
        let owner = checks.documents.iter().find(|document| document.has("environment")).unwrap_or(first);
        let hint = "dev_room names the room of all messages in dev, such as dev_room = \"page\"";
        checks.problems.push(owner.error("environment", "\"dev\" needs dev_room, which is missing", hint));
    }
}

fn time(
    checks: &mut Checks,
    key: &str,
    default: &str,
    get: impl Fn(&raw::File) -> Option<String>,
) -> Duration {
    let text = checks.only(key, get);
    duration(text.as_deref().unwrap_or(default)).unwrap_or_else(|(what, hint)| {
        if let Some(document) = checks.owner(key) {
            checks.problems.push(document.error(key, what, hint));
        }
        Duration::ZERO
    })
}

fn zone(checks: &mut Checks) -> Zone {
    let key = "zone";
    let Some(name) = checks.only(key, |raw| raw.zone.clone()) else { return Zone::default() };
    Zone::named(&name).unwrap_or_else(|(what, hint)| {
        if let Some(document) = checks.owner(key) {
            checks.problems.push(document.error(key, what, hint));
        }
        Zone::default()
    })
}

fn max_waiting(checks: &mut Checks) -> usize {
    let key = "max_waiting";
    let most = checks.only(key, |raw| raw.max_waiting).unwrap_or(DEFAULT_MAX_WAITING);
    if !(1..=HIGHEST_MAX_WAITING).contains(&most)
        && let Some(document) = checks.owner(key)
    {
        let hint = format!("a number from 1 to {HIGHEST_MAX_WAITING}, such as {key} = {DEFAULT_MAX_WAITING}");
        checks.problems.push(document.error(key, format!("{most} cannot be the limit of a queue"), hint));
    }
    most
}
