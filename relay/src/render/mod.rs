//! The text of deliveries as lines, before any platform's markup. Pure.
//!
//! All lines are clean: no control characters but tab and newline, no terminal escapes, no text that runs backwards. A
//! platform's own markup is escaped by its room.

pub mod budget;

use std::collections::BTreeMap;
use std::time::Duration;

use tellhal::audit::FileEntry;
use tellhal::message::{Mark, Message, Run, Status};
use tellhal::{Severity, Timestamp};

use crate::delivery::{Content, Delivery, Summary};
use crate::room::{Counted, Post};

use service::text::{clean_lines, cut, one_line, without_blank_ends};
use service::zone::Zone;

/// The longest headline in a list, in bytes.
const LISTED_HEADLINE: usize = 200;
/// The longest field's value, in bytes.
const FIELD: usize = 500;
/// The number of tags that a count names.
const TAGS: usize = 5;

/// A delivery in its parts, each clean.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// As it is shown: what is over is no alarm, however severe it was.
    pub severity: Severity,
    pub tag: String,
    pub source: Option<String>,
    /// The time of day in the log, with its zone.
    pub clock: String,
    /// One line.
    pub headline: String,
    /// The outcome: `failed, exit 1, 3m 20s`.
    pub outcome: Option<String>,
    /// The rest of the text, line by line.
    pub body: Vec<String>,
    /// The body's end says more than its beginning, as with a command's output.
    pub keep_end: bool,
    /// The body has columns, which line up only in a fixed width.
    pub table: bool,
    pub fields: Vec<(String, String)>,
    /// Title, if there is one, and address.
    pub links: Vec<(Option<String>, String)>,
    /// Notes of the relay, such as a rewritten tag.
    pub notes: Vec<String>,
}

impl View {
    /// The parts of a delivery, with times in `zone`.
    pub fn of(delivery: &Delivery, zone: &Zone) -> View {
        let mut view = match &delivery.content {
            Content::Message(message) => View::of_message(message),
            Content::Summary(summary) => View::of_summary(summary, zone),
        };
        // A plain payload is an ordinary message for a reader.
        let marks = delivery.marks.iter().filter(|mark| !matches!(mark, Mark::Foreign));
        view.notes.extend(marks.map(|mark| one_line(&mark.to_string())));
        view.clock = zone.clock(delivery.at);
        view
    }

    fn of_message(message: &Message) -> View {
        let lines = clean_lines(&message.text);
        let title = message.title.as_deref().map(one_line).filter(|title| !title.is_empty());
        let (headline, body) = match (title, lines.split_first()) {
            (Some(title), _) if lines.len() == 1 && lines[0] == title => (title, &[][..]),
            (Some(title), _) => (title, &lines[..]),
            // The first row lines up only with the others.
            (None, Some((first, _))) if is_table(&lines) => (one_line(first), &lines[..]),
            (None, Some((first, rest))) => (one_line(first), rest),
            (None, None) => {
                (message.run.as_ref().map(|run| one_line(&run.command)).unwrap_or_default(), &[][..])
            }
        };
        let outcome = outcome(&headline, message.status, message.run.as_ref());
        let headline = if headline.is_empty() { "(empty)".into() } else { headline };
        let fields =
            message.fields.iter().map(|(name, value)| (one_line(name), cut(&one_line(value), FIELD)));
        // A file without a link is on the page alone.
        let is_linked = |file: &&FileEntry| message.links.iter().any(|link| link.url.ends_with(&file.object));
        let on_page = message.files.iter().filter(|file| !is_linked(file));
        View {
            severity: shown_severity(message),
            tag: message.tag.as_str().to_owned(),
            source: Some(one_line(&message.source)),
            clock: String::new(),
            outcome,
            body: without_blank_ends(body).to_vec(),
            keep_end: message.run.is_some(),
            table: is_table(body),
            fields: fields.filter(|(_, value)| !says(&headline, value)).collect(),
            links: message
                .links
                .iter()
                .map(|link| (link.title.as_deref().map(one_line), one_line(&link.url)))
                .collect(),
            notes: on_page.map(|file| format!("{} is on the page", one_line(&file.name))).collect(),
            headline,
        }
    }

    fn of_summary(summary: &Summary, zone: &Zone) -> View {
        let (first, last) = clock_pair(summary.first, summary.last, zone);
        let headline = one_line(&summary.headline);
        View {
            severity: summary.severity,
            tag: common_tag(&summary.tags),
            source: summary.source.as_deref().map(one_line),
            clock: String::new(),
            headline: format!("{} more from {first} to {last}, the last: {headline}", summary.count),
            outcome: None,
            body: if summary.tags.len() > 1 { vec![by_tag(&summary.tags)] } else { Vec::new() },
            keep_end: false,
            table: false,
            fields: Vec::new(),
            links: Vec::new(),
            notes: vec![format!("held back by route {}", one_line(&summary.route))],
        }
    }

