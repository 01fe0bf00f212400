//! The record of a job, and the next thing to be done: `step` is pure, so that every order of two bridges, crashes and clocks can
//! be tried in a test.
//!
//! A due time is handled in two steps: the record gets a *firing* with an id (by its revision, so that one bridge's wins), then
//! each bridge that sees the firing publishes under that id, which the log takes once, and the firing is taken out again.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tellhal::Timestamp;

use super::when::When;

/// A due time is on time for so long; later ones are caught up only if the job says so.
pub(crate) const ON_TIME: Duration = Duration::from_secs(10);
/// A record that is further in the future than this is of a clock that was wrong.
const WRONG_CLOCK: Duration = Duration::from_secs(600);
/// A firing that was taken so long ago is not handled any more: the log knows the ids of its last hour.
const TOO_LATE: Duration = Duration::from_secs(50 * 60);
/// The most due times that are counted as missed.
const COUNTED: u32 = 1000;

/// The record of one job, as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Record {
    /// The times that it is of, as they are shown. Other times begin anew.
    pub(crate) when: String,
    /// Due times up to this one are handled.
    pub(crate) handled: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) firing: Option<Firing>,
    /// A command that was asked and has not answered yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) running: Option<Running>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last: Option<Last>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) paused: Option<Paused>,
}

/// A due time that is being handled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Firing {
    pub(crate) due: Timestamp,
    /// The time at which a bridge took it.
    pub(crate) at: Timestamp,
    /// The id of its message, and of its command's event.
    pub(crate) id: String,
    /// Earlier due times for which no bridge was there.
    #[serde(default)]
    pub(crate) missed: u32,
    /// The person who asked for it, if no clock did.
    #[serde(default)]
    pub(crate) by: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Running {
    pub(crate) firing: Firing,
    /// Without an answer until then, its outcome is unknown.
    pub(crate) until: Timestamp,
}

/// How the last firing went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Last {
    pub(crate) due: Timestamp,
    pub(crate) at: Timestamp,
    pub(crate) failed: bool,
    /// In a few words, such as `told`.
    pub(crate) outcome: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Paused {
    pub(crate) by: String,
    pub(crate) since: Timestamp,
    #[serde(default)]
    pub(crate) until: Option<Timestamp>,
}

/// The next thing to do for a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The time before which there is nothing to do; without one, there is nothing at all.
    Wait(Option<Timestamp>),
    /// This record is to be stored, if nobody has changed it, for the reason given; then there is more to do.
    Store(Box<Record>, Why),
    /// The record's firing is to be handled.
    Fire(Firing),
    /// The record's running command has not answered in its time.
    GiveUp(Running),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The job is new, or its times have changed.
    New,
    /// The record's clock was wrong.
    Clock,
    /// The job is due.
    Due,
    /// The due time came while it was paused.
    Paused,
    /// The pause is over.
    Resumed,
    /// No bridge was there in time.
    Missed,
}

/// The times and the rule of one job.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule<'a> {
    pub(crate) when: &'a When,
    /// The age up to which the last missed due time is caught up.
    pub(crate) catch_up: Duration,
}

impl Rule<'_> {
    /// The next thing to do at `now`. `new_id` is a random id that nobody else has.
    pub(crate) fn step(self, record: Option<&Record>, now: Timestamp, new_id: &str) -> Step {
        let when = self.when.to_string();
        let old = record.cloned().unwrap_or_default();
        if let Some(firing) = old.firing.clone() {
            if now.since(firing.at) < TOO_LATE {
                return Step::Fire(firing);
            }
            let outcome = "outcome unknown: the bridge ended meanwhile";
            return Step::Store(Box::new(old.ended(&firing, now, true, outcome.into())), Why::Missed);
        }
        if let Some(running) = old.running.clone().filter(|running| running.until <= now) {
            return Step::GiveUp(running);
        }
        if record.is_none() || old.when != when {
            return Step::Store(Box::new(Record { when, handled: now, ..old }), Why::New);
        }
        if old.handled > now.plus(WRONG_CLOCK) {
            return Step::Store(Box::new(Record { handled: now, ..old }), Why::Clock);
        }
        if old.paused.as_ref().and_then(|paused| paused.until).is_some_and(|until| until <= now) {
            return Step::Store(
                Box::new(Record { paused: None, handled: old.handled.max(now), ..old }),
                Why::Resumed,
            );
        }
        if let Some(running) = &old.running {
            // Times that come meanwhile are caught up after it, if they are to be.
            return Step::Wait(Some(running.until));
        }
        let Some(due) = self.when.last_between(old.handled, now) else {
            let next = [
                self.when.next_after(old.handled.max(now)),
                old.paused.as_ref().and_then(|paused| paused.until),
            ];
            return Step::Wait(next.into_iter().flatten().min());
        };
        if old.paused.is_some() {
            return Step::Store(Box::new(Record { handled: due, ..old }), Why::Paused);
        }
        let missed = self.count(old.handled, due);
        if now.since(due) > ON_TIME.max(self.catch_up) {
            let last = Last { due, at: now, failed: true, outcome: "missed: no bridge ran".into() };
            return Step::Store(Box::new(Record { handled: due, last: Some(last), ..old }), Why::Missed);
        }
        let firing = Firing { due, at: now, id: new_id.to_owned(), missed, by: None };
        Step::Store(Box::new(Record { handled: due, firing: Some(firing), ..old }), Why::Due)
    }

    /// The number of due times between two moments.
    fn count(self, after: Timestamp, before: Timestamp) -> u32 {
        let mut at = after;
        (0..COUNTED)
            .take_while(|_| match self.when.next_after(at).filter(|due| *due < before) {
                Some(due) => {
                    at = due;
                    true
                }
                None => false,
            })
            .count()
            .try_into()
            .unwrap_or(COUNTED)
    }
}

