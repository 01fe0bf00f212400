//! The words behind a graph's name: `big`, `8 hours`, `nolegend`. In any order, each at most once. Pure.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use tellhal::nearest;

/// Width and height.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Size {
    /// 400 × 200 pixels.
    Small,
    /// 800 × 400 pixels.
    #[default]
    Medium,
    /// 1400 × 700 pixels.
    Big,
}

impl Size {
    /// Pixels.
    pub(crate) fn pixels(self) -> (u32, u32) {
        match self {
            Size::Small => (400, 200),
            Size::Medium => (800, 400),
            Size::Big => (1400, 700),
        }
    }

    pub(crate) fn named(word: &str) -> Option<Size> {
        Some(match word {
            "small" => Size::Small,
            "medium" => Size::Medium,
            "big" => Size::Big,
            _ => return None,
        })
    }
}

/// The look of one picture, where it differs from the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) size: Option<Size>,
    pub(crate) duration: Option<Duration>,
    pub(crate) no_legend: bool,
    pub(crate) no_deploy: bool,
    pub(crate) white: bool,
}

/// The words that are known beside times.
pub(crate) const KNOWN: [&str; 6] = ["small", "medium", "big", "nolegend", "nodeploy", "white"];
/// The units of times, each with its seconds.
const UNITS: [(&str, u64); 4] = [("minute", 60), ("hour", 3600), ("day", 86_400), ("week", 604_800)];
/// The longest time, in seconds: 366 days.
const LONGEST: u64 = 366 * 86_400;

impl Look {
    /// Reads words. The error is one line for the person.
    pub(crate) fn read<S: AsRef<str>>(words: &[S]) -> Result<Look, String> {
        let words: Vec<String> = words.iter().map(|word| word.as_ref().to_lowercase()).collect();
        let (mut look, mut rest) = (Look::default(), words.as_slice());
        while let [word, after @ ..] = rest {
            rest = after;
            if word.starts_with(|c: char| c.is_ascii_digit()) {
                // `8 hours`, or `8hours` in one word.
                let digits = word.find(|c: char| !c.is_ascii_digit()).unwrap_or(word.len());
                let (number, mut unit) = word.split_at(digits);
                if let ("", [next, after @ ..]) = (unit, after) {
                    (unit, rest) = (next, after);
                }
                once(&mut look.duration, time(number, unit)?, "a time")?;
            } else if let Some(size) = Size::named(word) {
                once(&mut look.size, size, "a size")?;
            } else {
                let flag = match word.as_str() {
                    "nolegend" => &mut look.no_legend,
                    "nodeploy" => &mut look.no_deploy,
                    "white" => &mut look.white,
                    _ => return Err(unknown(word)),
                };
                *flag = true;
            }
        }
        Ok(look)
    }
}

fn once<T: PartialEq>(place: &mut Option<T>, value: T, what: &str) -> Result<(), String> {
    match place.as_ref().is_none_or(|earlier| *earlier == value) {
        true => {
            *place = Some(value);
            Ok(())
        }
        false => Err(format!("{what} is given twice; a graph has one")),
    }
}

/// A time such as `8 hours`; units may be cut to their first letter.
pub(crate) fn time(number: &str, unit: &str) -> Result<Duration, String> {
    let names = |(name, _): &&(&str, u64)| {
        unit == *name || unit.strip_suffix('s') == Some(name) || *unit == name[..1]
    };
    let Some((_, seconds)) = UNITS.iter().find(names) else {
        let what = if unit.is_empty() {
            format!("{number} of what?")
        } else {
            format!("{unit:?} is no unit of time;")
        };
        return Err(format!("{what} a time is such as 30 minutes, 8 hours, 2 days, 1 week"));
    };
    let time = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*seconds));
    match time.filter(|time| (1..=LONGEST).contains(time)) {
        Some(time) => Ok(Duration::from_secs(time)),
        None => Err(format!("{number} {unit} is out of range: from 1 minute to 366 days")),
    }
}

fn unknown(word: &str) -> String {
    let hint = nearest::hint(word, KNOWN);
    let hint = if hint.starts_with("did") { format!(" ({hint})") } else { String::new() };
    format!("{word:?} is not known{hint}: the words are {}, and a time such as 8 hours", KNOWN.join(", "))
}

