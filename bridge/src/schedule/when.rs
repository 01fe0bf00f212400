//! The times of a schedule: an interval, a time of day on some weekdays, a moment, or a cron pattern. Pure.
//!
//! Where clocks are set forward, a time of day that does not exist that day is due at the moment of the change. Where they are
//! set back, one that comes twice is due the first time. Cron patterns whose hours and minutes are numbers follow the same rule;
//! those with wildcards, ranges or steps there go by the clock on the wall: they are due in both of the hours that come twice, and
//! not in one that does not exist.

use std::fmt;
use std::str::FromStr as _;
use std::time::Duration;

use croner::Cron;
use jiff::civil::{DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Span, Zoned};
use service::config::KeyProblem;
use service::zone::Zone;
use tellhal::Timestamp;

use super::days::Days;

/// The days that are looked at for a time of day: a week, and one for a weekday that a zone leaves out when it crosses the
/// date line.
const DAYS: i64 = 15;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum When {
    /// Each multiple of the interval since 1970-01-01T00:00:00Z.
    Every(Duration),
    /// A time of day on these weekdays.
    At {
        time: Time,
        days: Days,
        zone: Zone,
    },
    /// Once.
    On {
        moment: DateTime,
        zone: Zone,
    },
    Cron {
        pattern: Box<Cron>,
        zone: Zone,
    },
}

impl When {
    /// A time of day: `10:30`, or `10:30:15`.
    pub(crate) fn time_of_day(text: &str) -> Option<Time> {
        let is_one =
            matches!(text.len(), 5 | 8) && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b':');
        Time::from_str(text).ok().filter(|_| is_one)
    }

    /// A time of day on some weekdays, as `at` and `days` are written; each day when `days` is absent.
    pub(crate) fn on_days(at: &str, days: Option<&str>, zone: Zone) -> Result<When, Vec<KeyProblem>> {
        let time = When::time_of_day(at).ok_or_else(|| bad_time(at));
        let days = days.map_or(Ok(Days::DAILY), str::parse);
        let days = days.map_err(|(what, hint)| KeyProblem::new("days", what, hint));
        match (time, days) {
            (Ok(time), Ok(days)) => Ok(When::At { time, days, zone }),
            (time, days) => Err(time.err().into_iter().chain(days.err()).collect()),
        }
    }

    /// A cron pattern, as `cron` is written, that is due at some time after `now`.
    pub(crate) fn by_cron(cron: &str, zone: Zone, now: Timestamp) -> Result<When, KeyProblem> {
        let pattern = cron.parse::<Cron>().map_err(|error| {
            let hint = "minute, hour, day of the month, month, weekday: 0 3 * * 1 is 03:00 on Mondays";
            KeyProblem::new("cron", format!("{cron:?} is no cron pattern: {error}"), hint)
        })?;
        let when = When::Cron { pattern: Box::new(pattern), zone };
        match when.is_over(now) {
            true => Err(KeyProblem::new("cron", format!("{cron:?} is never due"), "such as 0 3 * * 1")),
            false => Ok(when),
        }
    }

    /// A moment: `2026-12-24 10:30`.
    pub(crate) fn moment(text: &str) -> Option<DateTime> {
        let (date, time) = text.trim().split_once([' ', 'T'])?;
        Some(date.parse::<jiff::civil::Date>().ok()?.to_datetime(When::time_of_day(time)?))
    }

    /// The first due time after `after`; `None` if there is none any more.
    pub(crate) fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        match self {
            When::Every(interval) => {
                let interval = millis(*interval);
                Some(Timestamp(after.0.div_euclid(interval).checked_add(1)?.checked_mul(interval)?))
            }
            When::At { time, days, zone } => {
                let zone = zone.time_zone();
                let first = civil(after, zone)?.date().yesterday().ok()?;
                let mut dates = (0..=DAYS).filter_map(|n| first.checked_add(Span::new().days(n)).ok());
                dates.find_map(|date| {
                    let due = instant(date.to_datetime(*time), zone)?;
                    (days.has(date.weekday()) && due > after).then_some(due)
                })
            }
            When::On { moment, zone } => instant(*moment, zone.time_zone()).filter(|due| *due > after),
            When::Cron { pattern, zone } => {
                let from = civil(after, zone.time_zone())?;
                pattern.find_next_occurrence(&from, false).ok().map(|due| of(&due)).filter(|due| *due > after)
            }
        }
    }

    /// The last due time after `after` that is not after `now`.
    pub(crate) fn last_between(&self, after: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let last = match self {
            When::Every(interval) => {
                let interval = millis(*interval);
                Some(Timestamp(now.0.div_euclid(interval) * interval))
            }
            When::At { time, days, zone } => {
                let zone = zone.time_zone();
                let first = civil(now, zone)?.date().tomorrow().ok()?;
                let mut dates = (0..=DAYS).filter_map(|n| first.checked_sub(Span::new().days(n)).ok());
                dates.find_map(|date| {
                    let due = instant(date.to_datetime(*time), zone)?;
                    (days.has(date.weekday()) && due <= now).then_some(due)
                })
            }
            When::On { moment, zone } => instant(*moment, zone.time_zone()).filter(|due| *due <= now),
            When::Cron { pattern, zone } => {
                let from = civil(now, zone.time_zone())?;
                pattern
                    .find_previous_occurrence(&from, true)
                    .ok()
                    .map(|due| of(&due))
                    .filter(|due| *due <= now)
            }
        };
        last.filter(|due| *due > after)
    }

    /// A due time as the clocks of its zone show it.
    pub(crate) fn shown(&self, due: Timestamp) -> String {
        match self {
            When::Every(_) => Zone::default().date_and_clock(due),
            When::At { zone, .. } | When::On { zone, .. } | When::Cron { zone, .. } => {
                zone.date_and_clock(due)
            }
        }
    }

    /// True if it is never due after `now`.
    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        self.next_after(now).is_none()
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            When::Every(interval) => write!(f, "every {}", humantime::format_duration(*interval)),
            When::At { time, days, zone } => write!(f, "{} {days} {zone}", short(*time)),
            When::On { moment, zone } => write!(f, "{} {} {zone}", moment.date(), short(moment.time())),
            When::Cron { pattern, zone } => write!(f, "cron {} {zone}", pattern.as_str()),
        }
    }
}

