//! Open throttle windows: the first message of a kind passes, repeats are counted until the window ends.
//!
//! At most [`MAX_WINDOWS`] are open; further messages pass, so that a flood of kinds costs posts, not messages. A window keeps
//! its rooms and its end: it finishes under the configuration that opened it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tellhal::fingerprint::fingerprint;
use tellhal::message::{Mark, Message};
use tellhal::timestamp::Timestamp;

use super::ask::{Admission, State, Verdict};
use crate::delivery::{Content, Id, Outcome, Summary};
use crate::engine::output::Outputs;
use crate::engine::rule::routing::{Route, ThrottleBy};

/// The largest number of open windows; each takes about 400 bytes, and a kilobyte once it has a repeat.
pub const MAX_WINDOWS: usize = 100_000;
/// The largest number of tags that a summary counts separately.
pub const MAX_TAGS: usize = 20;
const MAX_HEADLINE: usize = 200;

/// The open windows in a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Kept {
    windows: Vec<Window>,
}

/// One kind of message under one route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Window {
    pub key: Arc<str>,
    pub until: Timestamp,
    pub rooms: Arc<[String]>,
    pub route: Arc<str>,
    pub first_id: String,
    /// The repeats; absent while there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Box<Summary>>,
}

/// Every open window.
#[derive(Debug, Default)]
pub struct Throttle {
    windows: HashMap<Arc<str>, Window>,
    ends: BTreeSet<(Timestamp, Arc<str>)>,
    /// The ends of the windows that owe a summary: only those need a tick.
    owing: BTreeSet<(Timestamp, Arc<str>)>,
}

impl State for Throttle {
    type Kept = Kept;

    fn keep(&self) -> Kept {
        // Soonest end first.
        Kept { windows: self.ends.iter().filter_map(|(_, key)| self.windows.get(key)).cloned().collect() }
    }

    fn restore(kept: Kept) -> Self {
        let mut throttle = Throttle::default();
        kept.windows.into_iter().for_each(|window| throttle.open(window));
        throttle
    }

    /// Passes the first of a kind and counts the repeats.
    fn admit(&mut self, admission: Admission) -> Verdict {
        let Admission { route, rooms, message, now } = admission;
        let Some(length) = route.throttle else { return Verdict::Pass };
        let key = key(route, message);
        if let Some(window) = self.windows.get_mut(key.as_str()) {
            if window.held.is_none() {
                self.owing.insert((window.until, window.key.clone()));
            }
            window.count(message, now);
            return Verdict::Kept(Outcome::Throttled);
        }
        if self.windows.len() >= MAX_WINDOWS {
            return Verdict::Marked(Mark::Unthrottled);
        }
        self.open(Window {
            key: key.into(),
            until: now.plus(length),
            rooms: rooms.clone(),
            route: route.name.as_str().into(),
            first_id: message.id.clone(),
            held: None,
        });
        Verdict::Pass
    }

    /// The end of the first window that owes a summary.
    fn due(&self) -> Option<Timestamp> {
        self.owing.first().map(|(until, _)| *until)
    }

    fn close(&mut self, now: Timestamp, outputs: &mut Outputs) {
        while let Some(window) = self.close_due(now) {
            let Some(held) = window.held else { continue };
            for room in window.rooms.iter() {
                let id = Id::of_summary(&window.route, &window.first_id, room);
                let routes = vec![window.route.to_string()];
                outputs.deliver(id, room, routes, Vec::new(), Content::Summary((*held).clone()));
            }
        }
    }
}

impl Throttle {
    fn open(&mut self, window: Window) {
        self.ends.insert((window.until, window.key.clone()));
        if window.held.is_some() {
            self.owing.insert((window.until, window.key.clone()));
        }
        self.windows.insert(window.key.clone(), window);
    }

