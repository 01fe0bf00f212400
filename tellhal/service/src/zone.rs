//! The time zone in which people read times. Its rules are built in, so that every machine has the same without any file.

use std::fmt;

use jiff::tz::{TimeZone, TimeZoneDatabase};
use tellhal::{Timestamp, nearest};

/// The hint if no zone has a similar name.
const EXAMPLES: &str = "UTC, or a city's zone such as Europe/Berlin or America/New_York";

/// A time zone; UTC by default.
#[derive(Clone, Debug, PartialEq)]
pub struct Zone(TimeZone);

impl Default for Zone {
    fn default() -> Self {
        Zone(TimeZone::UTC)
    }
}

impl Zone {
    /// The zone with this name of the IANA database. The error is what is wrong with the name, and a hint.
    pub fn named(name: &str) -> Result<Zone, (String, String)> {
        if name.eq_ignore_ascii_case("UTC") || name == "Z" {
            return Ok(Zone::default());
        }
        let zones = TimeZoneDatabase::bundled();
        zones.get(name).map(Zone).map_err(|_| {
            let names: Vec<String> = zones.available().map(|name| name.to_string()).collect();
            let hint = nearest::hint(name, names.iter().map(String::as_str));
            // There are too many to name them all.
            let hint = if hint.starts_with("did you mean") { hint } else { EXAMPLES.to_owned() };
            (format!("{name:?} is no time zone"), hint)
        })
    }

    /// Its rules, for calculations.
    pub fn time_zone(&self) -> &TimeZone {
        &self.0
    }

    /// The time of day: `03:00:01Z` in UTC, `04:00:01 CET` elsewhere.
    pub fn clock(&self, at: Timestamp) -> String {
        self.format("%H:%M:%S", at)
    }

    /// Date and time of day: `2026-11-27 03:00:01Z`.
    pub fn date_and_clock(&self, at: Timestamp) -> String {
        self.format("%Y-%m-%d %H:%M:%S", at)
    }

    /// A moment for a line of its own: as data in UTC, `2026-11-27 04:00:01.250 CET` elsewhere.
    pub fn moment(&self, at: Timestamp) -> String {
        if self.0 == TimeZone::UTC { at.to_string() } else { self.format("%Y-%m-%d %H:%M:%S.%3f", at) }
    }

    /// True if both times are on one day.
    pub fn is_one_day(&self, one: Timestamp, other: Timestamp) -> bool {
        self.civil(one).date() == self.civil(other).date()
    }

    fn format(&self, format: &str, at: Timestamp) -> String {
        let at = self.civil(at);
        let zone = if self.0 == TimeZone::UTC { "Z".to_owned() } else { at.strftime(" %Z").to_string() };
        format!("{}{zone}", at.strftime(format))
    }

    fn civil(&self, at: Timestamp) -> jiff::Zoned {
        // Like `Timestamp`'s own text, it ends where the calendar does.
        let at = at.0.clamp(0, jiff::Timestamp::MAX.as_millisecond());
        jiff::Timestamp::from_millisecond(at).unwrap_or_default().to_zoned(self.0.clone())
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.0.iana_name().unwrap_or("UTC"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_says_its_zone() {
        let at: Timestamp = "2026-07-01T22:30:00Z".parse().unwrap();
        let winter: Timestamp = "2026-12-01T22:30:00Z".parse().unwrap();
        let shown = |name: &str| {
            let zone = Zone::named(name).unwrap();
            (
                zone.clock(at),
                zone.date_and_clock(winter),
                zone.is_one_day(at, Timestamp(at.0 + 5_400_000 - 1)),
            )
        };
        let of = |clock: &str, dated: &str, one_day| (clock.to_owned(), dated.to_owned(), one_day);
        for utc in ["UTC", "utc", "Z"] {
            assert_eq!(shown(utc), of("22:30:00Z", "2026-12-01 22:30:00Z", true));
        }
        assert_eq!(shown("Europe/Berlin"), of("00:30:00 CEST", "2026-12-01 23:30:00 CET", true));
        assert_eq!(shown("America/Sao_Paulo"), of("19:30:00 -03", "2026-12-01 19:30:00 -03", true));
        assert_eq!(shown("Europe/London"), of("23:30:00 BST", "2026-12-01 22:30:00 GMT", false));
        assert_eq!(Zone::named("Europe/Berlin").unwrap().to_string(), "Europe/Berlin");
        assert_eq!(Zone::default().to_string(), "UTC");
        assert_eq!(Zone::default().moment(at), "2026-07-01T22:30:00Z");
        assert_eq!(Zone::named("Asia/Tokyo").unwrap().moment(at), "2026-07-02 07:30:00.000 JST");
    }

    #[test]
    fn a_zone_that_is_none_has_a_hint() {
        let problem = |name: &str| Zone::named(name).unwrap_err();
        let what = "\"Europe/Berln\" is no time zone".to_owned();
        assert_eq!(problem("Europe/Berln"), (what, "did you mean Europe/Berlin?".to_owned()));
        assert_eq!(problem("").1, EXAMPLES);
        assert_eq!(problem("zzzz").1, EXAMPLES);
    }

    #[test]
    fn no_time_is_beyond_the_calendar() {
        for millis in [i64::MIN, i64::MAX, 0] {
            let zone = Zone::named("Asia/Tokyo").unwrap();
            assert!(
                zone.date_and_clock(Timestamp(millis)).ends_with(" JST"),
                "{}",
                zone.date_and_clock(Timestamp(millis))
            );
        }
    }
}
