//! From the files as they are written to a `Config` that makes sense: settings and rooms.
//! `routes` checks the rules, `cases` runs the tests in the files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use tellhal::nats::NatsConfig;
use tellhal::tag::{is_token, legal_token};

use super::document::Document;
use super::problem::{Level, Problem};
use super::raw::{self, DEFAULT_STRANDED_AFTER, Environment};
use super::shape::joined;
use super::{Config, cases, nearest, page, routes};
use crate::engine::routing::Routing;
use crate::room;

/// The room that is always there.
pub(super) const PAGE: &str = "page";

const LONGEST: Duration = Duration::from_secs(5 * 24 * 3600);

/// Everything the checks share.
pub(super) struct Checks<'a> {
    pub documents: &'a [Document],
    pub problems: Vec<Problem>,
    /// Every room's name, also of rooms with mistakes, so that a route is not blamed for them.
    pub rooms: BTreeSet<String>,
}

pub(super) fn check(documents: &[Document], misshapen: bool) -> (Option<Config>, Vec<Problem>) {
    let mut checks = Checks { documents, problems: Vec::new(), rooms: [PAGE.to_owned()].into() };
    let rooms = checks.rooms();
    let dev = checks.only("environment", |raw| raw.environment).unwrap_or_default() == Environment::Dev;
    let default_room = checks.room("default_room", |raw| raw.default_room.clone());
    let dev_room = checks.room("dev_room", |raw| raw.dev_room.clone());
    checks.presence(dev, &default_room, &dev_room);
    let nats = checks.nats();
    let page = page::check(&mut checks);
    let stranded_after = checks.stranded_after();
    let state_dir = checks.only("state_dir", |raw| raw.state_dir.clone());
    let routes = routes::check(&mut checks);
    let routing = Routing {
        dev_room: dev_room.filter(|_| dev),
        default_room: default_room.unwrap_or_default(),
        rooms: rooms.keys().cloned().collect(),
        routes,
    };
    let sound = !misshapen && !checks.has_errors();
    let tests = cases::run(&mut checks, &routing, sound);
    let sound = !checks.has_errors();
    let config =
        Config { nats, page, routing, rooms, stranded_after, state_dir, tests, warnings: Vec::new() };
    (sound.then_some(config), checks.problems)
}

