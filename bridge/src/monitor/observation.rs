//! The result of looking at a monitored thing once, in the same terms for every kind of source.

use serde_json::Value;

/// The judgement of one reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Good,
    /// Neither wrong nor clearly good again: it stays as it is.
    Between,
    Wrong,
    /// There is no value.
    Nothing,
}

/// One series at one time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reading {
    /// Its name among the monitor's series; empty for the monitor itself.
    pub(crate) series: String,
    pub(crate) level: Level,
    /// The value and its bounds in words, such as `61, above 50`.
    pub(crate) words: String,
    pub(crate) value: Option<f64>,
    /// The values that it was made of, oldest first, for a plot.
    pub(crate) points: Vec<Option<f64>>,
}

impl Reading {
    /// A reading of the monitor itself.
    pub(crate) fn new(level: Level, words: impl Into<String>) -> Reading {
        Reading { series: String::new(), level, words: words.into(), value: None, points: Vec::new() }
    }

    /// The reading of a series that has no value.
    pub(crate) fn nothing(series: impl Into<String>) -> Reading {
        Reading { series: series.into(), ..Reading::new(Level::Nothing, "no data") }
    }

    pub(crate) fn of(self, series: impl Into<String>) -> Reading {
        Reading { series: series.into(), ..self }
    }
}

/// Something that becomes a message by itself, such as a found line of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) text: String,
    /// The source's own id of it.
    pub(crate) id: String,
}

/// A source's answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Observed {
    pub(crate) readings: Vec<Reading>,
    pub(crate) events: Vec<Event>,
    /// All that the source has to know the next time.
    pub(crate) memory: Value,
}

/// An answer, or the reason why there is no valid one, in one line.
pub(crate) type Observation = Result<Observed, String>;

/// All series as one reading: the worst level, with the series that have it.
pub(crate) fn together(readings: &[Reading]) -> Reading {
    let with = |level: Level| readings.iter().filter(move |reading| reading.level == level);
    let order = [Level::Wrong, Level::Between, Level::Good, Level::Nothing];
    let level = order.into_iter().find(|level| with(*level).next().is_some()).unwrap_or(Level::Nothing);
    let (all, count) = (readings.len(), with(level).count());
    let mut words = match (level, all) {
        (_, 0) => "no data".to_owned(),
        (_, 1) => String::new(),
        _ => format!("{count} of {all} series: "),
    };
    let shown: Vec<String> = with(level).take(SHOWN).map(named).collect();
    words += &shown.join("; ");
    if count > SHOWN {
        words += &format!("; {} more", count - SHOWN);
    }
    let worst = with(level).find_map(|reading| reading.value);
    let points = readings.first().filter(|_| all == 1).map(|reading| reading.points.clone());
    Reading { value: worst, points: points.unwrap_or_default(), ..Reading::new(level, words) }
}

/// The most series that one message names.
const SHOWN: usize = 10;

fn named(reading: &Reading) -> String {
    match reading.series.as_str() {
        "" => reading.words.clone(),
        series => format!("{series} {}", reading.words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_series_are_as_bad_as_the_worst() {
        let of = |series: &str, level, words: &str| Reading::new(level, words).of(series);
        let all = [
            of("a", Level::Good, "1"),
            of("b", Level::Wrong, "61, above 50"),
            Reading::nothing("c"),
            of("d", Level::Wrong, "70, above 50"),
        ];
        let one = together(&all);
        assert_eq!(
            (one.level, one.words.as_str()),
            (Level::Wrong, "2 of 4 series: b 61, above 50; d 70, above 50")
        );
        assert_eq!(together(&all[..1]).words, "a 1");
        assert_eq!((together(&[]).level, together(&[]).words.as_str()), (Level::Nothing, "no data"));
        let many: Vec<Reading> = (0..12).map(|i| of(&i.to_string(), Level::Wrong, "w")).collect();
        assert!(together(&many).words.ends_with("9 w; 2 more"), "{}", together(&many).words);
    }
}
