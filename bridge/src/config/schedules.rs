//! Checks the schedules of all files.

use std::collections::BTreeMap;
use std::time::Duration;

use service::config::{KeyProblem, duration_in};
use service::zone::Zone;
use tellhal::tag::{Tag, is_token};

use super::raw::{Checks, Document};
use crate::command::person::{Account, People};
use crate::schedule::job::Job;
use crate::schedule::raw::Schedule;
use crate::schedule::record::ON_TIME;
use crate::schedule::when::{When, bad_time};

/// The age up to which a missed time of day is caught up.
const CATCH_UP: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
/// The interval if one is wrong, so that the checks go on.
const ANY: When = When::Every(DAY);

/// The jobs, and the zone of all that name none.
pub(super) fn check(checks: &mut Checks<'_>) -> (Vec<Job>, Zone) {
    let zone = zone_of_all(checks);
    let mut places = BTreeMap::new();
    let mut jobs = Vec::new();
    for document in checks.documents {
        for (i, raw) in document.raw.schedules.iter().enumerate() {
            let key = format!("schedules[{i}]");
            let mut check = ScheduleCheck { checks, document, key: &key, zone: &zone };
            let job = check.job(raw);
            if let Some(first) = places.insert(job.name.clone(), document.at(&key))
                && !job.name.is_empty()
            {
                let what = format!("schedule {} is defined twice, here and at {first}", job.name);
                check.wrong("name", what, "give one of them another name");
            }
            if !job.name.is_empty() {
                checks.define("schedule", &job.name);
            }
            jobs.push(job);
        }
    }
    (jobs, zone)
}

/// Warns of commands that nobody gives, once the people are known.
pub(super) fn check_people(checks: &mut Checks<'_>, people: &People) {
    for document in checks.documents {
        for (i, raw) in document.raw.schedules.iter().enumerate().filter(|(_, raw)| raw.command.is_some()) {
            let name = raw.name.clone().unwrap_or_default();
            if people.of(&Account::Schedule(name.clone())).is_none() {
                let key = format!("schedules[{i}].command");
                let hint = format!("schedule = \"{name}\" in [[people]], for the person whose rights it has");
                checks.problems.push(document.warning(
                    &key,
                    "nobody gives the command, so it is denied",
                    hint,
                ));
            }
        }
    }
}

fn zone_of_all(checks: &mut Checks<'_>) -> Zone {
    let Some(name) = checks.only("zone", |raw| raw.zone.clone()) else { return Zone::default() };
    Zone::named(&name).unwrap_or_else(|(what, hint)| {
        if let Some(document) = checks.owner("zone") {
            checks.problems.push(document.error("zone", what, hint));
        }
        Zone::default()
    })
}

struct ScheduleCheck<'c, 'd> {
    checks: &'c mut Checks<'d>,
    document: &'d Document,
    key: &'c str,
    zone: &'c Zone,
}

impl ScheduleCheck<'_, '_> {
    fn job(&mut self, raw: &Schedule) -> Job {
        let name = self.name(raw);
        let when = self.when(raw);
        let tag = self.tag(raw, &name);
        let (text, title) = (raw.text.clone().unwrap_or_default(), raw.title.clone());
        match (&raw.command, text.is_empty() && title.is_none()) {
            (Some(_), false) => self.wrong("command", "its answer is the text", "leave text and title out"),
            (Some(command), true) if command.trim().is_empty() => {
                self.wrong(
                    "command",
                    "the command is empty",
                    "as it would be typed in a chat, such as graph load",
                );
            }
            (None, true) if !self.has("text") && !self.has("command") => {
                let what = "the schedule says nothing and asks nothing";
                self.wrong_whole(what, "text = \"…\", or command = \"…\" with a chat command");
            }
            _ => {}
        }
        Job {
            catch_up: self.catch_up(raw),
            name,
            when,
            tag,
            title,
            text,
            severity: raw.severity.unwrap_or_default(),
            status: raw.status,
            key: raw.key.clone(),
            command: raw.command.clone(),
        }
    }

    fn wrong(&mut self, key: &str, what: impl Into<String>, hint: impl Into<String>) {
        let problem = self.document.error(&format!("{}.{key}", self.key), what, hint);
        self.checks.problems.push(problem);
    }

    fn wrong_whole(&mut self, what: &str, hint: &str) {
        self.checks.problems.push(self.document.error(self.key, what, hint));
    }

    fn has(&self, key: &str) -> bool {
        self.document.has(&format!("{}.{key}", self.key))
    }

