//! An intake of MQTT: its topics, and the message of what arrives on one. Pure.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use service::platform::mqtt::{Arrived, Broker, LARGEST, matched};
use tellhal::Message;

use crate::webhook::event::{Event, Reach as _};
use crate::webhook::jinja::Rendered;
use crate::webhook::kind::json::{self, Mapping};
use crate::webhook::template::Template;
use tellhal::message::Severity;

/// The placeholder of the whole topic.
pub(crate) const TOPIC: &str = "topic";

/// The rule for messages that the broker had before the topic was subscribed to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Retained {
    /// They are old, and come again with each new session: they are not told.
    #[default]
    Ignore,
    /// They are told whenever the broker sends them.
    Tell,
}

/// An intake's settings, checked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    pub(crate) broker: Broker,
    /// The client's id if the broker's settings have none.
    pub(crate) client_id: String,
    pub(crate) source: String,
    /// Topic filters, of which no two match the same topic.
    pub(crate) topics: Vec<String>,
    /// The parts of a message; its placeholders are `topic`, the numbers of wildcards, and JSON pointers.
    pub(crate) mapping: Mapping,
    pub(crate) retained: Retained,
    /// The messages that the broker may send before the first one is acknowledged.
    pub(crate) inflight: u16,
}

/// The reason why a message is not told, which is also a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ignored {
    /// The broker had it before.
    Retained,
    /// No topic of the configuration matches: a subscription of an older configuration.
    Unmatched,
}

impl Ignored {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Ignored::Retained => "retained",
            Ignored::Unmatched => "unmatched",
        }
    }
}

impl Config {
    /// The message of what has arrived.
    pub(crate) fn read(&self, arrived: &Arrived) -> Result<Message, Ignored> {
        if arrived.is_retained && self.retained == Retained::Ignore {
            return Err(Ignored::Retained);
        }
        let parts = self.topics.iter().find_map(|filter| matched(filter, &arrived.topic));
        let parts = parts.ok_or(Ignored::Unmatched)?;
        let json = self.reads_json().then(|| serde_json::from_slice::<Value>(&arrived.payload).ok());
        let value = |place: &str| match place.parse::<usize>() {
            Ok(number) => {
                number.checked_sub(1).and_then(|at| parts.get(at)).copied().unwrap_or_default().into()
            }
            Err(_) if place == TOPIC => arrived.topic.clone(),
            Err(_) => json.iter().flatten().next().map_or_else(String::new, |json| json.text(place)),
        };
        let mut event = match json {
            // The mapping has nothing to read from: the payload must not be lost for it.
            Some(None) => {
                unread(&self.mapping.tag, value).text(text(&arrived.payload)).field("payload", "not JSON")
            }
            _ => json::event(&self.mapping, &Rendered::default(), value, || text(&arrived.payload), ""),
        };
        event = event.field(TOPIC, arrived.topic.as_str());
        if let Some(note) = note(&arrived.payload) {
            event = event.field("payload", note);
        }
        if event.text.is_empty() && event.title.is_empty() {
            event.text = "(empty)".into();
        }
        let (tag, original) =
            self.mapping.tag.tag(|place| event.parts.get(place).cloned().unwrap_or_default());
        Ok(event.message(&self.source, tag, original))
    }

    /// True if a part of the message is read from JSON.
    fn reads_json(&self) -> bool {
        let Mapping { each: _, jinja: _, tag, title, text, severity, status, key, id, link } = &self.mapping;
        let templates = [title, text, severity, status, key, id, link].into_iter().flatten();
        templates.chain([tag]).flat_map(Template::places).any(|place| place.starts_with('/'))
    }
}

/// The event of a payload that is not what the configuration says.
fn unread(tag: &Template, value: impl Fn(&str) -> String) -> Event {
    let event = Event::new("").severity(Severity::UNKNOWN);
    tag.places().fold(event, |event, place| event.part(place, value(place)))
}

/// The payload as a text.
fn text(payload: &[u8]) -> String {
    let payload = &payload[..payload.len().min(LARGEST)];
    String::from_utf8_lossy(payload).trim_end_matches(['\r', '\n', '\0']).to_owned()
}

/// The difference between a payload and its text, in words.
fn note(payload: &[u8]) -> Option<String> {
    if payload.len() > LARGEST {
        return Some(format!("cut after {LARGEST} bytes"));
    }
    std::str::from_utf8(payload).is_err().then(|| format!("{} bytes, not UTF-8", payload.len()))
}

#[cfg(test)]
mod tests {
    use tellhal::message::Status;

    use super::*;

