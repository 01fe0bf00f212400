//! The stream's clock between two entries of the log: the time of the last entry, and what has passed since on the monotonic
//! clock. The wall clocks of two machines are never compared. Pure.

use std::time::Instant;

use tellhal::Timestamp;

/// An estimate of the stream's time that never goes back.
#[derive(Debug)]
pub(super) struct StreamClock {
    at: Timestamp,
    since: Instant,
}

impl StreamClock {
    pub(super) fn new(at: Timestamp, since: Instant) -> Self {
        StreamClock { at, since }
    }

    pub(super) fn now(&self, now: Instant) -> Timestamp {
        self.at.plus(now.saturating_duration_since(self.since))
    }

    /// An entry of the time `at` was read. A time that is behind the estimate says nothing: the server's clock may have been
    /// set back, and time passes all the same.
    pub(super) fn saw(&mut self, at: Timestamp, now: Instant) {
        if at > self.now(now) {
            *self = StreamClock { at, since: now };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn time_passes_while_the_servers_clock_is_set_back_and_follows_it_forward() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let at = |second: i64| Timestamp(1_795_000_000_000 + second * 1000);
        let mut clock = StreamClock::new(at(0), start);
        assert_eq!(clock.now(after(10)), at(10));
        for second in 10..20 {
            clock.saw(at(second as i64 - 40 * 86_400), after(second));
        }
        assert_eq!(clock.now(after(20)), at(20));
        clock.saw(at(90_000), after(21));
        assert_eq!(clock.now(after(22)), at(90_001));
    }
}
