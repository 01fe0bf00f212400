//! A message that should have come and has not: each period, from each source that once sent one, or as the end of a run that
//! has begun. It reads the log from the place where it was armed, and keeps that place with its state, so that a restart or a
//! takeover misses nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use service::config::{KeyProblem, duration_in};
use service::stored;
use service::text::{cut, one_line};
use service::zone::Zone;
use tellhal::message::{Message, Status, read};
use tellhal::subject::Subject;
use tellhal::{Pattern, Timestamp};
use tokio::time::Instant;

use super::{NAME, Opening, Settings, Source, Uses, no_threshold};
use crate::bus::Bus;
use crate::monitor::core::NoData;
use crate::monitor::observation::{Level, Observation, Observed, Reading};
use crate::schedule::when::When;

/// The longest period.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);
/// The most sources or runs of one monitor.
const MOST: usize = 1000;
/// The longest time of reading in one look.
const READING: Duration = Duration::from_secs(10);

/// `[monitors.expect]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[schemars(extend("additionalProperties" = false))]
pub(crate) struct Config {
    /// The tag of the expected message, or a pattern of tags.
    #[serde(default)]
    seen: Option<String>,
    /// Only messages with this status count.
    #[serde(default)]
    status: Option<StatusName>,
    /// The time in which the next one must come, from a second to 366 days; with `finished`, the time that a run may take; with `at` or
    /// `cron`, the time before each of their times in which it may come: since the time before when absent.
    #[serde(default)]
    within: Option<String>,
    /// The time of day by which one must come, such as `03:30`, instead of a period. One that a change of the clocks skips is at the
    /// change; one that comes twice, the first time.
    #[serde(default)]
    at: Option<String>,
    /// Weekdays for `at`, such as `mon-fri`; every day when absent.
    #[serde(default)]
    days: Option<String>,
    /// A cron pattern of the times by which one must come, as in schedules.
    #[serde(default)]
    cron: Option<String>,
    /// The time zone of `at` and `cron`, such as `Europe/Dublin`; the one for all (`zone`) when absent.
    #[serde(default)]
    zone: Option<String>,
    /// The zone for all.
    #[serde(skip)]
    zone_of_all: Zone,
    /// A further time before it is missed, up to 366 days; none when absent.
    #[serde(default)]
    grace: Option<String>,
    /// Each source that once sent such a message must send the next one.
    #[serde(default)]
    every_source: bool,
    /// Each run that a message with the status `started` begins must succeed, fail or be resolved.
    #[serde(default)]
    finished: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum StatusName {
    Started,
    Succeeded,
    Failed,
    Resolved,
}

impl StatusName {
    fn status(self) -> Status {
        match self {
            StatusName::Started => Status::Started,
            StatusName::Succeeded => Status::Succeeded,
            StatusName::Failed => Status::Failed,
            StatusName::Resolved => Status::Resolved,
        }
    }
}

impl Settings for Config {
    fn problems(&self, clear: Option<f64>) -> Vec<KeyProblem> {
        let mut problems = Vec::new();
        match self.seen.as_deref().map(str::parse::<Pattern>) {
            None => {
                problems.push(KeyProblem::new("seen", "the tag is missing", "such as seen = \"backup.>\""))
            }
            Some(Err(bad)) => problems.push(KeyProblem::new("seen", bad.what, bad.hint)),
            Some(Ok(_)) => {}
        }
        match self.within.as_deref().map(long) {
            None if !self.has_times() => {
                let hint = "such as within = \"25h\", or at = \"03:30\"";
                problems.push(KeyProblem::new("within", "the time is missing", hint));
            }
            Some(Err((what, hint))) => problems.push(KeyProblem::new("within", what, hint)),
            None | Some(Ok(_)) => {}
        }
        problems.extend(self.calendar_problems());
        if let Some(Err((what, hint))) = self.grace.as_deref().map(long) {
            problems.push(KeyProblem::new("grace", what, hint));
        }
        if self.finished && (self.every_source || self.status.is_some()) {
            let what = "finished is about runs, whatever their sources and ends";
            problems.push(KeyProblem::new("finished", what, "leave out every_source and status"));
        }
        problems.extend(clear.map(|_| no_threshold("within")));
        problems
    }

    fn no_data(&self) -> Option<NoData> {
        // A run that is over has no reading any more, and all is well then.
        Some(NoData::Ok)
    }

    fn uses(&self) -> Uses {
        Uses::Log
    }

    fn open(&self, opening: &Opening) -> anyhow::Result<Box<dyn Source>> {
        let rule = self.rule().ok_or_else(|| anyhow::anyhow!("it expects nothing"))?;
        let bus = opening.bus.ok_or_else(|| anyhow::anyhow!("there is no connection"))?;
        Ok(Box::new(Expect { bus: bus.clone(), rule }))
    }
}

impl Config {
    /// Gives times of day that name no zone this one.
    pub(super) fn in_zone(&mut self, zone: &Zone) {
        self.zone_of_all = zone.clone();
    }

