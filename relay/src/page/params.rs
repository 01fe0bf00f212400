//! The query parameters of the API, with their meaning and schema. An unknown name is refused: a misspelled filter
//! would otherwise return all messages.

use std::fmt::Display;
use std::str::FromStr;

use schemars::JsonSchema as _;
use serde_json::{Value, json};
use tellhal::message::{Severity, Status};
use tellhal::tag::is_token;
use tellhal::timestamp::Timestamp;

use crate::index::filter::{Choice, Filter, words};
use service::http::problem::Problem;
use tellhal::nearest;

/// The largest number of messages, and of names, in one page.
pub(super) const MOST: usize = 500;
const MOST_NAMES: usize = 5000;
/// The largest number of values of one parameter.
pub(super) const MOST_VALUES: usize = 50;
const LIMIT_GIVEN: usize = 100;
const SPANS_GIVEN: usize = 60;
/// The longest value of a parameter, in characters. A whole address must fit into 64 KiB, and a character may take
/// twelve bytes in it.
const LONGEST: usize = 1000;
/// The longest name, in bytes.
const WORD: usize = 256;

/// A parameter's name, description and schema.
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

/// A value of the filter that may be excluded.
fn pattern(pattern: &str, longest: usize) -> Value {
    json!({"type": "string", "pattern": format!("^!?({pattern})$"), "maxLength": longest})
}

/// A text of the filter that may be excluded.
fn name() -> Value {
    json!({"type": "string", "pattern": "^!?[^!]", "maxLength": LONGEST})
}

/// A source's or a room's name.
fn word() -> Value {
    json!({"type": "string", "pattern": "^[A-Za-z0-9_-]+$", "maxLength": WORD})
}

const fn many(param: Param) -> Param {
    Param { many: true, ..param }
}

/// The filter of messages.
pub(super) const FILTER: &[Param] = &[
    many(param(
        "tag",
        "A tag or a tag pattern: `*` stands for one word, a last `>` for all words that follow. May be repeated: \
         messages with any of them. A `!` before a tag, source, host, key or status excludes it.",
        || pattern(r"([A-Za-z0-9_-]+|\*)(\.([A-Za-z0-9_-]+|\*))*(\.>)?|>", WORD),
    )),
    param("severity", "This severity and above.", severity),
    many(param("source", "The sender. May be repeated: messages from any of them.", || {
        pattern("[A-Za-z0-9_-]+", WORD)
    })),
    many(param("host", "The sender's full host name. May be repeated: messages from any of them.", name)),
    many(param(
        "key",
        "The thing that the message is about. May be repeated: messages about any of them.",
        name,
    )),
    many(param(
        "status",
        "`started`, `succeeded`, `failed` or `resolved`. May be repeated: messages with any of them.",
        || pattern("started|succeeded|failed|resolved", WORD),
    )),
    param(
        "text",
        "Words that must all occur in the message (title, text, fields, key, host, user, links, command, tag, source, \
         id), in upper or lower case. Words in double quotes must occur together. A `!` before a word or a quote \
         excludes it.",
        text,
    ),
    param("since", "Messages from this time on: RFC 3339, or a time ago such as `1h`.", time),
    param("until", "Messages before this time: RFC 3339, or a time ago such as `1h`.", time),
];

const LIMITED: Param = param(
    "limit",
    "The largest number of results.",
    || json!({"type": "integer", "minimum": 1, "maximum": MOST, "default": LIMIT_GIVEN}),
);
const AFTER_WHICH: &str = "The `cursor` of the page before.";

/// The largest number of results of a list without pages.
pub(super) const LIMIT: &[Param] = &[LIMITED];

/// The paging of a list that goes back in time.
pub(super) const PAGED: &[Param] =
    &[LIMITED, param("cursor", AFTER_WHICH, || json!({"type": "string", "pattern": "^[0-9]{1,18}$"}))];

/// The paging of a list of names.
pub(super) const NAMED: &[Param] = &[
    param(
        "limit",
        "The largest number of results.",
        || json!({"type": "integer", "minimum": 1, "maximum": MOST_NAMES, "default": MOST_NAMES}),
    ),
    param("cursor", AFTER_WHICH, || json!({"type": "string", "pattern": "^[A-Za-z0-9_.-]{1,256}$"})),
];

