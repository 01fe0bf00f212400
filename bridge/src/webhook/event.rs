//! An event that a request tells of, before it is a message; and the reading of JSON whose form nobody guarantees. Pure.

use std::collections::BTreeMap;

use serde_json::Value;
use service::text::cut;
use tellhal::message::{Link, MAX_TITLE, Message, Severity, Status};
use tellhal::tag::Tag;
use tellhal::text::one_line;

use crate::hash::hash;

/// The most fields of a message, and the longest name and value of one, in bytes.
const FIELDS: usize = 60;
pub(crate) const FIELD: usize = 1000;

/// One event. Its texts are data: no part of them is a template or markup.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Event {
    /// Names the event itself, however often it is delivered; without one, each delivery is an event of its own.
    pub(crate) id: Option<String>,
    /// The values that the tag can have, by the names of their placeholders.
    pub(crate) parts: BTreeMap<String, String>,
    pub(crate) severity: Severity,
    pub(crate) status: Option<Status>,
    /// Names the thing that the event is about, such as an alert: its end has the same.
    pub(crate) key: Option<String>,
    pub(crate) title: String,
    pub(crate) text: String,
    pub(crate) links: Vec<Link>,
    pub(crate) fields: BTreeMap<String, String>,
}

impl Event {
    pub(crate) fn new(title: impl Into<String>) -> Event {
        Event { title: title.into(), ..Event::default() }
    }

    pub(crate) fn id(mut self, id: impl Into<String>) -> Event {
        self.id = Some(id.into()).filter(|id| !id.is_empty());
        self
    }

    pub(crate) fn part(mut self, name: &str, value: impl Into<String>) -> Event {
        self.parts.insert(name.to_owned(), value.into());
        self
    }

    pub(crate) fn key(mut self, key: impl Into<String>) -> Event {
        self.key = Some(key.into()).filter(|key| !key.is_empty());
        self
    }

    pub(crate) fn text(mut self, text: impl Into<String>) -> Event {
        self.text = text.into();
        self
    }

    pub(crate) fn severity(mut self, severity: Severity) -> Event {
        self.severity = severity;
        self
    }

    /// The state of its thing. A failure is as severe as `bad`, and so is its end, since the rooms that got the failure get its end.
    pub(crate) fn status(mut self, status: Status, bad: Severity) -> Event {
        self.status = Some(status);
        self.severity = match status {
            Status::Failed | Status::Resolved => bad,
            Status::Started | Status::Succeeded => Severity::Info,
        };
        self
    }

    /// A link, unless the address is none.
    pub(crate) fn link(mut self, title: &str, url: impl Into<String>) -> Event {
        let url = url.into();
        if url.starts_with("https://") || url.starts_with("http://") {
            let title = Some(title.to_owned()).filter(|title| !title.is_empty());
            self.links.push(Link { url, title });
        }
        self
    }

    /// A field, unless it is empty.
    pub(crate) fn field(mut self, name: &str, value: impl Into<String>) -> Event {
        let value = value.into();
        if !value.is_empty() {
            self.fields.insert(name.to_owned(), value);
        }
        self
    }

    /// Its message, within the bounds of one. `original` is the tag that was meant, if another one had to be taken.
    pub(crate) fn message(self, source: &str, tag: Tag, original: Option<String>) -> Message {
        let mut message = Message::new(source, tag, self.text);
        message.severity = self.severity;
        message.status = self.status;
        message.title = Some(cut(&one_line(&self.title), MAX_TITLE)).filter(|title| !title.trim().is_empty());
        message.key = self.key.map(|key| if key.len() > MAX_TITLE { hash(&key) } else { key });
        message.links = self.links;
        let fields = self.fields.into_iter().take(FIELDS);
        message.fields = fields.map(|(name, value)| (cut(&name, FIELD), cut(&value, FIELD))).collect();
        if let Some(original) = original {
            message.fields.insert("tag".into(), cut(&original, FIELD));
        }
        message
    }
}

/// Values at JSON pointers. One that is missing, or of another type than is asked for, is empty.
pub(crate) trait Reach {
    /// A string, or a number or a truth value as text.
    fn text(&self, pointer: &str) -> String;
    /// The first of several that is not empty.
    fn first(&self, pointers: &[&str]) -> String;
    fn list(&self, pointer: &str) -> &[Value];
    fn is(&self, pointer: &str) -> bool;
    /// The entries of an object whose values are texts.
    fn entries(&self, pointer: &str) -> Vec<(String, String)>;
}

impl Reach for Value {
    fn text(&self, pointer: &str) -> String {
        match self.pointer(pointer) {
            Some(Value::String(text)) => text.clone(),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
            _ => String::new(),
        }
    }

    fn first(&self, pointers: &[&str]) -> String {
        let texts = pointers.iter().map(|pointer| self.text(pointer));
        texts.into_iter().find(|text| !text.is_empty()).unwrap_or_default()
    }

    fn list(&self, pointer: &str) -> &[Value] {
        self.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    fn is(&self, pointer: &str) -> bool {
        self.pointer(pointer).and_then(Value::as_bool).unwrap_or_default()
    }

    fn entries(&self, pointer: &str) -> Vec<(String, String)> {
        let entries = self.pointer(pointer).and_then(Value::as_object).into_iter().flatten();
        entries.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
    }
}

/// The parts that are not empty, with `between` them.
pub(crate) fn joined(parts: &[&str], between: &str) -> String {
    let parts: Vec<&str> = parts.iter().copied().filter(|part| !part.is_empty()).collect();
    parts.join(between)
}

/// The id of an event that its `parts` name together; none if one is missing, since others would have the same.
pub(crate) fn id_of(parts: &[&str]) -> String {
    if parts.contains(&"") { String::new() } else { parts.join("/") }
}

/// The first line of a text.
pub(crate) fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default().trim_end()
}

/// The beginning of a long name.
pub(crate) fn shortened(name: &str) -> String {
    match name.char_indices().nth(100) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

/// A severity by the name that others gave it, such as `page` or `P1`.
pub(crate) fn severity_named(name: &str) -> Option<Severity> {
    match name.to_ascii_lowercase().as_str() {
        "" => None,
        "page" | "p1" | "high" | "major" | "disaster" | "urgent" => Some(Severity::Critical),
        "p2" | "average" => Some(Severity::Error),
        "ticket" | "medium" | "moderate" | "minor" | "p3" => Some(Severity::Warning),
        "low" | "p4" => Some(Severity::Notice),
        "none" | "ok" | "p5" | "success" => Some(Severity::Info),
        name => name.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_of_any_form_is_read() {
        let value = json!({"a": {"b": 1.5, "c": true, "d": null, "e": [1], "f": "x"}});
        assert_eq!(
            ["/a/b", "/a/c", "/a/d", "/a/e", "/a", "/z"].map(|at| value.text(at)),
            ["1.5", "true", "", "", "", ""]
        );
        assert_eq!(value.first(&["/a/d", "/a/f"]), "x");
        assert_eq!((value.list("/a/e").len(), value.list("/a/b").len(), value.is("/a/c")), (1, 0, true));
        assert_eq!(value.entries("/a"), [("f".to_owned(), "x".to_owned())]);
    }

    #[test]
    fn only_addresses_of_the_web_are_links() {
        let event =
            Event::new("x").link("a", "javascript:alert(1)").link("", "https://a.example").link("b", "");
        assert_eq!(event.links, [Link { url: "https://a.example".into(), title: None }]);
    }
}