    /// True if it is expected by times of a calendar, not each period.
    fn has_times(&self) -> bool {
        self.at.is_some() || self.cron.is_some()
    }

    /// The times by which it is expected. `None` if it is expected each period.
    fn times(&self) -> Option<Result<When, Vec<KeyProblem>>> {
        if !self.has_times() {
            return None;
        }
        let zone = match self.zone.as_deref().map(Zone::named) {
            Some(Err((what, hint))) => return Some(Err(vec![KeyProblem::new("zone", what, hint)])),
            Some(Ok(zone)) => zone,
            None => self.zone_of_all.clone(),
        };
        match (&self.at, &self.cron) {
            (Some(at), _) => Some(When::on_days(at, self.days.as_deref(), zone)),
            (None, Some(cron)) => {
                Some(When::by_cron(cron, zone, Timestamp::now()).map_err(|problem| vec![problem]))
            }
            (None, None) => None,
        }
    }

    fn calendar_problems(&self) -> Vec<KeyProblem> {
        let mut problems = self.times().and_then(Result::err).unwrap_or_default();
        let mut wrong = |key, what: &str, hint: &str| problems.push(KeyProblem::new(key, what, hint));
        if self.at.is_some() && self.cron.is_some() {
            wrong("cron", "at is given too", "write one of them");
        }
        if self.days.is_some() && self.at.is_none() {
            wrong("days", "belongs to at", "add at = \"03:30\"");
        }
        if self.zone.is_some() && !self.has_times() {
            wrong("zone", "a period is the same in every zone", "leave it out, or add at = \"03:30\"");
        }
        if self.finished && self.has_times() {
            wrong("finished", "a run has a time that it may take, not one of day", "write within alone");
        }
        problems
    }

    fn rule(&self) -> Option<Rule> {
        let kind = match (self.finished, self.every_source) {
            (true, _) => Kind::Run,
            (false, true) => Kind::Source,
            (false, false) => Kind::Message,
        };
        Some(Rule {
            seen: self.seen.as_deref()?.parse().ok()?,
            status: self.status.map(StatusName::status),
            due: match self.times() {
                None => Due::Within(long(self.within.as_deref()?).ok()?),
                Some(times) => Due::By {
                    times: times.ok()?,
                    within: self.within.as_deref().and_then(|text| long(text).ok()),
                },
            },
            grace: self.grace.as_deref().and_then(|grace| long(grace).ok()).unwrap_or_default(),
            kind,
        })
    }
}

fn long(text: &str) -> Result<Duration, (String, String)> {
    duration_in(text, Duration::from_secs(1), LONGEST, "from 1s to 366 days, such as 25h")
}

/// The rule of one monitor.
#[derive(Clone, Debug)]
struct Rule {
    seen: Pattern,
    status: Option<Status>,
    due: Due,
    grace: Duration,
    kind: Kind,
}

/// The time by which a message must come.
#[derive(Clone, Debug)]
enum Due {
    /// So long after the last one, or after the beginning.
    Within(Duration),
    /// Each of these times. A message counts for one if it comes so long before it at most, or later; without such a bound, if it
    /// comes after the one before and its grace.
    By { times: When, within: Option<Duration> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A further message.
    Message,
    /// A further message of each source.
    Source,
    /// The end of each run.
    Run,
}

/// All that was read of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Memory {
    /// The place of the last message that was read.
    sequence: u64,
    /// The time at which the monitor began.
    armed: Timestamp,
    /// The last message, or the beginning of a run, by its series.
    #[serde(default)]
    seen: BTreeMap<String, Timestamp>,
    /// The ends that were read since the last look.
    #[serde(skip)]
    ended: BTreeMap<String, Status>,
}

struct Expect {
    bus: Bus,
    rule: Rule,
}

#[async_trait]
impl Source for Expect {
    async fn observe(&self, memory: &Value, now: Timestamp) -> Observation {
        self.read(memory, now).await.map_err(|error| format!("{error:#}"))
    }
}

impl Expect {
    async fn read(&self, memory: &Value, now: Timestamp) -> anyhow::Result<Observed> {
        let log = self.bus.names.ops_stream();
        let last = self.bus.js.get_stream(&log).await.with_context(|| format!("stream {log}"))?;
        let last = last.cached_info().state.last_sequence;
        let mut memory = match memory {
            Value::Null => Memory::armed(last, now),
            memory => serde_json::from_value(memory.clone())?,
        };
        if memory.sequence > last {
            // The log was made anew.
            memory.sequence = 0;
        }
        let all = self.bus.names.all_ops();
        let filter = format!("{}*.{}", all.trim_end_matches('>'), self.rule.seen);
        let until = Instant::now() + READING;
        let mut is_behind = false;
        while let Some(logged) = stored::first_from(&self.bus.js, &log, &filter, memory.sequence + 1).await? {
            if let Some(Subject::Ops { source, tag }) = self.bus.names.parse(&logged.subject) {
                let received = read(source, tag, &logged.payload, logged.sequence, logged.at);
                memory.take(&self.rule, &received.message, logged.at)?;
            }
            memory.sequence = logged.sequence;
            if Instant::now() > until {
                is_behind = true;
                break;
            }
        }
        let mut readings = memory.readings(&self.rule, now);
        if is_behind {
            // Messages that are not read yet may be the expected ones.
            readings.iter_mut().for_each(|reading| reading.level = Level::Between);
        }
        Ok(Observed { readings, memory: serde_json::to_value(&memory)?, ..Observed::default() })
    }
}

impl Memory {
    fn armed(sequence: u64, now: Timestamp) -> Memory {
        Memory { sequence, armed: now, seen: BTreeMap::new(), ended: BTreeMap::new() }
    }

