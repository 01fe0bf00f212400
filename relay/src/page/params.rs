//! The parameters of the API's addresses: which there are, and what they mean. A name that is not known is
//! refused, since whoever misspells a filter would else read everything.

use std::time::Duration;

use schemars::JsonSchema as _;
use serde_json::{Value, json};
use tellhal::message::{Severity, Status};
use tellhal::tag::Pattern;
use tellhal::timestamp::Timestamp;

use super::problem::Problem;
use crate::config::nearest;
use crate::index::filter::{Filter, words};

/// The most messages of one page.
pub(super) const MOST: usize = 500;
const LIMIT: usize = 100;
const SPANS_GIVEN: usize = 60;
/// The longest text of a parameter, in bytes.
const LONGEST: usize = 8 * 1024;

/// What a parameter is called, what it means, and its schema.
pub(super) struct Param {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) schema: fn() -> Value,
    /// It may be given several times.
    pub(super) many: bool,
    pub(super) required: bool,
}

const fn param(name: &'static str, about: &'static str, schema: fn() -> Value) -> Param {
    Param { name, about, schema, many: false, required: false }
}

fn text() -> Value {
    json!({"type": "string", "maxLength": LONGEST})
}

fn time() -> Value {
    json!({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "string", "pattern": "^[0-9]{1,6} ?(s|min|m|h|d|w)$"}]})
}

fn severity() -> Value {
    Severity::json_schema(&mut schemars::SchemaGenerator::default()).into()
}

fn status() -> Value {
    Status::json_schema(&mut schemars::SchemaGenerator::default()).into()
}

fn source() -> Value {
    json!({"type": "string", "pattern": "^[A-Za-z0-9_-]+$", "maxLength": 128})
}

const fn many(param: Param) -> Param {
    Param { many: true, ..param }
}

/// Which messages are meant.
pub(super) const FILTER: &[Param] = &[
    many(param(
        "tag",
        "A tag or a tag pattern: `*` stands for one word, a last `>` for the rest. Given several times, any of them.",
        || {
            let pattern = r"^(([A-Za-z0-9_-]+|\*)(\.([A-Za-z0-9_-]+|\*))*(\.>)?|>)$";
            json!({"type": "string", "maxLength": 256, "pattern": pattern})
        },
    )),
    param("severity", "This and above.", severity),
    many(param("source", "Who sent it. Given several times, any of them.", source)),
    param(
        "text",
        "Words that must all be in the message (title, text, fields, key, host, user, links, command, tag, source, \
         id), in any case; those in double quotes as one.",
        text,
    ),
    param("since", "From this moment on: RFC 3339, or a time ago such as `1h`.", time),
    param("until", "Before this moment: RFC 3339, or a time ago such as `1h`.", time),
];

/// How much of a list.
pub(super) const PAGED: &[Param] = &[
    param(
        "limit",
        "How many at most.",
        || json!({"type": "integer", "minimum": 1, "maximum": MOST, "default": LIMIT}),
    ),
    param("cursor", "Where the page before ended: its `cursor`.", text),
];

pub(super) const SPANS: &[Param] = &[param(
    "spans",
    "How many equal spans of time.",
    || json!({"type": "integer", "minimum": 1, "maximum": MOST, "default": SPANS_GIVEN}),
)];

pub(super) const AFTER: &[Param] = &[param(
    "after",
    "What comes after this sequence of the log. `Last-Event-ID` outranks it.",
    || json!({"type": "integer", "minimum": 0, "maximum": i64::MAX}),
)];

pub(super) const ROOM: &[Param] = &[param("room", "Of this room alone.", source)];