    fn config(topics: &[&str], tag: &str, mapping: Mapping) -> Config {
        Config {
            broker: Broker::default(),
            client_id: "hal-plant".into(),
            source: "in-plant".into(),
            topics: topics.iter().map(|&topic| topic.to_owned()).collect(),
            mapping: Mapping { tag: Template::read(tag).unwrap(), ..mapping },
            retained: Retained::Ignore,
            inflight: 20,
        }
    }

    fn arrived(topic: &str, payload: impl Into<Vec<u8>>) -> Arrived {
        Arrived {
            topic: topic.into(),
            payload: payload.into().into(),
            is_retained: false,
            is_repeated: false,
            packet: Some(1),
        }
    }

    #[test]
    fn topics_become_tags_of_the_template_alone() {
        let config = config(&["plant/+/alarm", "door/#"], "plant.{1}.alarm", Mapping::default());
        for (topic, tag, original) in [
            ("plant/oven/alarm", "plant.oven.alarm", None),
            ("plant/oven 7/alarm", "plant.oven_7.alarm", Some("plant.oven 7.alarm")),
            ("plant/a.b>*/alarm", "plant.a_b__.alarm", Some("plant.a.b>*.alarm")),
            ("plant//alarm", "plant.none.alarm", None),
            ("door/a/b", "plant.a_b.alarm", Some("plant.a/b.alarm")),
            ("plant/\u{1}\u{202e}/alarm", "plant.__.alarm", Some("plant.\u{1}\u{202e}.alarm")),
        ] {
            let message = config.read(&arrived(topic, "x")).unwrap();
            assert_eq!(message.tag.as_str(), tag, "{topic}");
            assert_eq!(message.fields.get("tag").map(String::as_str), original);
            assert_eq!((message.source.as_str(), message.fields["topic"].as_str()), ("in-plant", topic));
        }
        let long = format!("plant/{}/alarm", "y".repeat(65_000));
        let message = config.read(&arrived(&long, "x")).unwrap();
        assert!(message.tag.as_str().len() <= 128 && message.fields["topic"].len() <= 1000);
        for topic in ["plant/oven", "$SYS/broker/load", "elsewhere"] {
            assert_eq!(config.read(&arrived(topic, "x")).unwrap_err(), Ignored::Unmatched, "{topic}");
        }
    }

    #[test]
    fn retained_messages_are_told_only_if_that_is_wanted() {
        let mut config = config(&["a"], "a", Mapping::default());
        let old = Arrived { is_retained: true, ..arrived("a", "x") };
        assert_eq!(config.read(&old).unwrap_err(), Ignored::Retained);
        config.retained = Retained::Tell;
        assert_eq!(config.read(&old).unwrap().text, "x");
    }

    #[test]
    fn payloads_of_any_kind_are_texts() {
        let config = config(&["a"], "a", Mapping::default());
        let read = |payload: &[u8]| config.read(&arrived("a", payload)).unwrap();
        assert_eq!(read(b"on\r\n\0").text, "on");
        assert_eq!(read(b"").text, "(empty)");
        let binary = read(b"\xff\xfe\x00k");
        assert_eq!(
            (binary.text.as_str(), &*binary.fields["payload"]),
            ("\u{fffd}\u{fffd}\0k", "4 bytes, not UTF-8")
        );
        let huge = read(&vec![b'x'; LARGEST + 5]);
        assert_eq!(huge.fields["payload"], format!("cut after {LARGEST} bytes"));
        assert!(huge.text.len() <= LARGEST);
    }

    #[test]
    fn json_is_mapped_and_anything_else_is_kept() {
        let template = |text: &str| Some(Template::read(text).unwrap());
        let mapping = Mapping {
            title: template("{1}: {/what}"),
            text: template("{/value} in {topic}"),
            severity: template("{/level}"),
            status: template("{/state}"),
            key: template("{topic}"),
            ..Mapping::default()
        };
        let config = config(&["plant/+"], "plant.{/kind}", mapping);
        let payload =
            r#"{"kind":"heat","what":"{topic} too hot","value":81.5,"state":"alerting","level":"high"}"#;
        let message = config.read(&arrived("plant/oven", payload)).unwrap();
        assert_eq!(message.tag.as_str(), "plant.heat");
        assert_eq!(message.title.as_deref(), Some("oven: {topic} too hot"), "a value is no template");
        assert_eq!(message.text, "81.5 in plant/oven");
        assert_eq!((message.severity, message.status), (Severity::Critical, Some(Status::Failed)));
        assert_eq!(message.key.as_deref(), Some("plant/oven"));
        for payload in ["not json", "{", "", &"[".repeat(100_000)] {
            let message = config.read(&arrived("plant/oven", payload)).unwrap();
            assert_eq!((message.tag.as_str(), &*message.fields["payload"]), ("plant.none", "not JSON"));
            assert_eq!(message.severity, Severity::UNKNOWN);
        }
    }
}