/// The mistake of a text that is no time of day.
pub(crate) fn bad_time(at: &str) -> KeyProblem {
    KeyProblem::new("at", format!("{at:?} is no time of day"), "such as 10:30")
}

/// Without seconds, if they are zero.
fn short(time: Time) -> String {
    time.strftime(if time.second() == 0 { "%H:%M" } else { "%H:%M:%S" }).to_string()
}

fn millis(interval: Duration) -> i64 {
    i64::try_from(interval.as_millis()).unwrap_or(i64::MAX).max(1)
}

fn civil(at: Timestamp, zone: &TimeZone) -> Option<Zoned> {
    Some(jiff::Timestamp::from_millisecond(at.0).ok()?.to_zoned(zone.clone()))
}

fn of(at: &Zoned) -> Timestamp {
    Timestamp(at.timestamp().as_millisecond())
}

/// The moment at which the clocks of a zone show `civil`, or skip it.
fn instant(civil: DateTime, zone: &TimeZone) -> Option<Timestamp> {
    let ambiguous = zone.to_ambiguous_zoned(civil);
    let is_skipped = matches!(ambiguous.offset(), AmbiguousOffset::Gap { .. });
    let shown = ambiguous.compatible().ok()?;
    if !is_skipped {
        return Some(of(&shown));
    }
    // A change at that very moment is one before the next.
    let after = shown.timestamp().checked_add(Span::new().nanoseconds(1)).ok()?;
    let change = zone.preceding(after).next()?;
    Some(Timestamp(change.timestamp().as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn zone(name: &str) -> Zone {
        Zone::named(name).unwrap()
    }

    fn daily(time: &str, days: &str, name: &str) -> When {
        When::At { time: When::time_of_day(time).unwrap(), days: days.parse().unwrap(), zone: zone(name) }
    }

    fn cron(pattern: &str, name: &str) -> When {
        When::Cron { pattern: Box::new(Cron::from_str(pattern).unwrap()), zone: zone(name) }
    }

    /// All due times between two moments, once forwards and once backwards.
    fn all(when: &When, from: &str, until: &str) -> Vec<String> {
        let (from, until) = (at(from), at(until));
        let mut forwards = Vec::new();
        let mut last = from;
        while let Some(due) = when.next_after(last).filter(|due| *due <= until) {
            forwards.push(due);
            last = due;
        }
        let mut backwards = Vec::new();
        let mut end = until;
        while let Some(due) = when.last_between(from, end) {
            backwards.push(due);
            end = Timestamp(due.0 - 1);
        }
        backwards.reverse();
        assert_eq!(forwards, backwards, "{when}");
        forwards.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_interval_is_anchored_in_1970() {
        let when = When::Every(Duration::from_secs(3600));
        let due = all(&when, "2026-11-28T00:00:00Z", "2026-11-28T02:30:00Z");
        assert_eq!(due, ["2026-11-28T01:00:00Z", "2026-11-28T02:00:00Z"]);
        assert_eq!(
            when.last_between(at("1969-12-31T22:00:00Z"), at("1969-12-31T23:30:00Z")).unwrap().0,
            -3_600_000
        );
    }

    #[test]
    fn a_time_of_day_is_due_on_its_weekdays() {
        let scrum = daily("10:30", "mon-fri", "America/New_York");
        // A Thursday to the Tuesday after the change to winter time.
        let due = all(&scrum, "2026-10-29T14:30:00Z", "2026-11-03T23:00:00Z");
        assert_eq!(due, ["2026-10-30T14:30:00Z", "2026-11-02T15:30:00Z", "2026-11-03T15:30:00Z"]);
    }

    #[test]
    fn a_skipped_time_is_due_at_the_change_and_a_repeated_one_the_first_time() {
        let new_york = |time| {
            all(&daily(time, "daily", "America/New_York"), "2026-03-08T05:00:00Z", "2026-03-09T04:00:00Z")
        };
        assert_eq!(new_york("02:30"), ["2026-03-08T07:00:00Z"]);
        assert_eq!(new_york("02:00"), ["2026-03-08T07:00:00Z"]);
        assert_eq!(new_york("03:00"), ["2026-03-08T07:00:00Z"]);
        assert_eq!(new_york("01:59"), ["2026-03-08T06:59:00Z"]);
        let back = |time| {
            all(&daily(time, "daily", "America/New_York"), "2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z")
        };
        assert_eq!(back("01:30"), ["2026-11-01T05:30:00Z"]);
        // Half an hour, on an island.
        let howe = |time| {
            all(&daily(time, "daily", "Australia/Lord_Howe"), "2026-10-03T14:00:00Z", "2026-10-04T12:00:00Z")
        };
        assert_eq!(howe("02:15"), ["2026-10-03T15:30:00Z"]);
        assert_eq!(howe("02:30"), ["2026-10-03T15:30:00Z"]);
    }

    #[test]
    fn a_zone_may_leave_out_a_day() {
        // Samoa had no 30 December 2011, a Friday.
        let friday = daily("10:00", "fri", "Pacific/Apia");
        let due = all(&friday, "2011-12-24T00:00:00Z", "2012-01-07T00:00:00Z");
        assert_eq!(due, ["2011-12-30T10:00:00Z", "2012-01-05T20:00:00Z"]);
    }

    #[test]
    fn a_moment_is_due_once() {
        let when =
            When::On { moment: When::moment("2026-12-24 10:30").unwrap(), zone: zone("Europe/Berlin") };
        assert_eq!(all(&when, "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"), ["2026-12-24T09:30:00Z"]);
        assert!(when.is_over(at("2026-12-24T09:30:00Z")) && !when.is_over(at("2026-12-24T09:29:59Z")));
    }

    #[test]
    fn cron_follows_the_same_rules() {
        let fixed = cron("30 2 * * *", "America/New_York");
        assert_eq!(all(&fixed, "2026-03-08T05:00:00Z", "2026-03-09T04:00:00Z"), ["2026-03-08T07:00:00Z"]);
        let twice = cron("30 1 * * *", "America/New_York");
        assert_eq!(all(&twice, "2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z"), ["2026-11-01T05:30:00Z"]);
        let wild = cron("*/30 1-2 * * *", "America/New_York");
        let due = all(&wild, "2026-11-01T04:00:00Z", "2026-11-01T09:00:00Z");
        assert_eq!(due.len(), 6, "{due:?}");
    }

    #[test]
    fn times_are_shown_as_they_are_written() {
        assert_eq!(
            daily("10:30", "mon-fri", "America/New_York").to_string(),
            "10:30 mon-fri America/New_York"
        );
        assert_eq!(daily("10:30:05", "daily", "UTC").to_string(), "10:30:05 daily UTC");
        assert_eq!(When::Every(Duration::from_secs(90)).to_string(), "every 1m 30s");
        assert_eq!(cron("0 3 * * 1", "UTC").to_string(), "cron 0 3 * * 1 UTC");
        for bad in ["24:00", "10", "10:3", "10:30Z", "T10:30", ""] {
            assert_eq!(When::time_of_day(bad), None, "{bad}");
        }
    }
}
