//! The ages of the log's entries, counted on the leader's monotonic clock: a wall clock that jumps (the relay's, or the server's,
//! which sets an entry's time) makes nothing older or younger. Time during which no relay leads does not count. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Older entries all count as this old.
const LONGEST: Duration = Duration::from_secs(8 * 86_400);
/// An age is at most this part too low.
const PRECISION: u64 = 32;

/// Which entries were folded how long ago, for takeovers and restarts a part of the snapshot.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ages {
    /// The time for which relays have led, in milliseconds.
    led: u64,
    /// Moments of `led`, oldest first, each with the last entry that was folded then.
    marks: VecDeque<(u64, u64)>,
    #[serde(skip)]
    last: Option<Instant>,
}

impl Ages {
    /// Notes that the entries up to `sequence` are folded by `now`.
    pub fn mark(&mut self, now: Instant, sequence: u64) {
        let passed =
            self.last.replace(now).map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        self.led += millis(passed);
        if self.marks.back().is_none_or(|(_, last)| *last < sequence) {
            self.marks.push_back((self.led, sequence));
            self.thin();
        }
        while self.marks.get(1).is_some_and(|(at, _)| self.led - at >= millis(LONGEST)) {
            self.marks.pop_front();
        }
    }

    /// The last entry that was folded at least `age` ago; 0 if there is none.
    pub fn older_than(&self, age: Duration) -> u64 {
        let is_old = |(at, _): &(u64, u64)| self.led.saturating_sub(*at) >= millis(age);
        let count = self.marks.partition_point(is_old);
        count.checked_sub(1).map_or(0, |last| self.marks[last].1)
    }

    /// Leaves out marks that lie closer together than their age needs.
    fn thin(&mut self) {
        let mut kept: VecDeque<(u64, u64)> = VecDeque::with_capacity(self.marks.len());
        for (index, mark) in self.marks.iter().enumerate() {
            let is_needed = match (kept.back(), self.marks.get(index + 1)) {
                (Some((before, _)), Some((after, _))) => after - before > (self.led - after) / PRECISION,
                _ => true,
            };
            if is_needed {
                kept.push_back(*mark);
            }
        }
        self.marks = kept;
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn restarted(ages: &Ages) -> Ages {
        serde_json::from_str(&serde_json::to_string(ages).unwrap()).unwrap()
    }

    #[test]
    fn an_age_is_the_time_led_over_restarts_and_not_the_time_between_them() {
        let (mut ages, start) = (Ages::default(), Instant::now());
        ages.mark(start, 7);
        ages.mark(start + DAY / 2, 8);
        assert_eq!(ages.older_than(DAY), 0);
        let mut ages = restarted(&ages);
        let start = start + 100 * DAY;
        ages.mark(start, 8);
        assert_eq!(ages.older_than(DAY), 0, "a hundred days without a leader are no age");
        ages.mark(start + DAY / 2, 9);
        assert_eq!((ages.older_than(DAY), ages.older_than(DAY / 2)), (7, 8));
    }

    proptest! {
        #[test]
        fn an_age_is_never_too_high_and_at_most_a_little_too_low(
            steps in prop::collection::vec((1u64..5_000_000, 0u64..3), 1..300), age in 1u64..500_000_000,
        ) {
            let (mut ages, start) = (Ages::default(), Instant::now());
            let (mut at, mut sequence, mut all) = (0, 0, Vec::new());
            for (step, entries) in steps {
                at += step;
                sequence += entries;
                all.push((at, sequence));
                ages.mark(start + Duration::from_millis(at), sequence);
            }
            let before = |age: u64| {
                all.iter().rev().find(|(then, _)| at - then >= age).map_or(0, |(_, sequence)| *sequence)
            };
            let answer = ages.older_than(Duration::from_millis(age));
            prop_assert!(answer <= before(age), "{answer} is too young");
            prop_assert!(answer >= before(age + age / PRECISION + 1), "{answer} is too old");
        }

        #[test]
        fn a_week_of_marks_each_second_is_small(step in 1u64..2000) {
            let (mut ages, start) = (Ages::default(), Instant::now());
            for number in 0..2000 {
                ages.mark(start + Duration::from_millis(number * step * 300), number);
            }
            prop_assert!(ages.marks.len() < 500, "{} marks", ages.marks.len());
        }
    }
}
