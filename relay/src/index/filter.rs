//! Which messages somebody wants to see: by tag, severity, source, time and text. Pure. The page's script has
//! the same rules for what comes live (`page/assets/filter.js`); `filter_cases.json` is held against both.

use tellhal::message::{Message, Severity};
use tellhal::tag::{Pattern, Tag};
use tellhal::timestamp::Timestamp;

/// What must hold of a message; everything that is absent holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// Any of these covers the tag.
    pub tags: Vec<Pattern>,
    /// This and above.
    pub severity: Option<Severity>,
    /// Any of these.
    pub sources: Vec<String>,
    /// Each of these, in lower case, is in what [`haystack`] makes of it.
    pub words: Vec<String>,
    /// From this moment of the stream's clock on.
    pub since: Option<Timestamp>,
    /// Before this one.
    pub until: Option<Timestamp>,
}

impl Filter {
    /// Whether the message is meant. `at` is the stream's time of it.
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

/// The words of a search, in lower case: separated by blanks, those in double quotes as one.
pub fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    // Every second part stands in quotes, the last one perhaps without its end.
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

/// Everything a reader may look for in a message, in lower case, a line each.
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
        filter: Asked,
        message: Message,
        at: Timestamp,
        matches: bool,
    }

    #[derive(Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Asked {
        tag: Vec<Pattern>,
        severity: Option<Severity>,
        source: Vec<String>,
        text: String,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
    }

    #[test]
    fn the_cases_it_shares_with_the_pages_script() {
        let cases: Vec<Case> = serde_json::from_str(include_str!("filter_cases.json")).unwrap();
        assert!(cases.len() > 20);
        for case in cases {
            let Asked { tag: tags, severity, source: sources, text, since, until } = case.filter;
            let filter = Filter { tags, severity, sources, words: words(&text), since, until };
            assert_eq!(filter.matches(&case.message, case.at), case.matches, "{}", case.why);
        }
    }
}
