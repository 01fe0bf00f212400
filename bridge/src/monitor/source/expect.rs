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
    /// The time in which the next one must come, from a second to 366 days; with `finished`, the time that a run may take.
    #[serde(default)]
    within: Option<String>,
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
            None => {
                problems.push(KeyProblem::new("within", "the time is missing", "such as within = \"25h\""))
            }
            Some(Err((what, hint))) => problems.push(KeyProblem::new("within", what, hint)),
            Some(Ok(_)) => {}
        }
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
    fn rule(&self) -> Option<Rule> {
        let kind = match (self.finished, self.every_source) {
            (true, _) => Kind::Run,
            (false, true) => Kind::Source,
            (false, false) => Kind::Message,
        };
        Some(Rule {
            seen: self.seen.as_deref()?.parse().ok()?,
            status: self.status.map(StatusName::status),
            within: long(self.within.as_deref()?).ok()?,
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
    within: Duration,
    grace: Duration,
    kind: Kind,
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
        let is_late = now.since(at.plus(self.within).plus(self.grace)) > Duration::ZERO;
        let (time, within) = (Zone::default().date_and_clock(at), humantime::format_duration(self.within));
        let words = match (self.kind, is_late, was_seen) {
            (Kind::Run, true, _) => format!("began at {time} and has not ended within {within}"),
            (Kind::Run, false, _) => format!("runs since {time}"),
            (_, true, true) => format!("{} last came at {time}, not within {within}", self.seen),
            (_, true, false) => format!("{} has not come within {within} since {time}", self.seen),
            (_, false, true) => format!("{} came at {time}", self.seen),
            (_, false, false) => format!("{} is awaited since {time}", self.seen),
        };
        Reading::new(if is_late { Level::Wrong } else { Level::Good }, words).of(series)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(more: &str) -> Rule {
        let toml = format!("seen = 'backup.>'\nwithin = '1h'\ngrace = '10m'\n{more}");
        let config: Config = toml::from_str(&toml).unwrap();
        assert_eq!(config.problems(None), []);
        config.rule().unwrap()
    }

    fn at(minute: u64) -> Timestamp {
        Timestamp(1_795_751_600_000).plus(Duration::from_secs(minute * 60))
    }

    fn message(source: &str, status: Option<Status>) -> Message {
        let mut message = Message::new(source, "backup.mysql".parse().unwrap(), "");
        message.status = status;
        message
    }

    fn levels(memory: &Memory, rule: &Rule, minute: u64) -> Vec<(String, Level)> {
        let readings = memory.readings(rule, at(minute));
        readings.into_iter().map(|reading| (reading.series, reading.level)).collect()
    }

    #[test]
    fn it_is_armed_at_once_and_again_by_each_message() {
        let rule = rule("status = 'succeeded'");
        let mut memory = Memory::armed(7, at(0));
        let level = |memory: &Memory, minute| levels(memory, &rule, minute)[0].1;
        assert_eq!((level(&memory, 70), level(&memory, 71)), (Level::Good, Level::Wrong));
        memory.take(&rule, &message("a", Some(Status::Failed)), at(50)).unwrap();
        assert_eq!(level(&memory, 71), Level::Wrong);
        memory.take(&rule, &message("a", Some(Status::Succeeded)), at(72)).unwrap();
        assert_eq!((level(&memory, 142), level(&memory, 143)), (Level::Good, Level::Wrong));
    }

    #[test]
    fn every_source_that_once_told_must_tell_again() {
        let rule = rule("every_source = true");
        let mut memory = Memory::armed(7, at(0));
        memory.take(&rule, &message("a", None), at(1)).unwrap();
        memory.take(&rule, &message("b", None), at(30)).unwrap();
        let (good, wrong) = (Level::Good, Level::Wrong);
        let all = |a, b| [("", good), ("a", a), ("b", b)].map(|(series, level)| (series.to_owned(), level));
        assert_eq!(levels(&memory, &rule, 71), all(good, good));
        assert_eq!(levels(&memory, &rule, 72), all(wrong, good));
        assert_eq!(levels(&memory, &rule, 101), all(wrong, wrong));
    }

    #[test]
    fn a_run_that_began_must_end() {
        let rule = rule("finished = true");
        let mut memory = Memory::armed(7, at(0));
        memory.take(&rule, &message("a", Some(Status::Started)), at(1)).unwrap();
        memory.take(&rule, &message("b", Some(Status::Succeeded)), at(1)).unwrap();
        memory.take(&rule, &message("a", None), at(2)).unwrap();
        let run = |level| [(String::new(), Level::Good), ("a/backup.mysql".to_owned(), level)];
        assert_eq!(levels(&memory, &rule, 71), run(Level::Good));
        assert_eq!(levels(&memory, &rule, 72), run(Level::Wrong));
        memory.take(&rule, &message("a", Some(Status::Failed)), at(73)).unwrap();
        assert_eq!(levels(&memory, &rule, 74), run(Level::Good), "it is shown once more as it ends");
        let stored: Memory = serde_json::from_value(serde_json::to_value(&memory).unwrap()).unwrap();
        assert_eq!(levels(&stored, &rule, 75), [(String::new(), Level::Good)]);
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        let keys = |toml: &str, clear| {
            let problems = toml::from_str::<Config>(toml).unwrap().problems(clear);
            problems.iter().map(|problem| problem.key).collect::<Vec<_>>()
        };
        assert_eq!(keys("", None), ["seen", "within"]);
        assert_eq!(keys("seen = 'a b'\nwithin = '0s'\ngrace = 'x'", None), ["seen", "within", "grace"]);
        assert_eq!(keys("seen = 'a'\nwithin = '1h'\nfinished = true\nstatus = 'failed'", None), ["finished"]);
        assert_eq!(keys("seen = 'a'\nwithin = '1h'", Some(1.0)), ["within"]);
    }
}
