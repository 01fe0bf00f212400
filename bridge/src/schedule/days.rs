//! Weekdays as they are written: `mon-fri`, `sat,sun`, `daily`. Pure.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Weekday;
use tellhal::nearest;

/// The names, from Monday on.
const NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const LONG: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
/// All seven.
const DAILY: &str = "daily";

/// A set of weekdays, which is not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Days([bool; 7]);

impl Days {
    pub(crate) const DAILY: Days = Days([true; 7]);

    pub(crate) fn has(self, day: Weekday) -> bool {
        usize::try_from(day.to_monday_zero_offset()).is_ok_and(|index| self.0[index])
    }
}

impl FromStr for Days {
    /// The reason, and a hint.
    type Err = (String, String);

    fn from_str(text: &str) -> Result<Days, Self::Err> {
        let mut days = [false; 7];
        for part in text.split([',', ' ']).filter(|part| !part.is_empty()) {
            if part.eq_ignore_ascii_case(DAILY) {
                return Ok(Days::DAILY);
            }
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (day(first)?, day(last)?);
            // A range may go over the end of the week: `sat-mon`.
            let length = (last + 7 - first) % 7;
            (0..=length).for_each(|n| days[(first + n) % 7] = true);
        }
        match days.contains(&true) {
            true => Ok(Days(days)),
            false => Err(("no day is named".into(), "such as mon-fri, or sat,sun".into())),
        }
    }
}

fn day(name: &str) -> Result<usize, (String, String)> {
    let lower = name.to_ascii_lowercase();
    let known =
        NAMES.iter().position(|day| *day == lower).or_else(|| LONG.iter().position(|day| *day == lower));
    known.ok_or_else(|| {
        let hint = nearest::hint(&lower, NAMES.into_iter().chain(LONG));
        let hint = if hint.starts_with("did you mean") { hint } else { "such as mon-fri, or sat,sun".into() };
        (format!("{name:?} is no weekday"), hint)
    })
}

impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Days::DAILY {
            return f.write_str(DAILY);
        }
        let mut parts = Vec::new();
        let mut from = 0;
        while let Some(first) = (from..7).find(|index| self.0[*index]) {
            let end = (first..7).find(|index| !self.0[*index]).unwrap_or(7);
            parts.push(match end - first {
                1 => NAMES[first].to_owned(),
                _ => format!("{}-{}", NAMES[first], NAMES[end - 1]),
            });
            from = end;
        }
        f.write_str(&parts.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_read_and_shown() {
        let cases = [
            ("mon-fri", "mon-fri"),
            ("Monday, wednesday", "mon,wed"),
            ("sat-mon", "mon,sat-sun"),
            ("sun", "sun"),
            ("mon-sun", "daily"),
            ("daily", "daily"),
        ];
        for (text, shown) in cases {
            assert_eq!(text.parse::<Days>().unwrap().to_string(), shown);
        }
        assert!(Days::DAILY.has(Weekday::Sunday));
        let weekend: Days = "sat,sun".parse().unwrap();
        assert!(weekend.has(Weekday::Saturday) && !weekend.has(Weekday::Monday));
    }

    #[test]
    fn a_word_that_is_no_day_has_a_hint() {
        let wrong = |text: &str| text.parse::<Days>().unwrap_err();
        assert_eq!(wrong("mon-fir"), ("\"fir\" is no weekday".into(), "did you mean fri?".into()));
        assert_eq!(wrong("").0, "no day is named");
    }
}
