//! The message of a transition, and that of an event. Pure.

use std::time::Duration;

use service::zone::Zone;
use tellhal::message::{Link, MAX_TITLE, Status};
use tellhal::{Message, Timestamp};

use super::Monitor;
use super::core::{Change, Condition, Transition};
use super::observation::Event;
use super::store::{About, Stored};
use super::threshold::number;
use crate::outbox::SOURCE;

impl Stored {
    /// The entry of a monitor that is gone, with messages that some of what was wrong is resolved. It begins anew if it returns.
    pub(super) fn removed(mut self) -> Stored {
        let (series, was_unobserved) = self.state.take_open();
        let Some(about) = &self.about else { return Stored::default() };
        let changes = series.iter().map(|series| (series.as_str(), Change::Forgotten));
        let changes = changes.chain(was_unobserved.then_some(("", Change::Observed)));
        let told = changes.map(|(series, change)| about.resolved(series, change));
        self.pending.extend(told);
        Stored { source: serde_json::Value::Null, ..self }
    }
}

impl About {
    /// The end of what was wrong with a series, or with the monitor itself.
    fn resolved(&self, series: &str, change: Change) -> Message {
        let name = match series {
            "" => self.label.clone(),
            series => format!("{} {series}", self.label),
        };
        let text = format!("{name}: the monitor was removed from the configuration while this was wrong");
        let mut message = Message::new(SOURCE, self.tag.clone(), text);
        message.severity = self.severity;
        message.status = Some(Status::Resolved);
        message.key = Some(key(&self.name, series, change));
        message.fields.insert("monitor".to_owned(), self.name.clone());
        message
    }
}

impl Monitor {
    /// The settings of its messages.
    pub(super) fn about(&self) -> About {
        let (tag, severity) = (self.tag.clone(), self.severity);
        About { name: self.name.clone(), label: self.label.clone(), tag, severity }
    }

    /// The message of a transition that was noticed at `now`.
    pub(super) fn tell(&self, transition: &Transition, now: Timestamp) -> Message {
        let Transition { series, change, since, value, words } = transition;
        let name = match series.as_str() {
            "" => self.label.clone(),
            series => format!("{} {series}", self.label),
        };
        let mut text = match change {
            Change::To(Condition::Wrong | Condition::Good) => format!("{name}: {words}"),
            Change::To(Condition::NoData) => format!("{name}: no data"),
            Change::Flaps => {
                let window = humantime::format_duration(self.rules.calm);
                format!("{name}: flaps ({words}), and is told again once it is steady for {window}")
            }
            Change::Steady(Condition::NoData) => format!("{name}: no longer flaps, but has no data"),
            Change::Steady(_) => format!("{name}: no longer flaps: {words}"),
            Change::Forgotten => format!("{name}: is gone, and forgotten"),
            Change::Unobserved => format!("monitor {} cannot be observed: {words}", self.name),
            Change::Observed => format!("monitor {} is observed again: {words}", self.name),
        };
        let held = Duration::from_secs(now.since(*since).as_secs());
        if !held.is_zero() {
            let since = Zone::default().date_and_clock(*since);
            text += &format!("\nsince {since}, for {}", humantime::format_duration(held));
        }
        let mut message = self.message(text);
        message.status = Some(if change.is_end() { Status::Resolved } else { Status::Failed });
        message.key = Some(key(&self.name, series, *change));
        message.fields.extend(value.map(|value| ("value".to_owned(), number(value))));
        if !series.is_empty() {
            message.fields.insert("series".to_owned(), series.clone());
        }
        message
    }

    /// The message of an event.
    pub(super) fn tell_event(&self, event: &Event) -> Message {
        let mut message = self.message(event.text.clone());
        message.fields.insert("event".to_owned(), event.id.clone());
        message
    }

    fn message(&self, text: String) -> Message {
        let mut message = Message::new(SOURCE, self.tag.clone(), text);
        message.severity = self.severity;
        message.fields.insert("monitor".to_owned(), self.name.clone());
        message.links.extend(self.link.clone().map(|url| Link { url, title: None }));
        message
    }
}

/// A key of the monitor, of one of its series, or of whether it can be observed.
fn key(name: &str, series: &str, change: Change) -> String {
    let mut key = match (change, series) {
        (Change::Unobserved | Change::Observed, _) => format!("monitor/{name} observed"),
        (_, "") => format!("monitor/{name}"),
        (_, series) => format!("monitor/{name}/{series}"),
    };
    key.truncate(key.floor_char_boundary(MAX_TITLE));
    key
}