    /// Closes and returns the next window that has ended by `now`.
    fn close_due(&mut self, now: Timestamp) -> Option<Window> {
        let end = self.ends.first().filter(|(until, _)| *until <= now)?.clone();
        self.ends.remove(&end);
        self.owing.remove(&end);
        self.windows.remove(&end.1)
    }

    pub fn len(&self) -> usize {
        self.windows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }
}

impl Window {
    fn count(&mut self, message: &Message, now: Timestamp) {
        let held = self.held.get_or_insert_with(|| {
            Box::new(Summary {
                route: self.route.to_string(),
                first_id: self.first_id.clone(),
                count: 0,
                first: now,
                last: now,
                severity: message.severity,
                tags: BTreeMap::new(),
                source: Some(message.source.clone()),
                headline: String::new(),
            })
        });
        held.count += 1;
        held.last = now;
        held.severity = held.severity.max(message.severity);
        if held.source.as_deref() != Some(message.source.as_str()) {
            held.source = None;
        }
        let headline = message.headline();
        held.headline = headline[..headline.floor_char_boundary(MAX_HEADLINE)].to_owned();
        count_tag(&mut held.tags, message.tag.as_str());
    }
}

/// One more under `tag`; past [`MAX_TAGS`] tags under `…`.
pub fn count_tag(tags: &mut BTreeMap<String, u64>, tag: &str) {
    let name = if tags.contains_key(tag) || tags.len() < MAX_TAGS { tag } else { "…" };
    *tags.entry(name.to_owned()).or_default() += 1;
}

/// The key that the repeats of a message share. Its parts are joined by a byte that no tag or source contains; long parts
/// (titles, fields) are replaced by their hash.
fn key(route: &Route, message: &Message) -> String {
    let mut key = route.name.clone();
    for by in parts(route) {
        key.push('\u{1f}');
        match by {
            ThrottleBy::Tag | ThrottleBy::Source => key.push_str(value(by, message).unwrap_or("")),
            by => push_short(&mut key, value(by, message)),
        }
    }
    key
}

/// The same in words, such as `tag=backup.mysql source=db1`.
pub fn words(route: &Route, message: &Message) -> String {
    let part = |by: &ThrottleBy| format!("{}={}", name(by), value(by, message).unwrap_or("-"));
    parts(route).iter().map(part).collect::<Vec<_>>().join(" ")
}

fn parts(route: &Route) -> &[ThrottleBy] {
    match route.throttle_by.as_slice() {
        [] => &[ThrottleBy::Tag, ThrottleBy::Source],
        by => by,
    }
}

fn name(by: &ThrottleBy) -> Cow<'static, str> {
    match by {
        ThrottleBy::Tag => "tag".into(),
        ThrottleBy::Source => "source".into(),
        ThrottleBy::Severity => "severity".into(),
        ThrottleBy::Key => "key".into(),
        ThrottleBy::Status => "status".into(),
        ThrottleBy::Title => "title".into(),
        ThrottleBy::Host => "host".into(),
        ThrottleBy::Field(name) => format!("field.{name}").into(),
    }
}

fn value<'m>(by: &ThrottleBy, message: &'m Message) -> Option<&'m str> {
    match by {
        ThrottleBy::Tag => Some(message.tag.as_str()),
        ThrottleBy::Source => Some(&message.source),
        ThrottleBy::Severity => Some(message.severity.as_str()),
        ThrottleBy::Key => message.key.as_deref(),
        ThrottleBy::Status => message.status.map(|status| status.as_str()),
        ThrottleBy::Title => message.title.as_deref(),
        ThrottleBy::Host => message.host.as_deref(),
        ThrottleBy::Field(name) => message.fields.get(name).map(String::as_str),
    }
}

fn push_short(key: &mut String, text: Option<&str>) {
    match text {
        Some(text) if text.len() > 64 => key.push_str(&fingerprint(&[text.as_bytes()])),
        text => key.push_str(text.unwrap_or("")),
    }
}