impl Checks<'_> {
    pub(super) fn has_errors(&self) -> bool {
        self.problems.iter().any(|problem| problem.level == Level::Error)
    }

    /// Whether a file could not be read at all: what seems to be missing may be there.
    pub(super) fn in_the_dark(&self) -> bool {
        self.documents.iter().any(|document| document.unreadable)
    }

    /// A setting that only one file may make.
    pub(super) fn only<T>(&mut self, key: &str, get: impl Fn(&raw::File) -> Option<T>) -> Option<T> {
        let mut said = self.documents.iter().filter(|document| document.has(key) && !document.unreadable);
        let first = said.next()?;
        for second in said {
            let what = format!("is set in two files, here and at {}", first.at(key));
            self.problems.push(second.error(key, what, "keep one of the two"));
        }
        get(&first.raw)
    }

    fn room(&mut self, key: &str, get: impl Fn(&raw::File) -> Option<String>) -> Option<String> {
        let room = self.only(key, get)?;
        let document = self.documents.iter().find(|document| document.has(key) && !document.unreadable)?;
        self.defined(document, key, &room);
        Some(room)
    }

    /// Says so unless `room` is a room.
    pub(super) fn defined(&mut self, document: &Document, key: &str, room: &str) {
        if !self.rooms.contains(room) && !self.in_the_dark() {
            let hint = nearest::hint(room, self.rooms.iter().map(String::as_str));
            self.problems.push(document.error(key, format!("there is no room {room}"), hint));
        }
    }

    fn presence(&mut self, dev: bool, default_room: &Option<String>, dev_room: &Option<String>) {
        let Some(first) = self.documents.first() else { return };
        let said = |key: &str| self.documents.iter().any(|document| document.has(key));
        if default_room.is_none() && !self.in_the_dark() && !said("default_room") {
            let hint = "say where a message goes that no route takes, such as default_room = \"page\"";
            let problem = Problem::whole(&first.file, "default_room is missing", hint);
            self.problems.push(problem);
        }
        if dev && dev_room.is_none() && !said("dev_room") {
            let owner = self.documents.iter().find(|document| document.has("environment")).unwrap_or(first);
            let hint = "in dev everything goes to one room: dev_room = \"page\"";
            self.problems.push(owner.error("environment", "is dev, but there is no dev_room", hint));
        }
    }

    fn rooms(&mut self) -> BTreeMap<String, room::Config> {
        let mut rooms = BTreeMap::from([(PAGE.to_owned(), room::Config::Page)]);
        let mut owners: BTreeMap<&str, &Document> = BTreeMap::new();
        for document in self.documents {
            for name in &document.rooms {
                let key = joined("rooms", name);
                if let Some(first) = owners.insert(name, document) {
                    let what = format!("room {name} is defined twice, here and at {}", first.at(&key));
                    self.problems.push(document.error(&key, what, "give one of them another name"));
                    continue;
                }
                self.rooms.insert(name.clone());
                self.room_name(document, &key, name);
                let Some(room) = document.raw.rooms.get(name) else { continue };
                for problem in room.problems() {
                    let key = format!("{key}.{}.{}", room.kind(), problem.key);
                    self.problems.push(document.error(&key, problem.what, problem.hint));
                }
                for problem in room.unresolved() {
                    let key = format!("{key}.{}.{}", room.kind(), problem.key);
                    let problem = document.warning(&key, problem.what, problem.hint);
                    self.problems.push(Problem { at_start: true, ..problem });
                }
                rooms.insert(name.clone(), room.clone());
            }
        }
        self.clashes(&rooms, &owners);
        rooms
    }

    /// What is wrong between rooms, said at the one of them that is named.
    fn clashes(&mut self, rooms: &BTreeMap<String, room::Config>, owners: &BTreeMap<&str, &Document>) {
        for (name, problem) in room::clashes(rooms) {
            let Some((document, room)) = owners.get(name.as_str()).zip(rooms.get(&name)) else { continue };
            let key = format!("{}.{}.{}", joined("rooms", &name), room.kind(), problem.key);
            self.problems.push(document.error(&key, problem.what, problem.hint));
        }
    }

    fn room_name(&mut self, document: &Document, key: &str, name: &str) {
        if name == PAGE {
            let what = "room page is built in".to_owned();
            self.problems.push(document.error(
                key,
                what,
                "leave it out, or choose another name for this room",
            ));
        } else if !is_token(name) || name.starts_with('_') {
            let right = legal_token(name);
            let right = right.trim_start_matches('_');
            let hint = match right {
                "" => "one word of A-Z a-z 0-9 _ - that does not begin with _".to_owned(),
                right => format!("such as {right}: one word of A-Z a-z 0-9 _ - that does not begin with _"),
            };
            self.problems.push(document.error(key, format!("{name:?} cannot be a room's name"), hint));
        }
    }

    fn nats(&mut self) -> NatsConfig {
        let nats = self.only("nats", |raw| raw.nats.clone()).unwrap_or_default();
        let Some(document) = self.documents.iter().find(|document| document.raw.nats.is_some()) else {
            return nats;
        };
        if let Err(bad) = nats.names() {
            self.problems.push(document.error("nats.prefix", bad.what, "such as prefix = \"hal\""));
        }
        let good = |server: &String| server.parse::<async_nats::ServerAddr>().is_ok() && !server.is_empty();
        if nats.servers().is_empty() || !nats.servers().iter().all(good) {
            let hint = "such as nats://127.0.0.1:4222, or a list of such";
            self.problems.push(document.error("nats.url", "is not the address of a NATS server", hint));
        }
        // The files may be there only for the service: an error when it starts, not here.
        if let Err(bad) = nats.options() {
            let hint = "hal-relay run will refuse to start without it";
            let problem = document.warning(&format!("nats.{}", bad.key), bad.what, hint);
            self.problems.push(Problem { at_start: true, ..problem });
        }
        nats
    }

    fn stranded_after(&mut self) -> Duration {
        let key = "stranded_after";
        let said = self.only(key, |raw| raw.stranded_after.clone());
        let text = said.as_deref().unwrap_or(DEFAULT_STRANDED_AFTER);
        duration(text).unwrap_or_else(|(what, hint)| {
            if let Some(document) = self.documents.iter().find(|document| document.has(key)) {
                self.problems.push(document.error(key, what, hint));
            }
            Duration::ZERO
        })
    }
}

/// A duration from one second to five days, or what is wrong and what would be right.
pub(super) fn duration(text: &str) -> Result<Duration, (String, String)> {
    match humantime::parse_duration(text) {
        Ok(time) if time.is_zero() => {
            Err((format!("{text:?} is no time at all"), "from 1s to 5 days, such as 10m".into()))
        }
        Ok(time) if time < Duration::from_secs(1) || time > LONGEST => {
            Err((format!("{text} is out of range"), "from 1s to 5 days, such as 10m".into()))
        }
        Ok(time) => Ok(time),
        Err(_) if text.trim_start().starts_with('-') => {
            Err((format!("{text:?} is negative"), "from 1s to 5 days, such as 10m".into()))
        }
        Err(_) => Err((
            format!("{text:?} is not a duration"),
            "a number and a unit: 30s, 10m, 1h 30m, 2days".into(),
        )),
    }
}

/// The default state directory: what systemd gives, else the user's.
pub(super) fn default_state_dir(env: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let set = |name: &str| env(name).filter(|value| !value.is_empty());
    // systemd separates several by colons; ours is the first.
    if let Some(given) = set("STATE_DIRECTORY") {
        return given.split(':').next().map(PathBuf::from);
    }
    let state = set("XDG_STATE_HOME").map(PathBuf::from);
    let state = state.or_else(|| set("HOME").map(|home| PathBuf::from(home).join(".local/state")));
    state.map(|state| state.join("hal-relay"))
}