impl Record {
    /// The record after its firing was handled.
    pub(crate) fn ended(&self, firing: &Firing, at: Timestamp, failed: bool, outcome: String) -> Record {
        let last = Some(Last { due: firing.due, at, failed, outcome });
        Record { firing: None, running: None, last, ..self.clone() }
    }

    /// The record after its command was asked.
    pub(crate) fn asked(&self, firing: &Firing, until: Timestamp) -> Record {
        let running = Some(Running { firing: firing.clone(), until });
        Record { firing: None, running, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn firing(due: Timestamp) -> Firing {
        Firing { due, at: due, id: "x".into(), missed: 0, by: None }
    }

    #[test]
    fn a_firing_that_was_left_long_ago_is_not_handled_twice() {
        let when = When::Every(HOUR);
        let left = firing(at("2026-11-28T08:00:00Z"));
        let record = Record {
            when: when.to_string(),
            handled: left.due,
            firing: Some(left.clone()),
            ..Record::default()
        };
        let rule = Rule { when: &when, catch_up: ON_TIME };
        assert_eq!(rule.step(Some(&record), left.due.plus(HOUR / 2), "a"), Step::Fire(left.clone()));
        let step = rule.step(Some(&record), left.due.plus(HOUR), "a");
        assert!(matches!(step, Step::Store(record, Why::Missed) if record.firing.is_none()));
    }

    /// A job's record in its bucket, which bridges change by its revision.
    #[derive(Clone, Default)]
    struct Bucket(Option<Record>, u64);

    impl Bucket {
        fn change(&mut self, record: Record, revision: u64) -> bool {
            let is_ours = revision == self.1;
            if is_ours {
                *self = Bucket(Some(record), self.1 + 1);
            }
            is_ours
        }
    }

    /// A bridge that looks at the job at `now`, and dies after `steps`. Its messages go to `log`, by their ids.
    fn look(
        rule: Rule,
        bucket: &mut Bucket,
        log: &mut BTreeMap<String, Firing>,
        now: Timestamp,
        steps: usize,
        id: &str,
    ) {
        for n in 0..steps {
            let Bucket(record, revision) = bucket.clone();
            match rule.step(record.as_ref(), now, &format!("{id}-{n}")) {
                Step::Wait(_) => return,
                Step::Store(record, _) => assert!(bucket.change(*record, revision)),
                Step::Fire(firing) => {
                    log.insert(firing.id.clone(), firing.clone());
                    // It may die between the message and the note of it.
                    if n + 1 == steps {
                        return;
                    }
                    let ended = record.unwrap().ended(&firing, now, false, "told".into());
                    assert!(bucket.change(ended, revision));
                }
                Step::GiveUp(_) => unreachable!(),
            }
        }
    }

    #[test]
    fn a_new_job_is_not_due_for_times_before_it() {
        let when = When::Every(HOUR);
        let rule = Rule { when: &when, catch_up: HOUR * 48 };
        let now = at("2026-11-28T10:30:00Z");
        let Step::Store(record, Why::New) = rule.step(None, now, "a") else { panic!() };
        assert_eq!(rule.step(Some(&record), now, "a"), Step::Wait(Some(at("2026-11-28T11:00:00Z"))));
        // Other times begin anew, and how it went stays.
        let ended = record.ended(&firing(now), now, false, "told".into());
        let other = When::Every(HOUR * 2);
        let step = Rule { when: &other, catch_up: HOUR }.step(Some(&ended), now.plus(HOUR * 9), "a");
        assert!(
            matches!(&step, Step::Store(record, Why::New) if record.last == ended.last && record.handled == now.plus(HOUR * 9))
        );
    }

    #[test]
    fn missed_times_are_caught_up_once_or_said_to_be_missed() {
        let when = When::Every(HOUR);
        let record =
            Record { when: when.to_string(), handled: at("2026-11-28T08:00:00Z"), ..Record::default() };
        let late = at("2026-11-28T11:20:00Z");
        let Step::Store(caught, Why::Due) =
            Rule { when: &when, catch_up: HOUR }.step(Some(&record), late, "a")
        else {
            panic!()
        };
        let firing = Firing { at: late, missed: 2, id: "a".into(), ..firing(at("2026-11-28T11:00:00Z")) };
        assert_eq!(caught.firing, Some(firing));
        let Step::Store(missed, Why::Missed) =
            Rule { when: &when, catch_up: ON_TIME }.step(Some(&record), late, "a")
        else {
            panic!()
        };
        assert!(missed.firing.is_none() && missed.last.unwrap().failed);
    }

    #[test]
    fn a_paused_job_is_not_due_and_not_caught_up() {
        let when = When::Every(HOUR);
        let paused = Paused {
            by: "ann".into(),
            since: at("2026-11-28T08:10:00Z"),
            until: Some(at("2026-11-28T10:30:00Z")),
        };
        let record = Record {
            when: when.to_string(),
            handled: at("2026-11-28T08:00:00Z"),
            paused: Some(paused),
            ..Record::default()
        };
        let rule = Rule { when: &when, catch_up: HOUR * 9 };
        let Step::Store(skipped, Why::Paused) = rule.step(Some(&record), at("2026-11-28T09:00:00Z"), "a")
        else {
            panic!()
        };
        assert_eq!(
            rule.step(Some(&skipped), at("2026-11-28T10:00:01Z"), "a"),
            Step::Store(
                Box::new(Record { handled: at("2026-11-28T10:00:00Z"), ..(*skipped).clone() }),
                Why::Paused
            )
        );
        let Step::Store(resumed, Why::Resumed) = rule.step(Some(&skipped), at("2026-11-28T10:31:00Z"), "a")
        else {
            panic!()
        };
        assert_eq!(
            rule.step(Some(&resumed), at("2026-11-28T10:31:00Z"), "a"),
            Step::Wait(Some(at("2026-11-28T11:00:00Z")))
        );
    }

    #[test]
    fn a_clock_that_was_wrong_does_not_silence_a_job() {
        let when = When::Every(HOUR);
        let record =
            Record { when: when.to_string(), handled: at("2026-11-30T08:00:00Z"), ..Record::default() };
        let rule = Rule { when: &when, catch_up: HOUR };
        let step = rule.step(Some(&record), at("2026-11-28T08:00:00Z"), "a");
        assert!(
            matches!(step, Step::Store(record, Why::Clock) if record.handled == at("2026-11-28T08:00:00Z"))
        );
    }

    #[test]
    fn a_command_without_an_answer_is_given_up() {
        let when = When::Every(HOUR);
        let firing = firing(at("2026-11-28T08:00:00Z"));
        let record = Record { when: when.to_string(), handled: firing.due, ..Record::default() };
        let record = record.asked(&firing, at("2026-11-28T08:05:00Z"));
        let rule = Rule { when: &when, catch_up: HOUR };
        assert_eq!(
            rule.step(Some(&record), at("2026-11-28T08:01:00Z"), "a"),
            Step::Wait(Some(at("2026-11-28T08:05:00Z")))
        );
        assert!(matches!(rule.step(Some(&record), at("2026-11-28T08:05:00Z"), "a"), Step::GiveUp(_)));
    }

    #[test]
    fn two_bridges_that_die_at_any_step_fire_each_time_once() {
        let when = When::Every(Duration::from_secs(60));
        let rule = Rule { when: &when, catch_up: HOUR };
        fastrand::seed(7);
        for run in 0..300 {
            let (mut bucket, mut log) = (Bucket::default(), BTreeMap::new());
            let start = at("2026-11-28T08:00:30Z");
            look(rule, &mut bucket, &mut log, start, 9, "first");
            let mut now = start;
            for n in 0..120 {
                now = now.plus(Duration::from_secs(fastrand::u64(1..20)));
                let id = format!("{run}-{n}");
                look(rule, &mut bucket, &mut log, now, fastrand::usize(0..5), &id);
            }
            look(rule, &mut bucket, &mut log, now, 9, "last");
            let mut due: Vec<Timestamp> = log.values().map(|firing| firing.due).collect();
            due.sort();
            let is_twice = due.windows(2).any(|pair| pair[0] == pair[1]);
            assert!(!is_twice, "{due:?}");
            // Each due time was fired, or is counted as missed by the next one.
            let missed: u32 = log.values().map(|firing| firing.missed).sum();
            let all = u32::try_from((now.0 / 60_000) - (start.0 / 60_000)).unwrap();
            assert_eq!(u32::try_from(due.len()).unwrap() + missed, all);
        }
    }
}