/// A time as people write it: `8 hours`, `1 day`. Pure.
pub(crate) fn written(time: Duration) -> String {
    let seconds = time.as_secs();
    // One day is 24 hours: the largest unit that gives more than one.
    let unit = UNITS.iter().rev().find(|(_, unit)| seconds.is_multiple_of(*unit) && seconds > *unit);
    match unit {
        Some((name, unit)) => format!("{} {name}s", seconds / unit),
        None => humantime::format_duration(time).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(line: &str) -> Result<Look, String> {
        Look::read(&line.split_whitespace().collect::<Vec<_>>())
    }

    #[test]
    fn words_of_every_kind_are_read() {
        let hours = |hours: u64| Some(Duration::from_secs(hours * 3600));
        let none = Look::default();
        for (line, want) in [
            ("", none),
            ("big", Look { size: Some(Size::Big), ..none }),
            ("MEDIUM", Look { size: Some(Size::Medium), ..none }),
            ("8 hours", Look { duration: hours(8), ..none }),
            ("1 Hour", Look { duration: hours(1), ..none }),
            ("120 minutes", Look { duration: hours(2), ..none }),
            ("2days", Look { duration: hours(48), ..none }),
            ("1w", Look { duration: hours(168), ..none }),
            ("8 h 8h", Look { duration: hours(8), ..none }),
            ("white nolegend nodeploy white", Look { no_legend: true, no_deploy: true, white: true, ..none }),
            (
                "nolegend 8 hours small",
                Look { no_legend: true, duration: hours(8), size: Some(Size::Small), ..none },
            ),
        ] {
            assert_eq!(read(line), Ok(want), "{line}");
        }
    }

    #[test]
    fn a_refusal_says_what_is_known() {
        let times = "a time is such as 30 minutes, 8 hours, 2 days, 1 week";
        let known = "the words are small, medium, big, nolegend, nodeploy, white, and a time such as 8 hours";
        for (line, want) in [
            ("huge", format!("\"huge\" is not known: {known}")),
            ("no-legend", format!("\"no-legend\" is not known (did you mean nolegend?): {known}")),
            ("hours 8", format!("\"hours\" is not known: {known}")),
            ("8", format!("8 of what? {times}")),
            ("8 big", format!("\"big\" is no unit of time; {times}")),
            ("8 ours", format!("\"ours\" is no unit of time; {times}")),
            ("0 hours", "0 hours is out of range: from 1 minute to 366 days".into()),
            ("367 days", "367 days is out of range: from 1 minute to 366 days".into()),
            (
                "99999999999999999999 weeks",
                "99999999999999999999 weeks is out of range: from 1 minute to 366 days".into(),
            ),
            ("1 hour 2 hours", "a time is given twice; a graph has one".into()),
            ("big small", "a size is given twice; a graph has one".into()),
        ] {
            assert_eq!(read(line), Err(want), "{line}");
        }
    }

    #[test]
    fn times_are_written_as_people_write_them() {
        let written = |minutes: u64| written(Duration::from_secs(minutes * 60));
        assert_eq!(written(30), "30 minutes");
        assert_eq!([written(60), written(90), written(480)], ["60 minutes", "90 minutes", "8 hours"]);
        assert_eq!([written(1440), written(2880), written(20_160)], ["24 hours", "2 days", "2 weeks"]);
        assert_eq!(written(1), "1m");
    }

    proptest! {
        #[test]
        fn the_order_of_words_means_nothing(
            mut groups in Just(vec!["big", "8 hours", "nolegend", "nodeploy", "white"]).prop_shuffle(), count in 0usize..=5,
        ) {
            groups.truncate(count);
            let look = read(&groups.join(" ")).unwrap();
            let want = Look {
                size: groups.contains(&"big").then_some(Size::Big),
                duration: groups.contains(&"8 hours").then_some(Duration::from_secs(28_800)),
                no_legend: groups.contains(&"nolegend"),
                no_deploy: groups.contains(&"nodeploy"),
                white: groups.contains(&"white"),
            };
            prop_assert_eq!(look, want);
        }

        #[test]
        fn any_words_are_read_or_refused_in_one_line(words in prop::collection::vec("\\PC{0,12}", 0..6)) {
            if let Err(why) = Look::read(&words) {
                prop_assert!(!why.is_empty() && !why.contains('\n'), "{why:?}");
            }
        }

        #[test]
        fn a_written_time_is_read_again(number in 2u64..500, unit in 0usize..4) {
            let time = Duration::from_secs(number * UNITS[unit].1);
            prop_assume!(time.as_secs() <= LONGEST);
            prop_assert_eq!(read(&written(time)).unwrap().duration, Some(time));
        }
    }
}