    /// `WARNING`, `ERROR` or `CRITICAL`; `None` for lower severities.
    pub fn marker(&self) -> Option<&'static str> {
        match self.severity {
            Severity::Debug | Severity::Info | Severity::Notice => None,
            Severity::Warning => Some("WARNING"),
            Severity::Error => Some("ERROR"),
            Severity::Critical => Some("CRITICAL"),
        }
    }

    /// `[backup.mysql] db1: Nightly backup finished`, without the marker before it.
    pub fn head(&self) -> String {
        self.head_of(&self.headline)
    }

    fn head_of(&self, headline: &str) -> String {
        let source = self.source.as_deref().map(|source| format!(" {source}:")).unwrap_or_default();
        let outcome = self.outcome.as_deref().map(|outcome| format!(" ({outcome})")).unwrap_or_default();
        format!("[{}]{source} {headline}{outcome}", self.tag)
    }

    /// The lines after the text: fields, links, notes.
    pub fn tail(&self) -> Vec<String> {
        let mut tail = Vec::new();
        if !self.fields.is_empty() {
            let fields: Vec<String> =
                self.fields.iter().map(|(name, value)| format!("{name}={}", quoted(value))).collect();
            tail.push(fields.join(" "));
        }
        tail.extend(self.links.iter().map(|(title, url)| match title {
            Some(title) if !title.is_empty() => format!("{title}: {url}"),
            _ => url.clone(),
        }));
        if !self.notes.is_empty() {
            tail.push(format!("({})", self.notes.join("; ")));
        }
        tail
    }

    /// All of it, the marker first.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![marked(self.marker(), self.head())];
        lines.extend(self.body.iter().cloned());
        lines.extend(self.tail());
        lines
    }

    /// Its line in a list: `03:00:01Z ERROR [backup.mysql] db1: …`, the marker left to the caller.
    pub fn listed(&self) -> String {
        let moved = self.notes.iter().find(|note| note.starts_with("for room "));
        let moved = moved.map(|note| format!(" ({note})")).unwrap_or_default();
        format!("{}{moved}", self.head_of(&cut(&self.headline, LISTED_HEADLINE)))
    }
}

/// A whole post in plain lines.
pub fn lines(post: &Post) -> Vec<String> {
    match &post.listed[..] {
        [delivery] if !post.is_batch() => View::of(delivery, &post.zone).lines(),
        listed => {
            let line = |delivery: &Delivery| {
                let view = View::of(delivery, &post.zone);
                format!("{} {}", view.clock, marked(view.marker(), view.listed()))
            };
            listed
                .iter()
                .map(line)
                .chain(post.counted.as_ref().map(|counted| counted_line(counted, &post.zone)))
                .collect()
        }
    }
}

/// `… and 12 more, first 03:00:01Z, last 03:10:44Z, worst error: backup.> 12`.
pub fn counted_line(counted: &Counted, zone: &Zone) -> String {
    let (first, last) = clock_pair(counted.first, counted.last, zone);
    let worst = match counted.worst {
        Severity::Debug | Severity::Info | Severity::Notice => String::new(),
        worst => format!(", worst {worst}"),
    };
    format!("… and {} more, first {first}, last {last}{worst}: {}", counted.count, by_tag(&counted.tags))
}

/// True if most lines have a gap between two words, as the output of `df` and `ps` has.
fn is_table(lines: &[String]) -> bool {
    let has_gap = |line: &&String| line.trim().contains("  ") || line.trim().contains('\t');
    let (rows, all) = (lines.iter().filter(has_gap).count(), lines.iter().filter(|line| !line.is_empty()));
    rows >= 2 && 2 * rows > all.count()
}

/// `head`, `body` and `tail` in at most `max` lines and one more that counts what was cut. The body gives way first: in its
/// middle, since the reason of a failure is as often at the end of a long text as at its beginning, or with `keep_end` at
/// its beginning.
pub fn fit(
    head: Vec<String>,
    body: Vec<String>,
    tail: Vec<String>,
    max: usize,
    keep_end: bool,
) -> Vec<String> {
    let total = head.len() + body.len() + tail.len();
    if total <= max {
        return [head, body, tail].concat();
    }
    let head_room = head.len().min(max);
    let tail_room = tail.len().min(max - head_room);
    let body_room = max - head_room - tail_room;
    let mark = format!("… ({} more lines)", total - max);
    let mut lines = head[..head_room].to_vec();
    let body_room = body_room.min(body.len());
    let first = if keep_end { 0 } else { body_room / 2 };
    lines.extend_from_slice(&body[..first]);
    lines.push(mark);
    lines.extend_from_slice(&body[body.len() - (body_room - first)..]);
    lines.extend_from_slice(&tail[..tail_room]);
    lines
}

