//! The filter of messages by tag, severity, source, time and text. Pure. The page's script has the same rules for live
//! messages (`page/assets/filter.js`); `filter_cases.json` tests both.

use tellhal::message::{Message, Severity};
use tellhal::tag::{Pattern, Tag};
use tellhal::timestamp::Timestamp;

/// The conditions on a message; an absent condition always holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// One of these patterns covers the tag.
    pub tags: Vec<Pattern>,
    /// The severity is this one or above.
    pub severity: Option<Severity>,
    /// The source is one of these.
    pub sources: Vec<String>,
    /// The message's [`haystack`] contains all of these words, which are in lower case.
    pub words: Vec<String>,
    /// The stream's time is this one or later.
    pub since: Option<Timestamp>,
    /// The stream's time is before this one.
    pub until: Option<Timestamp>,
}

impl Filter {
    /// True if the message matches. `at` is its time in the stream.
    pub fn matches(&self, message: &Message, at: Timestamp) -> bool {
        self.severity.is_none_or(|least| message.severity >= least)
            && self.since.is_none_or(|since| at >= since)
            && self.until.is_none_or(|until| at < until)
            && self.has_tag(&message.tag)
            && self.has_source(&message.source)
            && self.has_words(message)
    }

    pub(super) fn has_tag(&self, tag: &Tag) -> bool {
        self.tags.is_empty() || self.tags.iter().any(|pattern| pattern.matches(tag))
    }

    pub(super) fn has_source(&self, source: &str) -> bool {
        self.sources.is_empty() || self.sources.iter().any(|wanted| wanted == source)
    }

    fn has_words(&self, message: &Message) -> bool {
        if self.words.is_empty() {
            return true;
        }
        let text = haystack(message);
        self.words.iter().all(|word| text.contains(word.as_str()))
    }
}

/// The words of a search, in lower case: separated by blanks, or together in double quotes.
pub fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    // Every second part was in quotes; the closing quote may be missing.
    for (i, part) in text.split('"').enumerate() {
        let part = part.to_lowercase();
        if i % 2 == 1 {
            words.push(part);
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words.retain(|word| !word.is_empty());
    words
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
        tag: Vec<Pattern>,
        severity: Option<Severity>,
        source: Vec<String>,
        text: String,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
    }

    #[test]
    fn the_cases_shared_with_the_pages_script() {
        let cases: Vec<Case> = serde_json::from_str(include_str!("filter_cases.json")).unwrap();
        assert!(cases.len() > 20);
        for case in cases {
            let Query { tag: tags, severity, source: sources, text, since, until } = case.filter;
            let filter = Filter { tags, severity, sources, words: words(&text), since, until };
            assert_eq!(filter.matches(&case.message, case.at), case.matches, "{}", case.why);
        }
    }
}
