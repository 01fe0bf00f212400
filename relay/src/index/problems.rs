//! The things that failed or started and are not over. A thing has a source and a key; its messages with a status are
//! folded in the order of the log. The fold is pure; the queries around it are limited in time like those of a search.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use rusqlite::{Connection, OptionalExtension as _, params};
use schemars::JsonSchema;
use serde::Serialize;
use tellhal::message::{Severity, Status};
use tellhal::timestamp::Timestamp;

use super::search::{BUDGET, STRIDE};
use super::store::{Kind, digest, status_of, unsigned};

/// The number of finished runs that tell how long a run usually takes.
const RUNS: usize = 10;
/// The longest time without an end, in ms, for a thing without a finished run.
const UNKNOWN: i64 = 86_400_000;
/// The time, in ms, that every run may take in addition to twice the longest of the last runs.
const SLACK: i64 = 60_000;

/// The state of a thing that is not over, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "ProblemState")]
pub enum State {
    /// It failed, and has neither succeeded nor been resolved since.
    Failed,
    /// It started, and its end was not told within its usual time.
    NoEnd,
    /// It started, and its usual time is not over.
    Running,
}

/// A thing that failed or started and is not over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub state: State,
    /// The sequence of its last failure, or of its start.
    pub sequence: u64,
    /// The time of its first failure, or of its start.
    pub since: Timestamp,
    /// The highest severity of its failures, or the severity of its start.
    pub severity: Severity,
    /// The number of its failures.
    pub failures: u64,
    /// It has started again since its last failure.
    pub again: bool,
    /// The end of its usual time, if it is running.
    pub due: Option<Timestamp>,
}

/// Open problems, the worst first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    pub problems: Vec<Problem>,
    /// The number of all of them.
    pub total: usize,
    /// The time limit was reached: some are missing.
    pub late: bool,
}

/// A message that says that a thing failed or started.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Asked {
    pub source: String,
    pub key: String,
    pub sequence: u64,
}

/// The rest of a thing's story after such a message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Story {
    /// The message that ended what this one says has failed or started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub over: Option<Ending>,
    /// The end of the usual time of what this one says has started, if it is running.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
}

/// The message after which something is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Ending {
    /// Its sequence in the log.
    pub sequence: u64,
    pub at: Timestamp,
    pub status: Status,
}

/// One message about a thing.
#[derive(Clone, Copy, Debug)]
struct Event {
    sequence: u64,
    status: Status,
    severity: Severity,
    at: Timestamp,
}

/// True if a message with the status `later` ends what one with the status `earlier` began.
pub fn ends(earlier: Status, later: Status) -> bool {
    match earlier {
        Status::Failed => matches!(later, Status::Succeeded | Status::Resolved),
        // A second start without an end between: the first run was killed.
        Status::Started => true,
        Status::Succeeded | Status::Resolved => false,
    }
}

/// The fold of a thing's messages.
#[derive(Default)]
struct Thing {
    begun: Option<Event>,
    /// The first and the last failure, the highest severity of all, and their number.
    failed: Option<(Event, Event, Severity, u64)>,
    /// How long the last runs took, in ms.
    took: VecDeque<i64>,
}

impl Thing {
    fn add(&mut self, event: Event) {
        if event.status == Status::Started {
            self.begun = Some(event);
            return;
        }
        if let Some(begun) = self.begun.take().filter(|_| event.status != Status::Resolved) {
            self.took.push_back(event.at.0 - begun.at.0);
            if self.took.len() > RUNS {
                self.took.pop_front();
            }
        }
        self.failed = match (event.status, self.failed.take()) {
            (Status::Failed, None) => Some((event, event, event.severity, 1)),
            (Status::Failed, Some((first, _, worst, count))) => {
                Some((first, event, worst.max(event.severity), count + 1))
            }
            _ => None,
        };
    }

    /// The end of the usual time of the run under way.
    fn due(&self) -> Option<Timestamp> {
        let allowed = self.took.iter().max().map_or(UNKNOWN, |longest| 2 * longest + SLACK);
        self.begun.map(|begun| Timestamp(begun.at.0.saturating_add(allowed)))
    }

    fn problem(&self, now: Timestamp) -> Option<Problem> {
        let due = self.due();
        if let Some((first, last, severity, failures)) = self.failed {
            let (state, again) = (State::Failed, self.begun.is_some());
            let (sequence, since) = (last.sequence, first.at);
            return Some(Problem { state, sequence, since, severity, failures, again, due });
        }
        let Event { sequence, severity, at: since, .. } = self.begun?;
        let state = if due.is_some_and(|due| due < now) { State::NoEnd } else { State::Running };
        Some(Problem { state, sequence, since, severity, failures: 0, again: false, due })
    }
}

/// Stops a walk that takes too long.
struct Clock {
    since: Instant,
    visited: u32,
}

impl Clock {
    fn new() -> Clock {
        Clock { since: Instant::now(), visited: 0 }
    }

    fn is_late(&mut self) -> bool {
        self.visited = self.visited.wrapping_add(1);
        self.visited.is_multiple_of(STRIDE) && self.since.elapsed() > BUDGET
    }
}

