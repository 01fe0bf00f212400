//! The bounds of a value: the one beyond which it is wrong, and the one at which it is good again. Pure.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;
use service::config::KeyProblem;

use super::observation::{Level, Reading};

/// The keys of a threshold, as they are written in a source's table. Exactly one of the four is.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
pub(crate) struct Limits {
    /// It is wrong above this value.
    #[serde(default)]
    above: Option<f64>,
    /// It is wrong below this value.
    #[serde(default)]
    below: Option<f64>,
    /// It is wrong at this value and above.
    #[serde(default)]
    at_least: Option<f64>,
    /// It is wrong at this value and below.
    #[serde(default)]
    at_most: Option<f64>,
    /// The unit of the values, such as `ms`.
    #[serde(default)]
    unit: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Side {
    Above,
    Below,
    AtLeast,
    AtMost,
}

/// A threshold.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Threshold {
    side: Side,
    limit: f64,
    /// The value at which it is good again, if that is another one.
    clear: Option<f64>,
    unit: String,
}

impl Limits {
    fn written(&self) -> Vec<(&'static str, Side, f64)> {
        let all = [
            ("above", Side::Above, self.above),
            ("below", Side::Below, self.below),
            ("at_least", Side::AtLeast, self.at_least),
            ("at_most", Side::AtMost, self.at_most),
        ];
        all.into_iter().filter_map(|(key, side, limit)| Some((key, side, limit?))).collect()
    }

    /// Mistakes in the limits, which stand beside `clear`.
    pub(crate) fn problems(&self, clear: Option<f64>) -> Vec<KeyProblem> {
        let hint = "write one of above, below, at_least, at_most";
        match self.written().as_slice() {
            [] => vec![KeyProblem::new("above", "there is no threshold", hint)],
            [(key, side, limit)] => {
                let is_beyond = |clear: f64| match side {
                    Side::Above | Side::AtLeast => clear > *limit,
                    Side::Below | Side::AtMost => clear < *limit,
                };
                let bad = clear.filter(|clear| is_beyond(*clear)).map(|clear| {
                    let what = format!("{key} = {limit}, so clear = {clear} would be good and wrong at once");
                    KeyProblem::new(key, what, "clear is on the good side of the threshold")
                });
                let endless = (!limit.is_finite())
                    .then(|| KeyProblem::new(key, format!("{limit} is no threshold"), "write a number"));
                bad.into_iter().chain(endless).collect()
            }
            [_, (key, ..), ..] => vec![KeyProblem::new(key, "there is another threshold", hint)],
        }
    }

    /// The threshold, if one is written.
    pub(crate) fn threshold(&self, clear: Option<f64>) -> Option<Threshold> {
        let (_, side, limit) = *self.written().first()?;
        Some(Threshold { side, limit, clear, unit: self.unit.clone().unwrap_or_default() })
    }
}

impl Threshold {
    fn is_wrong(&self, value: f64) -> bool {
        match self.side {
            Side::Above => value > self.limit,
            Side::Below => value < self.limit,
            Side::AtLeast => value >= self.limit,
            Side::AtMost => value <= self.limit,
        }
    }

    fn is_clear(&self, value: f64) -> bool {
        match (self.side, self.clear) {
            (_, None) => true,
            (Side::Above | Side::AtLeast, Some(clear)) => value <= clear,
            (Side::Below | Side::AtMost, Some(clear)) => value >= clear,
        }
    }

    /// The reading that a value gives; a value that is no number is none.
    pub(crate) fn reading(&self, value: Option<f64>) -> Reading {
        let Some(value) = value.filter(|value| !value.is_nan()) else { return Reading::nothing("") };
        let (level, what) = match (self.is_wrong(value), self.is_clear(value)) {
            (true, _) => (Level::Wrong, format!(", {self}")),
            (false, true) => (Level::Good, format!(", not {self}")),
            (false, false) => (Level::Between, format!(", not {self}, not yet clear")),
        };
        let words = format!("{}{what}", self.with_unit(value));
        Reading { value: Some(value), ..Reading::new(level, words) }
    }

    fn with_unit(&self, value: f64) -> String {
        match self.unit.as_str() {
            "" => number(value),
            unit => format!("{} {unit}", number(value)),
        }
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let side = match self.side {
            Side::Above => "above",
            Side::Below => "below",
            Side::AtLeast => "at least",
            Side::AtMost => "at most",
        };
        write!(f, "{side} {}", number(self.limit))
    }
}

/// A number as people read it: at most three digits behind the point, none without a use.
pub(crate) fn number(value: f64) -> String {
    let is_plain = value == 0.0 || (1e-3..1e15).contains(&value.abs());
    if !is_plain {
        return format!("{value:e}");
    }
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(toml: &str) -> Limits {
        toml::from_str(toml).unwrap()
    }

    #[test]
    fn a_value_is_judged_by_its_side_and_its_clear_value() {
        use Level::{Between, Good, Nothing, Wrong};
        let cases = [
            ("above = 50", None, vec![(50.0, Good), (50.1, Wrong), (f64::INFINITY, Wrong)]),
            (
                "at_least = 50",
                Some(40.0),
                vec![(50.0, Wrong), (49.9, Between), (40.1, Between), (40.0, Good)],
            ),
            ("below = 5", Some(8.0), vec![(5.0, Between), (4.9, Wrong), (8.0, Good), (7.9, Between)]),
            ("at_most = 0", None, vec![(0.0, Wrong), (0.1, Good), (f64::NAN, Nothing)]),
        ];
        for (toml, clear, values) in cases {
            let limits = limits(toml);
            assert_eq!(limits.problems(clear), []);
            let threshold = limits.threshold(clear).unwrap();
            for (value, level) in values {
                assert_eq!(threshold.reading(Some(value)).level, level, "{toml} {value}");
            }
        }
    }

    #[test]
    fn exactly_one_threshold_is_written_and_clear_is_on_its_good_side() {
        let keys = |toml: &str, clear| {
            let problems = limits(toml).problems(clear);
            problems.iter().map(|problem| problem.key).collect::<Vec<_>>()
        };
        assert_eq!(keys("", None), ["above"]);
        assert_eq!(keys("above = 1\nat_most = 2", None), ["at_most"]);
        assert_eq!(keys("above = 1", Some(2.0)), ["above"]);
        assert_eq!(keys("below = 1", Some(0.5)), ["below"]);
        assert_eq!(keys("above = inf", None), ["above"]);
    }

    #[test]
    fn words_are_short() {
        let threshold = limits("above = 50\nunit = 'ms'").threshold(Some(40.0)).unwrap();
        let words = |value| threshold.reading(value).words;
        assert_eq!(words(Some(61.23456)), "61.235 ms, above 50");
        assert_eq!(words(Some(45.0)), "45 ms, not above 50, not yet clear");
        assert_eq!(words(Some(0.0)), "0 ms, not above 50");
        assert_eq!(words(None), "no data");
        assert_eq!(
            (number(1e20).as_str(), number(0.00001).as_str(), number(1234567.0).as_str()),
            ("1e20", "1e-5", "1234567")
        );
        assert_eq!(number(-0.5), "-0.5");
    }
}
