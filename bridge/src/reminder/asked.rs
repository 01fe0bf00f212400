//! `remind me in 2h to check the backup`: the words of a reminder. Pure.

use std::time::Duration;

use service::config::duration_in;
use service::zone::Zone;
use tellhal::Timestamp;

use crate::schedule::days::Days;
use crate::schedule::when::When;

pub(super) const USAGE: &str = "it is remind me|ROOM in TIME to TEXT, such as remind me in 2h to look at the backup; \
                                or at 10:30, at 2026-12-24 10:30, every mon-fri 10:30, every 4h";
/// The furthest that a reminder may be, and the longest interval.
const FURTHEST: Duration = Duration::from_secs(366 * 86_400);
/// The shortest interval: a reminder is for people.
const SHORTEST: Duration = Duration::from_secs(60);
/// The longest text, in bytes.
pub(super) const LONGEST: usize = 500;

/// A reminder as it was asked for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Asked {
    /// A room, or `None` where it was asked.
    pub(super) room: Option<String>,
    pub(super) due: Timestamp,
    /// The words after `every`, if it repeats.
    pub(super) every: Option<String>,
    pub(super) text: String,
}

impl Asked {
    /// Reads the words after `remind`. The error is a sentence for the person.
    pub(super) fn read(words: &[String], now: Timestamp, zone: &Zone) -> Result<Asked, String> {
        let usage = || USAGE.to_owned();
        let [whom, kind, rest @ ..] = words else { return Err(usage()) };
        let to = rest.iter().position(|word| word == "to").ok_or_else(usage)?;
        let (time, text) = (rest[..to].join(" "), rest[to + 1..].join(" "));
        if time.is_empty() || text.is_empty() {
            return Err(usage());
        }
        if text.len() > LONGEST {
            return Err(format!("the text has {} bytes; at most {LONGEST} are kept", text.len()));
        }
        let (due, every) = match kind.to_lowercase().as_str() {
            "in" => (now.plus(duration(&time, Duration::from_secs(1))?), None),
            "at" => (at(&time, now, zone)?, None),
            "every" => {
                let due = every(&time, zone)?.next_after(now);
                (due.ok_or_else(usage)?, Some(time))
            }
            _ => return Err(usage()),
        };
        let room = (!whom.eq_ignore_ascii_case("me")).then(|| whom.clone());
        Ok(Asked { room, due, every, text })
    }
}

fn duration(text: &str, least: Duration) -> Result<Duration, String> {
    let range =
        if least < SHORTEST { "from 1s to 366 days, such as 2h" } else { "from 1m to 366 days, such as 4h" };
    duration_in(text, least, FURTHEST, range).map_err(|(what, hint)| format!("{what}; {hint}"))
}

fn at(text: &str, now: Timestamp, zone: &Zone) -> Result<Timestamp, String> {
    let when = match (When::time_of_day(text), When::moment(text)) {
        (Some(time), _) => When::At { time, days: Days::DAILY, zone: zone.clone() },
        (None, Some(moment)) => When::On { moment, zone: zone.clone() },
        (None, None) => return Err(format!("{text:?} is no time; such as 10:30, or 2026-12-24 10:30")),
    };
    match when.next_after(now) {
        Some(due) if due.since(now) <= FURTHEST => Ok(due),
        Some(_) => Err(format!("{text} is more than 366 days away")),
        None => Err(format!("{text} {zone} is over")),
    }
}

/// The times of a reminder that repeats, from the words after `every`.
pub(super) fn every(text: &str, zone: &Zone) -> Result<When, String> {
    let (days, time) = text.rsplit_once(' ').unwrap_or(("daily", text));
    let Some(time) = When::time_of_day(time) else { return duration(text, SHORTEST).map(When::Every) };
    let days = if matches!(days, "day" | "days") { "daily" } else { days };
    let days = days.parse().map_err(|(what, hint)| format!("{what}; {hint}"))?;
    Ok(When::At { time, days, zone: zone.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<(Option<String>, String, Option<String>, String), String> {
        let now = "2026-11-28T09:00:00Z".parse().unwrap();
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let asked = Asked::read(&words, now, &Zone::named("Europe/Berlin").unwrap())?;
        Ok((asked.room, asked.due.to_string(), asked.every, asked.text))
    }

    #[test]
    fn the_words_say_whom_when_and_what() {
        let cases = [
            ("me in 2h to look at it", None, "2026-11-28T11:00:00Z", None, "look at it"),
            ("me in 1h 30m to go to bed", None, "2026-11-28T10:30:00Z", None, "go to bed"),
            ("#ops at 10:30 to text scrum", Some("#ops"), "2026-11-28T09:30:00Z", None, "text scrum"),
            ("me at 10:00 to wait until tomorrow", None, "2026-11-29T09:00:00Z", None, "wait until tomorrow"),
            ("me at 2026-12-24 18:00 to rest", None, "2026-12-24T17:00:00Z", None, "rest"),
            (
                "main/#ops every mon-fri 10:30 to scrum",
                Some("main/#ops"),
                "2026-11-30T09:30:00Z",
                Some("mon-fri 10:30"),
                "scrum",
            ),
            ("me every day 18:00 to go", None, "2026-11-28T17:00:00Z", Some("day 18:00"), "go"),
            ("me every 18:00 to go", None, "2026-11-28T17:00:00Z", Some("18:00"), "go"),
            ("me every 4h to drink", None, "2026-11-28T12:00:00Z", Some("4h"), "drink"),
        ];
        for (line, room, due, every, text) in cases {
            let want = (room.map(str::to_owned), due.to_owned(), every.map(str::to_owned), text.to_owned());
            assert_eq!(read(line), Ok(want), "{line}");
        }
    }

    #[test]
    fn an_unclear_reminder_is_refused_with_the_usage() {
        for line in ["me", "me in 2h", "me in 2h to", "me in to x", "me soon 2h to x", "me in 2h check it"] {
            assert_eq!(read(line), Err(USAGE.to_owned()), "{line}");
        }
        for (line, part) in [
            ("me in soon to x", "\"soon\" is not a duration"),
            ("me in 900days to x", "out of range"),
            ("me at 25:00 to x", "no time"),
            ("me at 2026-11-27 10:00 to x", "is over"),
            ("me at 2036-11-27 10:00 to x", "more than 366 days"),
            ("me every 10s to x", "out of range"),
            ("me every fryday 10:00 to x", "no weekday"),
        ] {
            let refused = read(line).unwrap_err();
            assert!(refused.contains(part), "{line}: {refused}");
        }
        let long = format!("me in 2h to {}", "x".repeat(501));
        assert!(read(&long).unwrap_err().contains("501 bytes"));
    }
}