/// Two moments, with their days if those differ.
fn clock_pair(first: Timestamp, last: Timestamp, zone: &Zone) -> (String, String) {
    match zone.is_one_day(first, last) {
        true => (zone.clock(first), zone.clock(last)),
        false => (zone.date_and_clock(first), zone.date_and_clock(last)),
    }
}

fn marked(marker: Option<&str>, line: String) -> String {
    match marker {
        Some(marker) => format!("{marker} {line}"),
        None => line,
    }
}

/// The end of a failure has the failure's severity, so that the same rooms get it, and is good news.
fn shown_severity(message: &Message) -> Severity {
    match message.status {
        Some(Status::Resolved) => message.severity.min(Severity::Info),
        _ => message.severity,
    }
}

/// True if a headline has this value as whole words, so that a reader needs it no second time. A shorter value may stand there by chance.
fn says(headline: &str, value: &str) -> bool {
    let is_word = |character: Option<char>| character.is_some_and(char::is_alphanumeric);
    value.chars().count() >= 2
        && headline.match_indices(value).any(|(at, _)| {
            let (before, after) = (&headline[..at], &headline[at + value.len()..]);
            !is_word(before.chars().next_back()) && !is_word(after.chars().next())
        })
}

/// The outcome, without the parts that the headline already has.
fn outcome(headline: &str, status: Option<Status>, run: Option<&Run>) -> Option<String> {
    // The headline that `tellhal run` makes: "tar failed with status 2 after 341ms".
    let says_all = |run: &Run| {
        let rest = headline.strip_prefix(&run.command).unwrap_or_default();
        rest.starts_with(' ') && (rest.contains(" in ") || rest.contains(" after "))
    };
    if run.is_some_and(says_all) {
        return None;
    }
    let mut parts = Vec::new();
    parts.extend(status.map(|status| status.as_str().to_owned()));
    if let Some(run) = run {
        parts.extend(run.exit.filter(|exit| *exit != 0).map(|exit| format!("exit {exit}")));
        parts.extend(run.signal.map(|signal| format!("signal {signal}")));
        parts.extend(run.duration.map(duration));
    }
    let headline = headline.to_lowercase();
    parts.retain(|part| !headline.contains(part.as_str()));
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn duration(seconds: f64) -> String {
    let whole = Duration::try_from_secs_f64(seconds).unwrap_or_default().as_secs();
    match whole {
        0..10 => format!("{:.1}s", seconds.max(0.0)),
        10..60 => format!("{whole}s"),
        60..3600 => format!("{}m {}s", whole / 60, whole % 60),
        _ => format!("{}h {}m", whole / 3600, whole / 60 % 60),
    }
}

fn quoted(value: &str) -> String {
    if value.is_empty() || value.contains([' ', '=']) { format!("\"{value}\"") } else { value.to_owned() }
}

/// `backup.mysql 8, deploy 4`; of many tags those that share a first token together, the most frequent first.
fn by_tag(tags: &BTreeMap<String, u64>) -> String {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for (tag, count) in tags {
        let name = match tag.split_once('.') {
            Some((first, _)) if tags.len() > TAGS => format!("{first}.>"),
            _ => tag.clone(),
        };
        *counts.entry(name).or_default() += count;
    }
    let mut counts: Vec<(String, u64)> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let rest: u64 = counts.iter().skip(TAGS).map(|(_, count)| count).sum();
    counts.truncate(TAGS);
    if rest > 0 {
        counts.push(("others".into(), rest));
    }
    let counts: Vec<String> =
        counts.iter().map(|(tag, count)| format!("{} {count}", one_line(tag))).collect();
    counts.join(", ")
}

/// The one tag, or what the tags have in common as a pattern.
fn common_tag(tags: &BTreeMap<String, u64>) -> String {
    let mut names = tags.keys();
    let Some(first) = names.next() else { return ">".into() };
    let mut common: Vec<&str> = first.split('.').collect();
    for name in names.clone() {
        let same = common.iter().zip(name.split('.')).take_while(|(a, b)| **a == *b).count();
        common.truncate(same);
    }
    if tags.len() > 1 {
        common.push(">");
    }
    one_line(&common.join("."))
}

#[cfg(test)]
mod tests;
