//! Checks the routes of all files, in order.

use std::collections::BTreeMap;

use service::config::{OneOrMany, duration};
use tellhal::nearest;
use tellhal::tag::{is_token, legal_token};

use super::raw::{self, Checks, Document};
use super::shadow;
use crate::engine::routing::{Route, ThrottleBy};
use crate::engine::rule::condition::Conditions;
use crate::engine::rule::condition::written::{Mistake, each};

const THROTTLE_BY: [&str; 8] = ["tag", "source", "severity", "key", "status", "title", "host", "field.NAME"];

pub(super) fn check(checks: &mut Checks) -> Vec<Route> {
    let mut routes: Vec<Route> = Vec::new();
    let mut places: Vec<(&Document, String)> = Vec::new();
    for document in checks.documents {
        for (i, raw) in document.raw.routes.iter().enumerate() {
            let key = format!("routes[{i}]");
            routes.push(RouteCheck { checks, document, key: &key }.route(raw));
            places.push((document, key));
        }
    }
    names(checks, &routes, &places);
    shadow::warn(checks, &routes, &places);
    routes
}

fn names(checks: &mut Checks, routes: &[Route], places: &[(&Document, String)]) {
    let mut owners = BTreeMap::new();
    for (route, (document, key)) in routes.iter().zip(places).filter(|(route, _)| !route.name.is_empty()) {
        let key = format!("{key}.name");
        if let Some((first, at)) = owners.insert(route.name.as_str(), (*document, key.clone())) {
            let at: String = at;
            let what = format!("route {} is defined twice, here and at {}", route.name, first.at(&at));
            checks.problems.push(document.error(&key, what, "give one of them another name"));
        }
    }
}

/// One route of one file.
struct RouteCheck<'c, 'd> {
    checks: &'c mut Checks<'d>,
    document: &'d Document,
    key: &'c str,
}

impl RouteCheck<'_, '_> {
    fn route(&mut self, raw: &raw::Route) -> Route {
        self.targets(raw);
        Route {
            name: self.name(raw),
            conditions: Conditions::read(&raw.conditions, &mut |mistake| self.mistake(mistake)),
            rooms: self.rooms(raw),
            stop: raw.stop,
            drop: raw.drop,
            throttle: self.throttle(raw),
            throttle_by: each(raw.throttle_by.as_ref(), "throttle_by", throttle_by, &mut |mistake| {
                self.mistake(mistake);
            }),
        }
    }

    fn wrong(&mut self, key: &str, (what, hint): (String, String)) {
        let problem = self.document.error(&format!("{}.{key}", self.key), what, hint);
        self.checks.problems.push(problem);
    }

    fn mistake(&mut self, Mistake { key, what, hint }: Mistake) {
        self.wrong(&key, (what, hint));
    }

    fn has(&self, key: &str) -> bool {
        self.document.has(&format!("{}.{key}", self.key))
    }

    fn name(&mut self, raw: &raw::Route) -> String {
        match &raw.name {
            None if self.has("name") => String::new(),
            None => {
                let hint = "add name = \"…\"; receipts and explain show it";
                let problem = self.document.error(self.key, "the route has no name", hint);
                self.checks.problems.push(problem);
                String::new()
            }
            Some(name) => {
                if !is_token(name) {
                    let hint = match legal_token(name) {
                        right if right.is_empty() => "one word of A-Z a-z 0-9 _ -".to_owned(),
                        right => format!("such as {right}: one word of A-Z a-z 0-9 _ -"),
                    };
                    self.wrong("name", (format!("{name:?} is not a legal name for a route"), hint));
                }
                name.clone()
            }
        }
    }

    /// A route either leads to rooms or drops.
    fn targets(&mut self, raw: &raw::Route) {
        // Rooms of the wrong type count, since the wrong type is reported already.
        let leads = self.has("rooms") && !raw.rooms.as_ref().is_some_and(OneOrMany::is_empty);
        if raw.drop && leads {
            let hint = "leave out one of them".to_owned();
            self.wrong("drop", ("the route has both rooms and drop".into(), hint));
        } else if !raw.drop && !leads {
            let hint = "rooms = [\"…\"], or drop = true";
            let problem = self.document.error(self.key, "the route has neither rooms nor drop", hint);
            self.checks.problems.push(problem);
        }
    }

    fn rooms(&mut self, raw: &raw::Route) -> Vec<String> {
        let Some(rooms) = &raw.rooms else { return Vec::new() };
        let mut named: Vec<String> = Vec::new();
        for (end, room) in rooms.items() {
            let key = format!("{}.rooms{end}", self.key);
            if named.iter().any(|known| known == room) {
                let problem =
                    self.document.warning(&key, format!("room {room} is named twice"), "name it once");
                self.checks.problems.push(problem);
                continue;
            }
            self.checks.defined(self.document, &key, "room", room);
            named.push(room.to_owned());
        }
        named
    }

    fn throttle(&mut self, raw: &raw::Route) -> Option<std::time::Duration> {
        if raw.throttle_by.is_some() && raw.throttle.is_none() && !self.has("throttle") {
            let hint = "add throttle = \"10m\", or leave throttle_by out".to_owned();
            self.wrong("throttle_by", ("has no effect without throttle".into(), hint));
        }
        if raw.drop && raw.throttle.is_some() {
            let hint = "leave throttle out".to_owned();
            self.wrong("throttle", ("has no effect on a route that drops".into(), hint));
        }
        duration(raw.throttle.as_deref()?).map_err(|bad| self.wrong("throttle", bad)).ok()
    }
}

fn throttle_by(text: &str) -> Result<ThrottleBy, (String, String)> {
    Ok(match text {
        "tag" => ThrottleBy::Tag,
        "source" => ThrottleBy::Source,
        "severity" => ThrottleBy::Severity,
        "key" => ThrottleBy::Key,
        "status" => ThrottleBy::Status,
        "title" => ThrottleBy::Title,
        "host" => ThrottleBy::Host,
        other => match other.strip_prefix("field.").filter(|name| !name.is_empty()) {
            Some(name) => ThrottleBy::Field(name.to_owned()),
            None => {
                let what = format!("{other:?} is not a property of messages");
                return Err((what, nearest::hint(other, THROTTLE_BY)));
            }
        },
    })
}
