//! The message of a transition, and that of an event. Pure.

use std::time::Duration;

use service::zone::Zone;
use tellhal::message::{Link, MAX_TITLE, Status};
use tellhal::{Message, Timestamp};

use super::Monitor;
use super::core::{Change, Condition, Transition};
use super::observation::Event;
use super::threshold::number;
use crate::outbox::SOURCE;

impl Monitor {
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
        message.key = Some(self.key(series, *change));
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

    /// A key of the monitor, of one of its series, or of whether it can be observed.
    fn key(&self, series: &str, change: Change) -> String {
        let mut key = match (change, series) {
            (Change::Unobserved | Change::Observed, _) => format!("monitor/{} observed", self.name),
            (_, "") => format!("monitor/{}", self.name),
            (_, series) => format!("monitor/{}/{series}", self.name),
        };
        key.truncate(key.floor_char_boundary(MAX_TITLE));
        key
    }
}