pub(super) const SPANS: &[Param] = &[param(
    "spans",
    "The number of equal spans of time.",
    || json!({"type": "integer", "minimum": 1, "maximum": MOST, "default": SPANS_GIVEN}),
)];

pub(super) const AFTER: &[Param] = &[param(
    "after",
    "Messages after this sequence of the log. `Last-Event-ID` outranks it.",
    || json!({"type": "integer", "minimum": 0, "maximum": i64::MAX}),
)];

pub(super) const FORMAT: &[Param] =
    &[param("format", "The format of the file.", || json!({"enum": ["jsonl", "csv"], "default": "jsonl"}))];

/// The format of an exported file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Format {
    #[default]
    Jsonl,
    Csv,
}

pub(super) const ROOM: &[Param] = &[param("room", "Only this room.", word)];

/// The parts of a message that is not sent, but only explained.
pub(super) const HYPOTHETICAL: &[Param] = &[
    Param {
        required: true,
        ..param(
            "tag",
            "The message's tag.",
            || json!({"type": "string", "pattern": r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$", "maxLength": 128}),
        )
    },
    param("severity", "The severity; `info` when absent.", severity),
    param("source", "The sender; `host` when absent.", word),
    param("title", "The headline.", text),
    param("text", "The body.", text),
    param("key", "Names the thing the message is about.", text),
    param("status", "The state of that thing.", status),
    many(param(
        "field",
        "A field, as `name=value`.",
        || json!({"type": "string", "pattern": "^[^=]+=", "maxLength": LONGEST}),
    )),
    param(
        "at",
        "The time of the message, in RFC 3339; now when absent.",
        || json!({"type": "string", "format": "date-time"}),
    ),
];

/// The parameters of one request.
#[derive(Debug)]
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    /// Refuses parameters that are not in `allowed`, and repeated ones that may not be repeated.
    pub(super) fn new(given: Vec<(String, String)>, allowed: &[&[Param]]) -> Result<Self, Problem> {
        let allowed = || allowed.iter().copied().flatten();
        for (i, (name, value)) in given.iter().enumerate() {
            let Some(param) = allowed().find(|param| param.name == name) else {
                let hint = nearest::hint(name, allowed().map(|param| param.name));
                return Err(Problem::bad(format!("unknown parameter {name:?}: {hint}")));
            };
            if !param.many && given[..i].iter().any(|(other, _)| other == name) {
                return Err(Problem::bad(format!("{name} is given twice")));
            }
            if given[..i].iter().filter(|(other, _)| other == name).count() == MOST_VALUES {
                return Err(Problem::bad(format!("{name} is given more than {MOST_VALUES} times")));
            }
            if value.chars().count() > LONGEST {
                return Err(Problem::bad(format!("{name} is longer than {LONGEST} characters")));
            }
        }
        Ok(Params(given))
    }

    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// A text; an empty text counts as absent.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|text| !text.is_empty())
    }

    pub(super) fn parse<T: FromStr<Err: Display>>(&self, name: &str) -> Result<Option<T>, Problem> {
        let Some(value) = self.get(name) else { return Ok(None) };
        value.parse().map(Some).map_err(|error| Problem::bad(format!("{name}: {error}")))
    }

    /// Our own names only: other systems' names and numbers are for messages.
    pub(super) fn severity(&self) -> Result<Option<Severity>, Problem> {
        let severity: Option<Severity> = self.parse("severity")?;
        let is_ours = severity.is_none_or(|severity| self.get("severity") == Some(severity.as_str()));
        if is_ours {
            Ok(severity)
        } else {
            Err(Problem::bad("severity: only the names of tellhal's severities"))
        }
    }

    fn number(&self, name: &str, or: usize, most: usize) -> Result<usize, Problem> {
        match self.parse::<usize>(name)? {
            None => Ok(or),
            Some(number) if (1..=most).contains(&number) => Ok(number),
            Some(_) => Err(Problem::bad(format!("{name} must be from 1 to {most}"))),
        }
    }

    pub(super) fn limit(&self) -> Result<usize, Problem> {
        self.number("limit", LIMIT_GIVEN, MOST)
    }

    /// The number of names.
    pub(super) fn name_limit(&self) -> Result<usize, Problem> {
        self.number("limit", MOST_NAMES, MOST_NAMES)
    }

    pub(super) fn spans(&self) -> Result<usize, Problem> {
        self.number("spans", SPANS_GIVEN, MOST)
    }

    pub(super) fn format(&self) -> Result<Format, Problem> {
        match self.get("format") {
            None | Some("jsonl") => Ok(Format::Jsonl),
            Some("csv") => Ok(Format::Csv),
            Some(other) => Err(Problem::bad(format!("format: {other:?} is unknown; it is jsonl or csv"))),
        }
    }

    /// A cursor that is a sequence.
    pub(super) fn before(&self) -> Result<Option<u64>, Problem> {
        let sequence = |cursor: &str| cursor.parse::<u64>().ok().filter(|_| cursor.len() <= 18);
        self.cursor(sequence)
    }

    /// A cursor that is a name.
    pub(super) fn after_name(&self) -> Result<Option<String>, Problem> {
        let legal = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        let legal = |cursor: &str| (1..=WORD).contains(&cursor.len()) && cursor.chars().all(legal);
        self.cursor(|cursor| legal(cursor).then(|| cursor.to_owned()))
    }

    fn cursor<T>(&self, read: impl Fn(&str) -> Option<T>) -> Result<Option<T>, Problem> {
        let Some(cursor) = self.get("cursor") else { return Ok(None) };
        read(cursor).map(Some).ok_or_else(|| Problem::bad("cursor is not a cursor from this relay"))
    }

    /// The first value that is not one word of a name's characters is refused.
    fn words(&self, name: &str, values: &[&str]) -> Result<(), Problem> {
        match values.iter().find(|word| !is_token(word) || word.len() > WORD) {
            Some(word) => Err(Problem::bad(format!("{name}: {word:?} is not one word of A-Z a-z 0-9 _ -"))),
            None => Ok(()),
        }
    }

    /// A name of one word.
    pub(super) fn word(&self, name: &str) -> Result<Option<&str>, Problem> {
        let word = self.get(name);
        self.words(name, word.as_slice())?;
        Ok(word)
    }

    /// One room, by its name.
    pub(super) fn room(&self) -> Result<Option<&str>, Problem> {
        self.word("room")
    }

    /// Values that may be excluded by a `!`.
    fn choice<T: FromStr<Err: Display>>(&self, name: &str) -> Result<Choice<T>, Problem> {
        Choice::read(self.all(name)).map_err(|bad| Problem::bad(format!("{name}: {bad}")))
    }

    /// Texts that may be excluded by a `!`; none may be empty.
    fn names(&self, name: &str) -> Result<Choice<String>, Problem> {
        let choice: Choice<String> = self.choice(name)?;
        match choice.wanted.iter().chain(&choice.excluded).any(String::is_empty) {
            true => Err(Problem::bad(format!("{name} is empty"))),
            false => Ok(choice),
        }
    }

    fn time(&self, name: &str) -> Result<Option<Timestamp>, Problem> {
        let Some(text) = self.get(name) else { return Ok(None) };
        // In an address a plus sign means a blank, which is easily forgotten.
        if let Ok(at) = text.replace(' ', "+").parse::<Timestamp>() {
            return Ok(Some(at));
        }
        match ago(text) {
            Some(ago) => Ok(Some(Timestamp(Timestamp::now().0 - ago))),
            None => {
                let what = format!(
                    "{name}: {text:?} is not a time; write 2026-11-23T03:00:00Z, or 1h for an hour ago"
                );
                Err(Problem::bad(what))
            }
        }
    }

    /// The filter of messages.
    pub(super) fn filter(&self) -> Result<Filter, Problem> {
        let sources: Vec<&str> =
            self.all("source").map(|source| source.strip_prefix('!').unwrap_or(source)).collect();
        self.words("source", &sources)?;
        Ok(Filter {
            tags: self.choice("tag")?,
            severity: self.severity()?,
            sources: self.choice("source")?,
            hosts: self.names("host")?,
            keys: self.names("key")?,
            statuses: self.choice("status")?,
            words: words(self.get("text").unwrap_or_default()),
            since: self.time("since")?,
            until: self.time("until")?,
        })
    }
}

