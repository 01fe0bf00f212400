//! Queries of the index. Each walks over all messages from the newest to the oldest: a million take some tenths of a
//! second, and the file needs no tables besides those of the messages.
//! Blocking, and limited in time: an answer tells where the time ran out.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use memchr::memmem::Finder;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use tellhal::message::Severity;
use tellhal::timestamp::Timestamp;

use super::filter::{Choice, Filter};
use super::store::{Kind, Trace, digest, key, severity_number, signed, status_number, unsigned};

/// The time limit of one query.
pub(super) const BUDGET: Duration = Duration::from_secs(2);
/// Number of messages between two checks of the time.
pub(super) const STRIDE: u32 = 4096;
/// Number of hours that a [`Name`] counts separately.
pub const HOURS: usize = 24;
const HOUR: i64 = 3_600_000;

/// The result of a search, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hits {
    pub sequences: Vec<u64>,
    /// There may be more messages before this sequence.
    pub before: Option<u64>,
    /// The time limit was reached: messages before this time were not searched.
    pub until: Option<Timestamp>,
}

/// The numbers of matching messages in equal spans of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// By span, then by severity from least to most severe.
    pub spans: Vec<[u64; 6]>,
    /// The time limit was reached: messages before this time were not counted.
    pub until: Option<Timestamp>,
}

/// A source or a tag with its numbers of messages.
#[derive(Clone, Debug, PartialEq)]
pub struct Name {
    pub name: String,
    pub first: Timestamp,
    pub last: Timestamp,
    pub last_sequence: u64,
    /// The last full host name in its messages.
    pub host: Option<String>,
    /// The number of messages in the log.
    pub count: u64,
    /// The highest severity of the last [`HOURS`] hours.
    pub worst: Option<Severity>,
    /// The number of messages in each of the last hours, oldest first.
    pub hours: [u64; HOURS],
}

/// A page of sources or tags.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Names {
    /// Ordered by name.
    pub names: Vec<Name>,
    /// The time limit was reached: messages before this time were not counted.
    pub until: Option<Timestamp>,
}

/// The sequences of a message's traces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traces {
    /// Sequences of receipts.
    pub receipts: Vec<u64>,
    /// Sequences of dead letters.
    pub dead: Vec<u64>,
    /// Sequences of log entries that request another attempt.
    pub retries: Vec<u64>,
}

/// A message in the index.
struct Line {
    sequence: u64,
    at: i64,
    severity: usize,
    source: i64,
    tag: i64,
    status: Option<i64>,
    key: Option<i64>,
    host: Option<i64>,
}

/// The columns that [`Line::read`] takes.
const LINE: &str = "sequence, at, severity, source, tag, status, key, host";

impl Line {
    fn read(row: &Row<'_>) -> rusqlite::Result<Line> {
        let severity = usize::try_from(row.get::<_, i64>(2)?).unwrap_or(0).min(Severity::ALL.len() - 1);
        let (sequence, at) = (unsigned(row.get(0)?), row.get(1)?);
        let (source, tag) = (row.get(3)?, row.get(4)?);
        let (status, key, host) = (row.get(5)?, row.get(6)?, row.get(7)?);
        Ok(Line { sequence, at, severity, source, tag, status, key, host })
    }
}

/// A filter in terms of the index: with ids instead of names.
struct Wanted<'a> {
    severity: usize,
    /// `None` allows all.
    tags: Option<HashSet<i64>>,
    sources: Option<HashSet<i64>>,
    statuses: Choice<i64>,
    keys: Choice<i64>,
    hosts: Choice<i64>,
    words: Choice<Finder<'a>>,
}

/// The same choice with a number for each value.
fn numbered<T>(choice: &Choice<T>, number: impl Fn(&T) -> i64) -> Choice<i64> {
    let numbers = |values: &[T]| values.iter().map(&number).collect();
    Choice { wanted: numbers(&choice.wanted), excluded: numbers(&choice.excluded) }
}

impl<'a> Wanted<'a> {
    fn new(db: &Connection, filter: &'a Filter) -> rusqlite::Result<Self> {
        let tags = match filter.tags.is_empty() {
            true => None,
            false => Some(ids(db, Kind::Tag, |name| name.parse().is_ok_and(|tag| filter.has_tag(&tag)))?),
        };
        let sources = match filter.sources.is_empty() {
            true => None,
            false => Some(ids(db, Kind::Source, |name| filter.has_source(name))?),
        };
        Ok(Wanted {
            severity: filter.severity.map_or(0, |least| severity_number(least) as usize),
            tags,
            sources,
            statuses: numbered(&filter.statuses, |status| status_number(*status)),
            keys: numbered(&filter.keys, |key| digest(key)),
            hosts: numbered(&filter.hosts, |host| digest(host)),
            words: Choice {
                wanted: finders(&filter.words.wanted),
                excluded: finders(&filter.words.excluded),
            },
        })
    }

