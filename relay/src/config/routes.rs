//! Checks the routes of all files, in order.

use std::collections::BTreeMap;
use std::str::FromStr;

use service::config::{OneOrMany, duration, joined};
use tellhal::message::Severity;
use tellhal::nearest;
use tellhal::tag::{Pattern, is_token, legal_token};

use super::raw::{self, FieldMatch};
use super::{Checks, Document, shadow};
use crate::engine::routing::{Route, ThrottleBy};

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
            tag: self.each(&raw.tag, "tag", pattern),
            severity: raw.severity.as_deref().and_then(|text| self.severity(text)),
            source: self.each(&raw.source, "source", source),
            fields: raw.fields.iter().filter_map(|(name, want)| self.field(name, want)).collect(),
            text: raw.text.clone().filter(|text| self.regex(text)),
            rooms: self.rooms(raw),
            stop: raw.stop,
            drop: raw.drop,
            throttle: self.throttle(raw),
            throttle_by: self.each(&raw.throttle_by, "throttle_by", throttle_by),
        }
    }

    fn wrong(&mut self, key: &str, (what, hint): (String, String)) {
        let problem = self.document.error(&format!("{}.{key}", self.key), what, hint);
        self.checks.problems.push(problem);
    }

    fn has(&self, key: &str) -> bool {
        self.document.has(&format!("{}.{key}", self.key))
    }

    fn name(&mut self, raw: &raw::Route) -> String {
        match &raw.name {
            None if self.has("name") => String::new(),
            None => {
                let hint = "name = \"…\": its name is what receipts and explain call it";
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
                    self.wrong("name", (format!("{name:?} cannot be a route's name"), hint));
                }
                name.clone()
            }
        }
    }

    /// A route leads to rooms or drops, and does not do both.
    fn targets(&mut self, raw: &raw::Route) {
        // Rooms of the wrong type were rooms once.
        let leads = self.has("rooms") && !raw.rooms.as_ref().is_some_and(OneOrMany::is_empty);
        if raw.drop && leads {
            let hint = "leave out rooms, or drop".to_owned();
            self.wrong("drop", ("the route has rooms and drops: it cannot do both".into(), hint));
        } else if !raw.drop && !leads {
            let hint = "rooms = [\"…\"], or drop = true";
            let problem = self.document.error(self.key, "the route has neither rooms nor drop", hint);
            self.checks.problems.push(problem);
        }
    }

    /// Every item of a list that `read` takes; what it refuses is a problem, an empty list too.
    fn each<T>(
        &mut self,
        said: &Option<OneOrMany>,
        key: &str,
        read: impl Fn(&str) -> Result<T, (String, String)>,
    ) -> Vec<T> {
        let Some(said) = said else { return Vec::new() };
        if said.is_empty() {
            self.wrong(key, ("is an empty list".into(), format!("leave {key} out, or name one")));
        }
        let mut all = Vec::new();
        for (end, text) in said.items() {
            match read(text) {
                Ok(value) => all.push(value),
                Err(bad) => self.wrong(&format!("{key}{end}"), bad),
            }
        }
        all
    }

    fn severity(&mut self, text: &str) -> Option<Severity> {
        severity(text).map_err(|bad| self.wrong("severity", bad)).ok()
    }

    fn field(&mut self, name: &str, want: &FieldMatch) -> Option<(String, Vec<String>)> {
        let values = match want {
            FieldMatch::Present(true) => Vec::new(),
            FieldMatch::Present(false) => {
                let hint = "true means the field is there; a value or a list means it is one of these";
                self.wrong(&joined("fields", name), ("cannot be false".into(), hint.into()));
                return None;
            }
            FieldMatch::One(value) => vec![value.clone()],
            FieldMatch::Many(values) if values.is_empty() => {
                let hint = "true means the field is there".to_owned();
                self.wrong(&joined("fields", name), ("is an empty list".into(), hint));
                return None;
            }
            FieldMatch::Many(values) => values.clone(),
        };
        Some((name.to_owned(), values))
    }

    fn regex(&mut self, text: &str) -> bool {
        let Err(error) = regex::Regex::new(text) else { return true };
        let error = error.to_string();
        let reason = error.lines().last().unwrap_or("").trim_start_matches("error: ").to_owned();
        let hint =
            "the syntax is Rust's (https://docs.rs/regex); in 'single quotes' TOML leaves backslashes alone";
        self.wrong("text", (format!("is not a regular expression: {reason}"), hint.into()));
        false
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
            self.wrong("throttle_by", ("says by what, but nothing is throttled".into(), hint));
        }
        if raw.drop && raw.throttle.is_some() {
            let hint = "leave throttle out".to_owned();
            self.wrong("throttle", ("the route drops: there is nothing to throttle".into(), hint));
        }
        duration(raw.throttle.as_deref()?).map_err(|bad| self.wrong("throttle", bad)).ok()
    }
}

pub(super) fn severity(text: &str) -> Result<Severity, (String, String)> {
    Severity::from_str(text).map_err(|_| {
        let hint = nearest::hint(text, Severity::ALL.map(Severity::as_str));
        (format!("there is no severity {text:?}"), hint)
    })
}

fn pattern(text: &str) -> Result<Pattern, (String, String)> {
    text.parse::<Pattern>().map_err(|bad| {
        let hint = match nearest_pattern(text) {
            near if near.is_empty() => bad.hint,
            near => format!("the nearest pattern is {near}: * stands for one word, a last > for the rest"),
        };
        (bad.what, hint)
    })
}

/// The nearest legal pattern; nothing when there is no word in `text`.
fn nearest_pattern(text: &str) -> String {
    let mut tokens: Vec<String> = Vec::new();
    for token in text.split('.').filter(|token| !token.is_empty()) {
        match token {
            ">" => return [tokens, vec![">".into()]].concat().join("."),
            token if token.contains(['*', '>']) => tokens.push("*".into()),
            token => tokens.push(legal_token(token)),
        }
    }
    tokens.join(".")
}

pub(super) fn source(text: &str) -> Result<String, (String, String)> {
    match is_token(text) {
        true => Ok(text.to_owned()),
        false => Err((
            format!("{text:?} cannot be a source"),
            format!("a source is one word, by default the short host name: {}", legal_token(text)),
        )),
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
                let what = format!("messages cannot be told apart by {other:?}");
                return Err((what, nearest::hint(other, THROTTLE_BY)));
            }
        },
    })
}