    /// Takes a message of an expected tag that was logged at `at`.
    fn take(&mut self, rule: &Rule, message: &Message, at: Timestamp) -> anyhow::Result<()> {
        let key = || match message.key.as_deref() {
            Some(key) => one_line(key),
            None => message.tag.to_string(),
        };
        let series = match rule.kind {
            Kind::Message => String::new(),
            Kind::Source => message.source.clone(),
            Kind::Run => cut(&format!("{}/{}", message.source, key()), NAME),
        };
        let is_counted = match (rule.kind, message.status) {
            (Kind::Run, Some(Status::Started)) => true,
            (Kind::Run, Some(end)) => {
                if self.seen.remove(&series).is_some() {
                    self.ended.insert(series, end);
                }
                return Ok(());
            }
            (Kind::Run, None) => false,
            (_, status) => rule.status.is_none_or(|wanted| status == Some(wanted)),
        };
        if is_counted {
            anyhow::ensure!(
                self.seen.len() < MOST || self.seen.contains_key(&series),
                "more than {MOST} sources or runs; write a narrower tag"
            );
            self.ended.remove(&series);
            self.seen.insert(series, at);
        }
        Ok(())
    }

    fn readings(&self, rule: &Rule, now: Timestamp) -> Vec<Reading> {
        if rule.kind == Kind::Message {
            let seen = self.seen.get("").copied();
            return vec![rule.reading("", seen.unwrap_or(self.armed), seen.is_some(), now)];
        }
        let whole = Reading::new(Level::Good, format!("{} are watched", self.seen.len()));
        let open = self.seen.iter().map(|(series, at)| rule.reading(series, *at, true, now));
        let ended = self.ended.iter();
        let ended = ended.map(|(series, end)| Reading::new(Level::Good, end.as_str()).of(series.as_str()));
        [whole].into_iter().chain(open).chain(ended).collect()
    }
}

impl Rule {
    fn reading(&self, series: &str, at: Timestamp, was_seen: bool, now: Timestamp) -> Reading {
        let (is_late, words) = match &self.due {
            Due::Within(within) => self.after_a_period(*within, at, was_seen, now),
            Due::By { times, within } => self.by_times(times, *within, at, was_seen, now),
        };
        Reading::new(if is_late { Level::Wrong } else { Level::Good }, words).of(series)
    }

    fn by_times(
        &self,
        times: &When,
        within: Option<Duration>,
        at: Timestamp,
        was_seen: bool,
        now: Timestamp,
    ) -> (bool, String) {
        let ever = Timestamp(i64::MIN);
        let moment = Duration::from_millis(1);
        // The last time whose grace is over, and the time up to which a message is too old for it.
        let over = times.last_between(ever, now.minus(self.grace).minus(moment));
        let missed = over.filter(|due| {
            let before = || times.last_between(ever, due.minus(moment)).map(|due| due.plus(self.grace));
            let too_old = within.map(|within| due.minus(within)).or_else(before);
            too_old.is_some_and(|too_old| at <= too_old)
        });
        let (time, seen) = (Zone::default().date_and_clock(at), &self.seen);
        let words = match (missed, was_seen) {
            (Some(due), true) => format!("{seen} has not come by {}, the last at {time}", times.shown(due)),
            (Some(due), false) => format!("{seen} has not come by {}", times.shown(due)),
            (None, true) => format!("{seen} came at {time}"),
            (None, false) => format!("{seen} is awaited since {time}, {times}"),
        };
        (missed.is_some(), words)
    }

    fn after_a_period(
        &self,
        within: Duration,
        at: Timestamp,
        was_seen: bool,
        now: Timestamp,
    ) -> (bool, String) {
        let is_late = now.since(at.plus(within).plus(self.grace)) > Duration::ZERO;
        let (time, within) = (Zone::default().date_and_clock(at), humantime::format_duration(within));
        let words = match (self.kind, is_late, was_seen) {
            (Kind::Run, true, _) => format!("began at {time} and has not ended within {within}"),
            (Kind::Run, false, _) => format!("runs since {time}"),
            (_, true, true) => format!("{} last came at {time}, not within {within}", self.seen),
            (_, true, false) => format!("{} has not come within {within} since {time}", self.seen),
            (_, false, true) => format!("{} came at {time}", self.seen),
            (_, false, false) => format!("{} is awaited since {time}", self.seen),
        };
        (is_late, words)
    }
}

#[cfg(test)]
mod tests;