    fn name(&mut self, raw: &Schedule) -> String {
        let name = raw.name.clone().unwrap_or_default();
        let hint = "name = \"…\", one word of A-Z a-z 0-9 _ -";
        if raw.name.is_none() && !self.has("name") {
            self.wrong_whole("the schedule has no name", hint);
        } else if raw.name.is_some() && !is_token(&name) {
            self.wrong("name", format!("{name:?} is not a legal name for a schedule"), hint);
        }
        name
    }

    fn tag(&mut self, raw: &Schedule, name: &str) -> Tag {
        let text = raw.tag.clone().unwrap_or_else(|| format!("schedule.{name}"));
        text.parse().unwrap_or_else(|bad: tellhal::tag::BadTag| {
            if raw.tag.is_some() {
                self.wrong("tag", bad.to_string(), format!("such as {}", Tag::nearest(&text)));
            }
            Tag::nearest(&text)
        })
    }

    fn when(&mut self, raw: &Schedule) -> When {
        let given: Vec<&str> = ["every", "at", "cron"].into_iter().filter(|key| self.has(key)).collect();
        match given.as_slice() {
            [] => {
                let hint = "one of every = \"30s\", at = \"10:30\", cron = \"0 3 * * 1\"";
                self.wrong_whole("the schedule is never due", hint);
                return ANY;
            }
            [first, second, ..] => {
                let what = format!("{first} is given too");
                self.wrong(second, what, "a schedule has one of every, at and cron");
            }
            [_] => {}
        }
        for (key, owner) in [("days", "at"), ("date", "at")] {
            if self.has(key) && !self.has(owner) {
                self.wrong(key, format!("belongs to {owner}"), format!("add {owner} = \"10:30\""));
            }
        }
        let zone = self.zone(raw);
        match raw {
            Schedule { every: Some(every), .. } => self.every(every),
            Schedule { at: Some(at), .. } => self.at(raw, at, zone),
            Schedule { cron: Some(cron), .. } => self.cron(cron, zone),
            _ => ANY,
        }
    }

    fn zone(&mut self, raw: &Schedule) -> Zone {
        let Some(name) = &raw.zone else { return self.zone.clone() };
        if self.has("every") {
            self.wrong("zone", "an interval is the same in every zone", "leave it out");
        }
        Zone::named(name).unwrap_or_else(|(what, hint)| {
            self.wrong("zone", what, hint);
            Zone::default()
        })
    }

    fn every(&mut self, text: &str) -> When {
        let range = "from 1s to 366 days, such as 30s";
        let every = duration_in(text, Duration::from_secs(1), DAY * 366, range);
        every.map_or_else(
            |(what, hint)| {
                self.wrong("every", what, hint);
                ANY
            },
            When::Every,
        )
    }

    fn at(&mut self, raw: &Schedule, text: &str, zone: Zone) -> When {
        let Some(date) = &raw.date else {
            return self.settled(When::on_days(text, raw.days.as_deref(), zone));
        };
        if self.has("days") {
            self.wrong("days", "a date has one weekday", "leave it out");
        }
        let Some(time) = When::time_of_day(text) else { return self.settled(Err(vec![bad_time(text)])) };
        let Ok(date) = date.parse::<jiff::civil::Date>() else {
            self.wrong("date", format!("{date:?} is no date"), "such as 2026-12-24");
            return ANY;
        };
        When::On { moment: date.to_datetime(time), zone }
    }

    fn cron(&mut self, text: &str, zone: Zone) -> When {
        let when = When::by_cron(text, zone, tellhal::Timestamp::now());
        self.settled(when.map_err(|problem| vec![problem]))
    }

    /// The times, or problems and any times, so that the checks go on.
    fn settled(&mut self, when: Result<When, Vec<KeyProblem>>) -> When {
        when.unwrap_or_else(|problems| {
            problems.into_iter().for_each(|problem| self.wrong(problem.key, problem.what, problem.hint));
            ANY
        })
    }

    fn catch_up(&mut self, raw: &Schedule) -> Duration {
        let Some(text) = &raw.catch_up else { return if raw.every.is_some() { ON_TIME } else { CATCH_UP } };
        if matches!(humantime::parse_duration(text), Ok(Duration::ZERO)) {
            return ON_TIME;
        }
        duration_in(text, Duration::from_secs(1), DAY * 31, "from 0s to 31 days, such as 1h").unwrap_or_else(
            |(what, hint)| {
                self.wrong("catch_up", what, hint);
                CATCH_UP
            },
        )
    }
}