/// The worst open problems, at most `limit`.
pub(super) fn open(db: &Connection, limit: usize, now: Timestamp) -> rusqlite::Result<Problems> {
    let mut select = db.prepare_cached(
        "select sequence, status, severity, at, source, key from message
         where key is not null and status is not null order by source, key, sequence",
    )?;
    let mut rows = select.query([])?;
    let (mut problems, mut thing, mut current) = (Vec::new(), Thing::default(), None);
    let (mut clock, mut late) = (Clock::new(), false);
    while let Some(row) = rows.next()? {
        let name: (i64, i64) = (row.get(4)?, row.get(5)?);
        if current.replace(name) != Some(name) {
            problems.extend(std::mem::take(&mut thing).problem(now));
        }
        thing.add(event(row)?);
        late = clock.is_late();
        if late {
            break;
        }
    }
    problems.extend(thing.problem(now));
    problems.sort_by_key(|each| (each.state, std::cmp::Reverse((each.severity, each.sequence))));
    let total = problems.len();
    problems.truncate(limit);
    Ok(Problems { problems, total, late })
}

/// The rest of the story of each message, and true if the time limit was reached: then some are not known.
pub(super) fn stories(db: &Connection, asked: &[Asked]) -> rusqlite::Result<(Vec<Story>, bool)> {
    let mut things: HashMap<(&str, &str), HashMap<u64, usize>> = HashMap::new();
    for (position, Asked { source, key, sequence }) in asked.iter().enumerate() {
        things.entry((source, key)).or_default().insert(*sequence, position);
    }
    let mut stories = vec![Story::default(); asked.len()];
    let mut clock = Clock::new();
    let mut source_id = db.prepare_cached("select id from name where kind = ? and name = ?")?;
    let mut select = db.prepare_cached(
        "select sequence, status, severity, at from message
         where source = ? and key = ? and status is not null order by sequence",
    )?;
    for ((source, key), positions) in things {
        let id: Option<i64> =
            source_id.query_row(params![Kind::Source as i64, source], |row| row.get(0)).optional()?;
        let Some(id) = id else { continue };
        let mut rows = select.query(params![id, digest(key)])?;
        let mut thing = Thing::default();
        let mut pending: Vec<(Status, usize)> = Vec::new();
        while let Some(row) = rows.next()? {
            let now = event(row)?;
            let Event { sequence, status, at, .. } = now;
            pending.retain(|(earlier, position)| {
                let over = ends(*earlier, status);
                if over {
                    stories[*position].over = Some(Ending { sequence, at, status });
                }
                !over
            });
            thing.add(now);
            pending.extend(positions.get(&sequence).map(|position| (status, *position)));
            if clock.is_late() {
                return Ok((stories, true));
            }
        }
        for (_, position) in pending.into_iter().filter(|(status, _)| *status == Status::Started) {
            stories[position].due = thing.due();
        }
    }
    Ok((stories, false))
}

fn event(row: &rusqlite::Row<'_>) -> rusqlite::Result<Event> {
    let severity = usize::try_from(row.get::<_, i64>(2)?).unwrap_or(0).min(Severity::ALL.len() - 1);
    Ok(Event {
        sequence: unsigned(row.get(0)?),
        status: status_of(row.get(1)?),
        severity: Severity::ALL[severity],
        at: Timestamp(row.get(3)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    /// The problem at `now` after messages of these statuses, a time in minutes each.
    fn after(events: &[(Status, i64)], now: i64) -> Option<Problem> {
        let mut thing = Thing::default();
        for (sequence, (status, at)) in (1..).zip(events) {
            let severity = if *status == Status::Failed { Severity::Error } else { Severity::Info };
            thing.add(Event { sequence, status: *status, severity, at: Timestamp(at * MINUTE) });
        }
        thing.problem(Timestamp(now * MINUTE))
    }

    fn state(events: &[(Status, i64)], now: i64) -> Option<State> {
        after(events, now).map(|problem| problem.state)
    }

    use Status::{Failed, Resolved, Started, Succeeded};

    #[test]
    fn a_failure_is_open_until_it_succeeds_or_is_resolved() {
        assert_eq!(state(&[(Failed, 1)], 900), Some(State::Failed));
        for end in [Succeeded, Resolved] {
            assert_eq!(state(&[(Failed, 1), (end, 2)], 3), None);
            assert_eq!(state(&[(Failed, 1), (end, 2), (Failed, 3)], 4), Some(State::Failed));
        }
        let again = after(&[(Failed, 1), (Failed, 2), (Started, 3)], 4).unwrap();
        assert_eq!((again.state, again.again, again.failures), (State::Failed, true, 2));
        assert_eq!((again.sequence, again.since), (2, Timestamp(MINUTE)));
        assert_eq!(state(&[(Failed, 1), (Started, 3), (Succeeded, 4)], 5), None);
    }

    #[test]
    fn a_start_without_an_end_is_told_after_twice_the_usual_time() {
        for end in [Succeeded, Failed, Resolved] {
            let over = state(&[(Started, 1), (end, 2)], 3);
            assert_eq!(over, (end == Failed).then_some(State::Failed));
        }
        // Without an earlier run, a day.
        assert_eq!(state(&[(Started, 0)], 24 * 60), Some(State::Running));
        assert_eq!(state(&[(Started, 0)], 24 * 60 + 1), Some(State::NoEnd));
        // With an earlier run of five minutes: eleven.
        let runs = [(Started, 0), (Succeeded, 5), (Started, 10), (Succeeded, 11), (Started, 20)];
        assert_eq!(state(&runs, 31), Some(State::Running));
        assert_eq!(state(&runs, 32), Some(State::NoEnd));
        assert_eq!(after(&runs, 32).unwrap().due, Some(Timestamp(31 * MINUTE)));
        // Only the last runs count: a long one of long ago does not.
        let mut many = vec![(Started, 0), (Succeeded, 1000)];
        many.extend((0..10).flat_map(|n| [(Started, 2000 + 10 * n), (Succeeded, 2001 + 10 * n)]));
        many.push((Started, 3000));
        assert_eq!(state(&many, 3004), Some(State::NoEnd));
    }
}
