//! Points in time: RFC 3339 in UTC on the wire, milliseconds since 1970 in memory.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Milliseconds since 1970-01-01T00:00:00Z; RFC 3339 in UTC when it is shown or serialized.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("format" = "date-time"))]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The current time of the machine's clock.
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    /// The time `by` later; saturates instead of wrapping.
    pub fn plus(self, by: Duration) -> Self {
        Timestamp(self.0.saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    }

    /// The time `by` earlier; saturates instead of wrapping.
    pub fn minus(self, by: Duration) -> Self {
        Timestamp(self.0.saturating_sub(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    }

    /// The time since `earlier`; zero if this is before it.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// From a NATS stream's time, which has nanoseconds.
    pub fn from_stream(at: OffsetDateTime) -> Self {
        Timestamp(i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(at: SystemTime) -> Self {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

impl FromStr for Timestamp {
    type Err = time::error::Parse;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Timestamp::from_stream(OffsetDateTime::parse(text, &Rfc3339)?))
    }
}

impl TryFrom<String> for Timestamp {
    type Error = time::error::Parse;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Timestamp> for String {
    fn from(at: Timestamp) -> String {
        at.to_string()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        // RFC 3339 ends with the year 9999, so later times are shown as its end.
        let nanos = i128::from(self.0.clamp(0, 253_402_300_799_999)) * 1_000_000;
        let at = OffsetDateTime::from_unix_timestamp_nanos(nanos).map_err(|_| fmt::Error)?;
        f.write_str(&at.format(&Rfc3339).map_err(|_| fmt::Error)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_offsets_and_writes_utc() {
        let at: Timestamp = "2026-11-23T03:00:00.25+01:00".parse().unwrap();
        assert_eq!(at.to_string(), "2026-11-23T02:00:00.25Z");
        assert_eq!(at.plus(Duration::from_secs(60)).since(at), Duration::from_secs(60));
        assert_eq!(at.since(at.plus(Duration::from_secs(1))), Duration::ZERO);
        assert!(Timestamp(i64::MAX).to_string().starts_with("9999-12-31"));
        assert!("yesterday".parse::<Timestamp>().is_err());
    }
}