/// `1h`, `30 min`, `7d` in ms: a number of at most six digits and a unit.
fn ago(text: &str) -> Option<i64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).filter(|digits| (1..=6).contains(digits))?;
    let (number, unit) = text.split_at(digits);
    let unit = match unit.strip_prefix(' ').unwrap_or(unit) {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        _ => return None,
    };
    Some(number.parse::<i64>().ok()? * unit * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Status::{Failed, Started};

    fn params(query: &str) -> Result<Params, String> {
        let given = serde_urlencoded::from_str(query).unwrap();
        Params::new(given, &[FILTER, PAGED, ROOM]).map_err(|problem| problem.detail().to_owned())
    }

    #[test]
    fn a_misspelled_or_wrong_parameter_is_reported() {
        for (query, wanted) in [
            ("sevrity=error", "unknown parameter \"sevrity\": did you mean severity?"),
            ("since=1h&since=2h", "since is given twice"),
        ] {
            assert_eq!(params(query).unwrap_err(), wanted);
        }
        for (query, wanted) in [
            ("severity=bad", "severity: severity \"bad\" is unknown; it is one of debug, "),
            ("tag=a..b", "tag: \"a..b\" is not a tag pattern; "),
            ("since=yesterday", "since: \"yesterday\" is not a time; write 2026-11-23T03:00:00Z, or 1h for "),
            ("until=0", "until: \"0\" is not a time"),
            ("since=", "since: \"\" is not a time"),
            ("tag=", "tag: \"\" is not a tag pattern"),
            ("source=a.b", "source: \"a.b\" is not one word"),
            ("source=!a.b", "source: \"a.b\" is not one word"),
            ("source=!", "source: \"\" is not one word"),
            ("tag=!a..b", "tag: \"a..b\" is not a tag pattern; "),
            ("status=bad", "status: status \"bad\" is unknown; it is one of started, "),
            ("status=!bad", "status: status \"bad\" is unknown"),
            ("key=", "key is empty"),
            ("host=!", "host is empty"),
        ] {
            let problem = params(query).unwrap().filter().unwrap_err();
            assert!(problem.detail().starts_with(wanted), "{query}: {problem:?}");
        }
        assert!(params("limit=0").unwrap().limit().is_err() && params("limit=501").unwrap().limit().is_err());
        assert!(params("cursor=x").unwrap().before().is_err() && params("room=a.*").unwrap().room().is_err());
    }

    #[test]
    fn the_filter_has_what_was_given_and_a_plus_may_be_a_blank() {
        let query = "text=&since=2026-11-25T03:00:00+01:00&tag=a.>&tag=b";
        let filter = params(query).unwrap().filter().unwrap();
        assert_eq!(filter.tags.wanted.len(), 2);
        assert_eq!(filter.since.unwrap().to_string(), "2026-11-25T02:00:00Z");
        assert_eq!(Filter { tags: Choice::default(), since: None, ..filter }, Filter::default());
        let query = "key=a+b&key=!c&host=!db1.example&status=failed&status=!started&source=!x";
        let filter = params(query).unwrap().filter().unwrap();
        assert_eq!((filter.keys.wanted, filter.keys.excluded), (vec!["a b".into()], vec!["c".into()]));
        assert_eq!(filter.hosts.excluded, ["db1.example"]);
        assert_eq!((filter.statuses.wanted, filter.statuses.excluded), (vec![Failed], vec![Started]));
        assert_eq!(filter.sources.excluded, ["x"]);
        assert_eq!(params("limit=7").unwrap().limit().unwrap(), 7);
    }

    #[test]
    fn times_ago_are_a_number_and_a_unit() {
        let hour = 3_600_000;
        let cases =
            [("1h", hour), ("90 min", 3 * hour / 2), ("2d", 48 * hour), ("0s", 0), ("1w", 168 * hour)];
        for (text, wanted) in cases {
            assert_eq!(ago(text), Some(wanted), "{text}");
        }
        for text in ["", "h", "1", "-1h", "1h 30m", "1234567s", "1 y", "1  h"] {
            assert_eq!(ago(text), None, "{text}");
        }
    }
}
