//! The states of a monitor and of each of its series: pure, with the time as an input. A new condition must hold for as long as
//! the rules say before it is told. No data is a condition of its own, and so is a source that gives no answer. A series that
//! changes too often is told once as flapping, and again when it is steady.
//!
//! ```text
//!            wrong for `hold`                      good for `settle`
//!   good ───────────────────────▶ wrong ───────────────────────────▶ good
//!     └──── `misses` readings without data ────▶ no data ── as above ──▶ good, wrong
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tellhal::Timestamp;

use super::observation::{Level, Observation, Reading};

/// The changes of one series within the window after which a further one is flapping.
pub(crate) const CHANGES: usize = 5;
/// The most transitions of one step; further ones come in the next.
const MOST: usize = 50;
/// The time after which a series that is gone is forgotten.
const FORGET: Duration = Duration::from_secs(86_400);

/// The rules of one monitor.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rules {
    /// The time that it must be wrong before it is told.
    pub(crate) hold: Duration,
    /// The time that it must be good before that is told.
    pub(crate) settle: Duration,
    pub(crate) no_data: NoData,
    /// The number of readings in a row without data, or of observations without an answer, that count.
    pub(crate) misses: u32,
    /// The window in which changes are counted as flapping, and the time without a change that ends it.
    pub(crate) calm: Duration,
}

/// The meaning of a series without data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NoData {
    /// A condition of its own, which is told.
    #[default]
    Tell,
    /// All is well.
    Ok,
    /// The series is wrong.
    Fail,
}

/// The condition of a series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Condition {
    #[default]
    Good,
    Wrong,
    NoData,
}

/// All that is known of a monitor between two observations.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    #[serde(default, skip_serializing_if = "is_zero")]
    failures: u32,
    /// The time of the first of the failures that were told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unobserved: Option<Timestamp>,
    #[serde(default)]
    series: BTreeMap<String, Series>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Series {
    /// The condition that was told last.
    #[serde(default, skip_serializing_if = "is_good")]
    told: Condition,
    /// The condition that was seen last, and since when.
    #[serde(default, skip_serializing_if = "is_good")]
    seen: Condition,
    since: Timestamp,
    /// The readings without data in a row, as far as they count.
    #[serde(default, skip_serializing_if = "is_zero")]
    misses: u32,
    /// The times of the last changes that were told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    changes: Vec<Timestamp>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_flapping: bool,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn is_good(condition: &Condition) -> bool {
    *condition == Condition::Good
}

/// A change that is to be told.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Transition {
    /// The series; empty for the monitor itself.
    pub(crate) series: String,
    pub(crate) change: Change,
    /// The beginning of the new condition.
    pub(crate) since: Timestamp,
    pub(crate) value: Option<f64>,
    /// The reading's words, or the reason why there is none.
    pub(crate) words: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The condition is another one than that told before.
    To(Condition),
    /// It changes too often to be told each time.
    Flaps,
    /// It has flapped and has a steady condition again.
    Steady(Condition),
    /// It had no data for so long that it is forgotten.
    Forgotten,
    /// The source gives no answer.
    Unobserved,
    /// The source answers again.
    Observed,
}

impl Change {
    /// True if it is wrong from now on.
    pub(crate) fn is_to_wrong(self) -> bool {
        matches!(self, Change::To(Condition::Wrong) | Change::Steady(Condition::Wrong))
    }

    /// True if nothing is left to worry about.
    pub(crate) fn is_end(self) -> bool {
        use Change::{Forgotten, Observed, Steady, To};
        matches!(self, To(Condition::Good) | Steady(Condition::Good) | Forgotten | Observed)
    }
}

/// The state after an observation at `now`, and the changes to tell.
pub(crate) fn step(
    rules: &Rules,
    mut state: State,
    now: Timestamp,
    observation: &Observation,
) -> (State, Vec<Transition>) {
    let transitions = match observation {
        Ok(observed) => state.answered(rules, now, &observed.readings),
        Err(reason) => state.failed(rules, now, reason).into_iter().collect(),
    };
    (state, transitions)
}

impl State {
    /// True if nothing is wrong that was told.
    pub(crate) fn is_settled(&self) -> bool {
        self.unobserved.is_none() && self.series.values().all(|series| !series.is_open())
    }

    /// Takes some of what is wrong out of the state of a monitor that is gone: series by their names, and true if it could not be
    /// observed.
    pub(crate) fn take_open(&mut self) -> (Vec<String>, bool) {
        let open = self.series.iter().filter(|(_, series)| series.is_open());
        let names: Vec<String> = open.map(|(name, _)| name.clone()).take(MOST).collect();
        names.iter().for_each(|name| drop(self.series.remove(name)));
        (names, self.unobserved.take().is_some())
    }

    fn failed(&mut self, rules: &Rules, now: Timestamp, reason: &str) -> Option<Transition> {
        // The time without observations does not count for a condition that is not told yet.
        for series in self.series.values_mut().filter(|series| series.seen != series.told) {
            (series.seen, series.since) = (series.told, now);
        }
        self.failures = (self.failures + 1).min(rules.misses);
        if self.failures < rules.misses || self.unobserved.is_some() {
            return None;
        }
        self.unobserved = Some(now);
        Some(Transition::of_source(Change::Unobserved, now, reason))
    }