    fn takes(&self, line: &Line) -> bool {
        line.severity >= self.severity
            && self.tags.as_ref().is_none_or(|tags| tags.contains(&line.tag))
            && self.sources.as_ref().is_none_or(|sources| sources.contains(&line.source))
            && self.statuses.takes(|status| line.status == Some(*status))
            && self.keys.takes(|key| line.key == Some(*key))
            && self.hosts.takes(|host| line.host == Some(*host))
    }

    /// True if no message can match.
    fn is_empty(&self) -> bool {
        let none = |ids: &Option<HashSet<i64>>| ids.as_ref().is_some_and(HashSet::is_empty);
        none(&self.tags) || none(&self.sources)
    }
}

fn finders(words: &[String]) -> Vec<Finder<'_>> {
    words.iter().map(|word| Finder::new(word.as_bytes())).collect()
}

fn ids(db: &Connection, kind: Kind, wanted: impl Fn(&str) -> bool) -> rusqlite::Result<HashSet<i64>> {
    let mut select = db.prepare_cached("select id, name from name where kind = ?")?;
    let mut rows = select.query([kind as i64])?;
    let mut ids = HashSet::new();
    while let Some(row) = rows.next()? {
        if row.get_ref(1)?.as_str().is_ok_and(&wanted) {
            ids.insert(row.get(0)?);
        }
    }
    Ok(ids)
}

/// Calls `visit` with every matching message before `before`, newest first, until it returns false or the time is up. In
/// the latter case, returns how far the walk came.
fn walk(
    db: &Connection,
    filter: &Filter,
    before: u64,
    budget: Duration,
    mut visit: impl FnMut(&Line) -> bool,
) -> rusqlite::Result<Option<(u64, Timestamp)>> {
    let wanted = Wanted::new(db, filter)?;
    if wanted.is_empty() {
        return Ok(None);
    }
    let moment = |at: Option<Timestamp>| at.map(|at| first_at_or_after(db, at.0)).transpose();
    let (start, end) = (moment(filter.until)?, moment(filter.since)?.unwrap_or(0));
    let start = signed(before).min(start.unwrap_or(i64::MAX));
    let clock = Instant::now();
    let mut visited: u32 = 0;
    let mut late = || {
        visited = visited.wrapping_add(1);
        visited.is_multiple_of(STRIDE) && clock.elapsed() > budget
    };
    if wanted.words.is_empty() {
        let mut select = db.prepare_cached(&format!(
            "select {LINE} from message where sequence < ? and sequence >= ? order by sequence desc"
        ))?;
        let mut rows = select.query([start, end])?;
        while let Some(row) = rows.next()? {
            let line = Line::read(row)?;
            if wanted.takes(&line) && !visit(&line) {
                return Ok(None);
            }
            if late() {
                return Ok(Some((line.sequence, Timestamp(line.at))));
            }
        }
        return Ok(None);
    }
    let mut select = db.prepare_cached(
        "select sequence, text from haystack where sequence < ? and sequence >= ? order by sequence desc",
    )?;
    let mut line = db.prepare_cached(&format!("select {LINE} from message where sequence = ?"))?;
    let mut line = |sequence: i64| line.query_row([sequence], Line::read).optional();
    let mut rows = select.query([start, end])?;
    while let Some(row) = rows.next()? {
        let text = row.get_ref(1)?.as_bytes().unwrap_or_default();
        let late = late();
        if late || wanted.words.is_met(|word| word.find(text).is_some()) {
            let Some(line) = line(row.get(0)?)? else { continue };
            // When the time is up, this message need not be checked: the next query starts with it.
            if late {
                return Ok(Some((line.sequence + 1, Timestamp(line.at))));
            }
            if wanted.takes(&line) && !visit(&line) {
                return Ok(None);
            }
        }
    }
    Ok(None)
}

