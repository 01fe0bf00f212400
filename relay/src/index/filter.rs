//! The filter of messages by tag, severity, source, host, key, status, time and text. Pure. The page's script has the same
//! rules for live messages (`page/assets/filter.js`); `filter_cases.json` tests both.

use std::str::FromStr;

use tellhal::message::{Message, Severity, Status};
use tellhal::tag::{Pattern, Tag};
use tellhal::timestamp::Timestamp;

/// The conditions on a message; an absent condition always holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// The patterns that cover the tag.
    pub tags: Choice<Pattern>,
    /// The severity is this one or above.
    pub severity: Option<Severity>,
    pub sources: Choice<String>,
    pub hosts: Choice<String>,
    pub keys: Choice<String>,
    pub statuses: Choice<Status>,
    /// Words in the message's [`haystack`], all of them, and none of the excluded. They are in lower case.
    pub words: Choice<String>,
    /// The stream's time is this one or later.
    pub since: Option<Timestamp>,
    /// The stream's time is before this one.
    pub until: Option<Timestamp>,
}

/// Values that are wanted, and values that are excluded.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice<T> {
    pub wanted: Vec<T>,
    pub excluded: Vec<T>,
}

impl<T> Default for Choice<T> {
    fn default() -> Self {
        Choice { wanted: Vec::new(), excluded: Vec::new() }
    }
}

impl<T: FromStr> Choice<T> {
    /// Reads values; a `!` before a value excludes it.
    pub fn read<'a>(values: impl Iterator<Item = &'a str>) -> Result<Choice<T>, T::Err> {
        let mut choice = Choice::default();
        for value in values {
            match value.strip_prefix('!') {
                Some(value) => choice.excluded.push(value.parse()?),
                None => choice.wanted.push(value.parse()?),
            }
        }
        Ok(choice)
    }
}

impl<T> Choice<T> {
    /// True if every value is allowed.
    pub fn is_empty(&self) -> bool {
        self.wanted.is_empty() && self.excluded.is_empty()
    }

    /// True for a thing that is one of the wanted values, if there are any, and none of the excluded ones.
    pub fn takes(&self, is: impl Fn(&T) -> bool) -> bool {
        (self.wanted.is_empty() || self.wanted.iter().any(&is)) && !self.excluded.iter().any(&is)
    }

    /// True for a thing that has all wanted values, and none of the excluded ones.
    pub(super) fn is_met(&self, has: impl Fn(&T) -> bool) -> bool {
        self.wanted.iter().all(&has) && !self.excluded.iter().any(&has)
    }
}

impl Filter {
    /// True if the message matches. `at` is its time in the stream.
    pub fn matches(&self, message: &Message, at: Timestamp) -> bool {
        self.severity.is_none_or(|least| message.severity >= least)
            && self.since.is_none_or(|since| at >= since)
            && self.until.is_none_or(|until| at < until)
            && self.has_tag(&message.tag)
            && self.has_source(&message.source)
            && self.hosts.takes(|host| message.host.as_ref() == Some(host))
            && self.keys.takes(|key| message.key.as_ref() == Some(key))
            && self.statuses.takes(|status| message.status == Some(*status))
            && self.has_words(message)
    }

    pub(super) fn has_tag(&self, tag: &Tag) -> bool {
        self.tags.takes(|pattern| pattern.matches(tag))
    }

    pub(super) fn has_source(&self, source: &str) -> bool {
        self.sources.takes(|wanted| wanted == source)
    }

    fn has_words(&self, message: &Message) -> bool {
        if self.words.is_empty() {
            return true;
        }
        let text = haystack(message);
        self.words.is_met(|word| text.contains(word.as_str()))
    }
}

/// The words of a search, in lower case: separated by blanks, or together in double quotes. A `!` before a word or a
/// quote excludes it.
pub fn words(text: &str) -> Choice<String> {
    let mut words = Choice::default();
    let mut excludes = false;
    // Every second part was in quotes; the closing quote may be missing.
    for (i, part) in text.split('"').enumerate() {
        let part = part.to_lowercase();
        if i % 2 == 1 {
            words.add(part, excludes);
            continue;
        }
        excludes = part
            .strip_suffix('!')
            .is_some_and(|before| before.is_empty() || before.ends_with(char::is_whitespace));
        for word in part.split_whitespace() {
            match word.strip_prefix('!') {
                Some(word) => words.add(word.to_owned(), true),
                None => words.add(word.to_owned(), false),
            }
        }
    }
    words
}

impl Choice<String> {
    fn add(&mut self, word: String, excludes: bool) {
        let words = if excludes { &mut self.excluded } else { &mut self.wanted };
        if !word.is_empty() {
            words.push(word);
        }
    }
}

/// The searchable parts of a message, in lower case, one per line.
pub fn haystack(message: &Message) -> String {
    let mut text = String::with_capacity(message.text.len() + 128);
    let mut line = |parts: &[&str]| {
        if !text.is_empty() {
            text.push('\n');
        }
        parts.iter().for_each(|part| text.push_str(part));
    };
    line(&[message.tag.as_str()]);
    line(&[&message.source]);
    line(&[&message.id]);
    let run = message.run.as_ref().map(|run| &run.command);
    for part in [&message.title, &message.key, &message.host, &message.user].into_iter().flatten().chain(run)
    {
        line(&[part]);
    }
    for (name, value) in &message.fields {
        line(&[name, "=", value]);
    }
    for link in &message.links {
        line(&[link.title.as_deref().unwrap_or(""), " ", &link.url]);
    }
    line(&[&message.text]);
    text.to_lowercase()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Case {
        why: String,
        filter: Query,
        message: Message,
        at: Timestamp,
        matches: bool,
    }

    #[derive(Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Query {
        tag: Vec<String>,
        severity: Option<Severity>,
        source: Vec<String>,
        host: Vec<String>,
        key: Vec<String>,
        status: Vec<String>,
        text: String,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
    }

    fn choice<T: FromStr<Err: std::fmt::Debug>>(values: &[String]) -> Choice<T> {
        Choice::read(values.iter().map(String::as_str)).unwrap()
    }

    #[test]
    fn the_cases_shared_with_the_pages_script() {
        let cases: Vec<Case> = serde_json::from_str(include_str!("filter_cases.json")).unwrap();
        assert!(cases.len() > 60);
        for case in cases {
            let Query { tag, severity, source, host, key, status, text, since, until } = case.filter;
            let filter = Filter {
                tags: choice(&tag),
                severity,
                sources: choice(&source),
                hosts: choice(&host),
                keys: choice(&key),
                statuses: choice(&status),
                words: words(&text),
                since,
                until,
            };
            assert_eq!(filter.matches(&case.message, case.at), case.matches, "{}", case.why);
        }
    }
}