    fn answered(&mut self, rules: &Rules, now: Timestamp, readings: &[Reading]) -> Vec<Transition> {
        self.failures = 0;
        let again = self.unobserved.take().map(|since| {
            let minutes = humantime::format_duration(Duration::from_secs(now.since(since).as_secs()));
            Transition::of_source(Change::Observed, now, &format!("it could not be for {minutes}"))
        });
        let mut transitions: Vec<Transition> = again.into_iter().collect();
        let is_nothing = readings.iter().all(|reading| reading.level == Level::Nothing);
        let whole = match is_nothing {
            true => Reading::nothing(""),
            false => Reading::new(Level::Good, "there is data again"),
        };
        let names: BTreeSet<&str> = readings.iter().map(|reading| reading.series.as_str()).collect();
        // An outage of all series is one message of the monitor itself, and changes none of them.
        let gone: Vec<Reading> = match is_nothing {
            true => Vec::new(),
            false => {
                let known = self.series.keys().filter(|name| !name.is_empty());
                known.filter(|name| !names.contains(name.as_str())).map(Reading::nothing).collect()
            }
        };
        let whole = (!names.contains("")).then_some(&whole);
        let given = readings.iter().filter(|reading| !is_nothing || reading.series.is_empty());
        for reading in whole.into_iter().chain(given) {
            self.take(rules, now, reading, false, &mut transitions);
        }
        for reading in &gone {
            self.take(rules, now, reading, true, &mut transitions);
        }
        transitions
    }

    fn take(
        &mut self,
        rules: &Rules,
        now: Timestamp,
        reading: &Reading,
        is_gone: bool,
        out: &mut Vec<Transition>,
    ) {
        if out.len() >= MOST {
            return;
        }
        let name = &reading.series;
        let series = self.series.entry(name.clone()).or_insert_with(|| Series::new(now));
        let change = series.take(rules, now, reading.level);
        let is_forgotten = is_gone && series.may_be_forgotten(rules, now);
        let was_good = series.told == Condition::Good;
        let since = series.since;
        if is_forgotten {
            self.series.remove(name);
        }
        let change = change.or_else(|| (is_forgotten && !was_good).then_some(Change::Forgotten));
        out.extend(change.map(|change| Transition {
            series: name.clone(),
            change,
            since,
            value: reading.value,
            words: reading.words.clone(),
        }));
    }
}

impl Series {
    fn new(now: Timestamp) -> Series {
        Series {
            told: Condition::Good,
            seen: Condition::Good,
            since: now,
            misses: 0,
            changes: Vec::new(),
            is_flapping: false,
        }
    }

    fn take(&mut self, rules: &Rules, now: Timestamp, level: Level) -> Option<Change> {
        let condition = self.condition(rules, level)?;
        if condition != self.seen {
            (self.seen, self.since) = (condition, now);
        }
        let held = now.since(self.since);
        if self.is_flapping {
            self.told = self.seen;
            if held < rules.calm {
                return None;
            }
            self.is_flapping = false;
            self.changes.clear();
            return Some(Change::Steady(self.seen));
        }
        let needed = match self.seen {
            Condition::Good => rules.settle,
            Condition::Wrong => rules.hold,
            // The misses have counted.
            Condition::NoData => Duration::ZERO,
        };
        if self.seen == self.told || held < needed {
            return None;
        }
        self.told = self.seen;
        self.changes.retain(|change| now.since(*change) < rules.calm);
        self.changes.push(now);
        self.is_flapping = self.changes.len() > CHANGES;
        Some(if self.is_flapping { Change::Flaps } else { Change::To(self.seen) })
    }

    /// The condition that a level means; `None` while it means nothing yet.
    fn condition(&mut self, rules: &Rules, level: Level) -> Option<Condition> {
        if level != Level::Nothing {
            self.misses = 0;
        }
        Some(match level {
            Level::Good => Condition::Good,
            Level::Wrong => Condition::Wrong,
            Level::Between if self.told == Condition::Wrong => Condition::Wrong,
            Level::Between => Condition::Good,
            Level::Nothing => {
                self.misses = (self.misses + 1).min(rules.misses);
                if self.misses < rules.misses {
                    return None;
                }
                match rules.no_data {
                    NoData::Tell => Condition::NoData,
                    NoData::Ok => Condition::Good,
                    NoData::Fail => Condition::Wrong,
                }
            }
        })
    }

    /// True if a message says that something is wrong, and none that it is over.
    fn is_open(&self) -> bool {
        self.told != Condition::Good || self.is_flapping
    }

    /// True for a series that is gone and will most likely not return.
    fn may_be_forgotten(&self, rules: &Rules, now: Timestamp) -> bool {
        let is_settled = self.seen == self.told && self.misses >= rules.misses && !self.is_flapping;
        is_settled && (self.told == Condition::Good || now.since(self.since) >= FORGET)
    }
}

impl Transition {
    fn of_source(change: Change, now: Timestamp, words: &str) -> Transition {
        Transition { series: String::new(), change, since: now, value: None, words: words.to_owned() }
    }
}

#[cfg(test)]
mod tests;