/// The first sequence at this time or later. Times never decrease in the index, so a binary search finds it.
fn first_at_or_after(db: &Connection, at: i64) -> rusqlite::Result<i64> {
    let mut ends =
        db.prepare_cached("select ifnull(min(sequence), 0), ifnull(max(sequence), 0) + 1 from message")?;
    let (mut low, mut high): (i64, i64) = ends.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut next =
        db.prepare_cached("select sequence, at from message where sequence >= ? order by sequence limit 1")?;
    while low < high {
        let middle = low + (high - low) / 2;
        let entry: Option<(i64, i64)> =
            next.query_row([middle], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        match entry {
            Some((sequence, time)) if time < at => low = sequence + 1,
            _ => high = middle,
        }
    }
    Ok(low)
}

pub(super) fn search(db: &Connection, filter: &Filter, before: u64, limit: usize) -> rusqlite::Result<Hits> {
    let mut sequences = Vec::new();
    let late = walk(db, filter, before, BUDGET, |line| {
        sequences.push(line.sequence);
        sequences.len() < limit
    })?;
    let (before, until) = match late {
        Some((sequence, at)) => (Some(sequence), Some(at)),
        None => (sequences.last().copied().filter(|_| sequences.len() >= limit), None),
    };
    Ok(Hits { sequences, before, until })
}

/// Counts the matching messages before sequence `before` in `spans` equal spans from `since` to `until`.
pub(super) fn count(
    db: &Connection,
    filter: &Filter,
    before: u64,
    (since, until): (Timestamp, Timestamp),
    spans: usize,
) -> rusqlite::Result<Counts> {
    let filter = Filter { since: Some(since), until: Some(until), ..filter.clone() };
    let mut counts = Counts { spans: vec![[0; 6]; spans], until: None };
    let late = walk(db, &filter, before, BUDGET, |line| {
        counts.spans[span(Timestamp(line.at), (since, until), spans)][line.severity] += 1;
        true
    })?;
    counts.until = late.map(|(_, at)| at);
    Ok(counts)
}

/// The number of the span, of `spans` equal spans, that contains `at`; the nearest one for a time outside.
pub fn span(at: Timestamp, (since, until): (Timestamp, Timestamp), spans: usize) -> usize {
    let whole = i128::from((until.0 - since.0).max(1));
    let part = i128::from(at.0 - since.0).clamp(0, whole - 1) * spans as i128 / whole;
    usize::try_from(part).unwrap_or(0).min(spans.saturating_sub(1))
}

/// The time of the oldest message in the index.
pub(super) fn first_at(db: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    let mut select = db.prepare_cached("select at from message order by sequence limit 1")?;
    Ok(select.query_row([], |row| row.get(0)).optional()?.map(Timestamp))
}

/// The sources or tags after the name `after`, ordered by name.
pub(super) fn names(
    db: &Connection,
    kind: Kind,
    after: &str,
    limit: usize,
    now: Timestamp,
) -> rusqlite::Result<Names> {
    let mut select = db.prepare_cached(
        "select id, name, first_at, last_at, last_sequence, host from name where kind = ? and name > ?
         order by name limit ?",
    )?;
    let mut rows = select.query(params![kind as i64, after, limit as i64])?;
    let (mut names, mut positions) = (Vec::new(), HashMap::new());
    while let Some(row) = rows.next()? {
        positions.insert(row.get::<_, i64>(0)?, names.len());
        names.push(Name {
            name: row.get(1)?,
            first: Timestamp(row.get(2)?),
            last: Timestamp(row.get(3)?),
            last_sequence: unsigned(row.get(4)?),
            host: row.get(5)?,
            count: 0,
            worst: None,
            hours: [0; HOURS],
        });
    }
    let late = walk(db, &Filter::default(), u64::MAX, BUDGET, |line| {
        let id = if kind == Kind::Source { line.source } else { line.tag };
        let Some(name) = positions.get(&id).and_then(|position| names.get_mut(*position)) else {
            return true;
        };
        name.count += 1;
        let ago = usize::try_from((now.0 - line.at).max(0) / HOUR).unwrap_or(usize::MAX);
        if ago < HOURS {
            name.hours[HOURS - 1 - ago] += 1;
            name.worst = name.worst.max(Some(Severity::ALL[line.severity]));
        }
        true
    })?;
    Ok(Names { names, until: late.map(|(_, at)| at) })
}

/// The log's sequences of the messages with this id, oldest first.
pub(super) fn find(db: &Connection, id: &str) -> rusqlite::Result<Vec<u64>> {
    let mut select =
        db.prepare_cached("select sequence from message where id = ? order by sequence limit 100")?;
    select.query_map([key(id)], |row| row.get(0).map(unsigned))?.collect()
}

/// The traces of any of these ids.
pub(super) fn traces(db: &Connection, ids: &[&str]) -> rusqlite::Result<Traces> {
    let mut traces = Traces::default();
    let mut select = db
        .prepare_cached("select kind, sequence from trace where id = ? order by kind, sequence limit 1000")?;
    for id in ids {
        let mut rows = select.query([key(id)])?;
        while let Some(row) = rows.next()? {
            let list = match row.get::<_, i64>(0)? {
                kind if kind == Trace::Receipt as i64 => &mut traces.receipts,
                kind if kind == Trace::Dead as i64 => &mut traces.dead,
                _ => &mut traces.retries,
            };
            list.push(unsigned(row.get(1)?));
        }
    }
    Ok(traces)
}

/// The hash of the configuration that was in force at `sequence`.
pub(super) fn configuration(db: &Connection, sequence: u64) -> rusqlite::Result<Option<String>> {
    // Before the first configuration on the log, the first one is in force.
    let mut select = db.prepare_cached(
        "select hash from configuration order by sequence > ?1, abs(sequence - ?1) limit 1",
    )?;
    select.query_row([signed(sequence)], |row| row.get(0)).optional()
}
