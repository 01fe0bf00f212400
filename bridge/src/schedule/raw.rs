//! A schedule as it is written.

use schemars::JsonSchema;
use serde::Deserialize;
use tellhal::message::{Severity, Status};

/// A message, or a command whose answer is one, at its times: `every`, or `at`, or `cron`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Schedule {
    /// One word of `A-Z a-z 0-9 _ -`.
    pub(crate) name: Option<String>,
    /// A time of day, such as `10:30`. One that a change of the clocks skips is due at the change; one that comes twice, the first time.
    pub(crate) at: Option<String>,
    /// Weekdays for `at`, such as `mon-fri` or `sat,sun`; every day when absent.
    pub(crate) days: Option<String>,
    /// The only date for `at`, such as `2026-12-24`.
    pub(crate) date: Option<String>,
    /// The time zone of `at`, `date` and `cron`, such as `America/New_York`; the one for all (`zone`) when absent.
    pub(crate) zone: Option<String>,
    /// An interval from a second to 366 days, such as `30s`, counted from 1970-01-01T00:00:00Z.
    pub(crate) every: Option<String>,
    /// A cron pattern: minute, hour, day of the month, month, weekday. If hour and minute are numbers, a change of the clocks is as for `at`;
    /// with wildcards, ranges or steps it goes by the clock on the wall.
    pub(crate) cron: Option<String>,
    /// The age up to which a due time is caught up that was missed while no bridge ran, from `0s` to 31 days: only the last
    /// one. `1h` when absent, and `0s` for `every`.
    pub(crate) catch_up: Option<String>,
    /// The message's tag; `schedule.NAME` when absent.
    pub(crate) tag: Option<String>,
    /// The message's text.
    pub(crate) text: Option<String>,
    /// Its headline.
    pub(crate) title: Option<String>,
    /// Its severity; `info` when absent.
    pub(crate) severity: Option<Severity>,
    /// Its status.
    pub(crate) status: Option<Status>,
    /// Its key.
    pub(crate) key: Option<String>,
    /// A chat command instead of `text`, such as `graph load big`. The person with `schedule = "NAME"` gives it, in the room
    /// `schedule/NAME`; its answer is the message's text.
    pub(crate) command: Option<String>,
}