/// A message that is only thought of.
pub(super) const THOUGHT: &[Param] = &[
    Param {
        required: true,
        ..param(
            "tag",
            "The message's tag.",
            || json!({"type": "string", "pattern": r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$", "maxLength": 128}),
        )
    },
    param("severity", "How bad it is; `info` when absent.", severity),
    param("source", "Who sends it; `host` when absent.", source),
    param("title", "A headline.", text),
    param("text", "The contents.", text),
    param("key", "What it is about.", text),
    param("status", "Where the thing stands.", status),
    many(param(
        "field",
        "A field, as `name=value`.",
        || json!({"type": "string", "pattern": "^[^=]+=", "maxLength": LONGEST}),
    )),
    param(
        "at",
        "When it comes, in RFC 3339; now when absent.",
        || json!({"type": "string", "format": "date-time"}),
    ),
];

/// The parameters of one request.
#[derive(Debug)]
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    /// Refuses what is not among `known`, and what is given twice where once is the rule.
    pub(super) fn new(given: Vec<(String, String)>, known: &[&[Param]]) -> Result<Self, Problem> {
        let known = || known.iter().copied().flatten();
        for (i, (name, value)) in given.iter().enumerate() {
            let Some(param) = known().find(|param| param.name == name) else {
                let hint = nearest::hint(name, known().map(|param| param.name));
                return Err(Problem::bad(format!("there is no parameter {name:?} here: {hint}")));
            };
            if !param.many && given[..i].iter().any(|(other, _)| other == name) {
                return Err(Problem::bad(format!("{name} is given twice")));
            }
            if value.len() > LONGEST {
                return Err(Problem::bad(format!("{name} is longer than {LONGEST} bytes")));
            }
        }
        Ok(Params(given))
    }

    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// What is given and not empty: a form sends every field.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).find(|value| !value.is_empty())
    }

    pub(super) fn parse<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Problem>
    where
        T::Err: std::fmt::Display,
    {
        let Some(value) = self.get(name) else { return Ok(None) };
        value.parse().map(Some).map_err(|error| Problem::bad(format!("{name}: {error}")))
    }

    fn number(&self, name: &str, or: usize) -> Result<usize, Problem> {
        match self.parse::<usize>(name)? {
            None => Ok(or),
            Some(number @ 1..=MOST) => Ok(number),
            Some(_) => Err(Problem::bad(format!("{name} is from 1 to {MOST}"))),
        }
    }

    pub(super) fn limit(&self) -> Result<usize, Problem> {
        self.number("limit", LIMIT)
    }

    pub(super) fn spans(&self) -> Result<usize, Problem> {
        self.number("spans", SPANS_GIVEN)
    }

    /// A cursor that is a sequence.
    pub(super) fn before(&self) -> Result<Option<u64>, Problem> {
        let Some(cursor) = self.get("cursor") else { return Ok(None) };
        cursor.parse().map(Some).map_err(|_| Problem::bad("cursor is none that this relay gave"))
    }

    fn time(&self, name: &str) -> Result<Option<Timestamp>, Problem> {
        let Some(text) = self.get(name) else { return Ok(None) };
        // In an address a plus is a blank, and people forget that.
        if let Ok(at) = text.replace(' ', "+").parse::<Timestamp>() {
            return Ok(Some(at));
        }
        match humantime::parse_duration(text) {
            Ok(ago) => Ok(Some(Timestamp(Timestamp::now().0.saturating_sub(millis(ago))))),
            Err(_) => {
                let what = format!(
                    "{name}: {text:?} is no moment; write 2026-11-23T03:00:00Z or 1h for an hour ago"
                );
                Err(Problem::bad(what))
            }
        }
    }

    /// Which messages are meant.
    pub(super) fn filter(&self) -> Result<Filter, Problem> {
        let given = |name| self.all(name).filter(|value: &&str| !value.is_empty());
        let tags: Result<Vec<Pattern>, _> = given("tag").map(str::parse).collect();
        Ok(Filter {
            tags: tags.map_err(|bad| Problem::bad(format!("tag: {bad}")))?,
            severity: self.parse("severity")?,
            sources: given("source").map(str::to_owned).collect(),
            words: words(self.get("text").unwrap_or_default()),
            since: self.time("since")?,
            until: self.time("until")?,
        })
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
