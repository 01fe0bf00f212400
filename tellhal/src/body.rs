//! The object of a payload in the format of messages, taken apart value by value: somebody else's program may have written it.
//! A value of another shape is used where its meaning is plain; else it is named for a mark, so that no value
//! vanishes unnoticed. Pure.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::severity::Severity;
use crate::timestamp::Timestamp;

/// The longest part of a value that a mark shows, in bytes.
const SHOWN: usize = 60;
/// The number of values that a mark names.
const NAMED: usize = 8;

/// The values of one message that are still to be read.
#[derive(Debug)]
pub(crate) struct Body {
    object: Map<String, Value>,
    /// The values that were not understood.
    unclear: Vec<String>,
}

impl Body {
    pub(crate) fn new(object: Map<String, Value>) -> Self {
        Body { object, unclear: Vec::new() }
    }

    /// The names and values that were not understood, if there are any.
    pub(crate) fn left(mut self) -> Option<String> {
        if self.unclear.len() > NAMED {
            self.unclear.truncate(NAMED);
            self.unclear.push("…".into());
        }
        (!self.unclear.is_empty()).then(|| self.unclear.join(", "))
    }

    /// The value `name`; `None` if it is absent or null.
    fn take(&mut self, name: &str) -> Option<Value> {
        self.object.remove(name).filter(|value| !value.is_null())
    }

    fn unclear(&mut self, name: &str, value: &Value) {
        if self.unclear.len() > NAMED {
            return;
        }
        let value = value.to_string();
        let end = value.floor_char_boundary(SHOWN);
        let more = if end < value.len() { "…" } else { "" };
        self.unclear.push(format!("{name} {}{more}", &value[..end]));
    }

    /// A text. A number would do as an id, but may as well be a row's number, which is no id of a message.
    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        match self.take(name)? {
            Value::String(text) => Some(text),
            value => {
                self.unclear(name, &value);
                None
            }
        }
    }

    /// A text, or a number or truth value as text.
    pub(crate) fn word(&mut self, name: &str) -> Option<String> {
        let value = self.take(name)?;
        let word = scalar(&value);
        if word.is_none() {
            self.unclear(name, &value);
        }
        word
    }

    /// A text, or any other value as JSON.
    pub(crate) fn anything(&mut self, name: &str) -> Option<String> {
        self.take(name).map(as_text)
    }

    /// RFC 3339, or seconds or milliseconds since 1970.
    pub(crate) fn time(&mut self, name: &str) -> Option<Timestamp> {
        let value = self.take(name)?;
        let time = match &value {
            Value::String(text) => text.parse().ok().or_else(|| since_1970(text.parse().ok()?)),
            value => value.as_f64().and_then(since_1970),
        };
        if time.is_none() {
            self.unclear(name, &value);
        }
        time
    }

    pub(crate) fn severity(&mut self) -> Severity {
        let Some(value) = self.take("severity").filter(|value| value != "") else {
            return Severity::default();
        };
        // 50.0 is 50.
        let whole = value.as_f64().filter(|number| number.fract() == 0.0).map(|number| number.to_string());
        let name = whole.or_else(|| scalar(&value)).unwrap_or_default();
        name.parse().unwrap_or_else(|_| {
            self.unclear("severity", &value);
            Severity::UNKNOWN
        })
    }

    /// One of a few words.
    pub(crate) fn one_of<T: FromStr>(&mut self, name: &str) -> Option<T> {
        let value = self.take(name).filter(|value| value != "")?;
        let known = value.as_str().and_then(|word| word.parse().ok());
        if known.is_none() {
            self.unclear(name, &value);
        }
        known
    }

    /// A field's value that is a list or an object is shown as JSON.
    pub(crate) fn fields(&mut self) -> BTreeMap<String, String> {
        match self.take("fields") {
            None => BTreeMap::new(),
            Some(Value::Object(fields)) => {
                let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
                fields.map(|(name, value)| (name, as_text(value))).collect()
            }
            Some(value) => {
                self.unclear("fields", &value);
                BTreeMap::new()
            }
        }
    }

    /// A list of links, or one; a text is an address.
    pub(crate) fn links<T: DeserializeOwned>(&mut self) -> Vec<T> {
        let links = match self.take("links") {
            None => return Vec::new(),
            Some(Value::Array(links)) => links,
            Some(link) => vec![link],
        };
        let link = |link| if let Value::String(url) = link { json!({"url": url}) } else { link };
        links.into_iter().filter_map(|value| self.read("links", link(value))).collect()
    }

    /// A list of files.
    pub(crate) fn files<T: DeserializeOwned>(&mut self) -> Vec<T> {
        match self.take("files") {
            None => Vec::new(),
            Some(Value::Array(files)) => {
                files.into_iter().filter_map(|file| self.read("files", file)).collect()
            }
            Some(value) => {
                self.unclear("files", &value);
                Vec::new()
            }
        }
    }

    /// An object of our own.
    pub(crate) fn object<T: DeserializeOwned>(&mut self, name: &str) -> Option<T> {
        let value = self.take(name)?;
        self.read(name, value)
    }

    fn read<T: DeserializeOwned>(&mut self, name: &str, value: Value) -> Option<T> {
        let read = T::deserialize(&value).ok();
        if read.is_none() {
            self.unclear(name, &value);
        }
        read
    }
}

fn as_text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        value => value.to_string(),
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
    }
}

/// A number of seconds up to the year 5138, or of milliseconds from 1973 on.
fn since_1970(number: f64) -> Option<Timestamp> {
    let milliseconds = if number < 1e11 { number * 1000.0 } else { number };
    (0.0..1e14).contains(&milliseconds).then_some(Timestamp(milliseconds as i64))
}
