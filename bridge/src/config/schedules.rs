//! Schedules as they are written, and their checks.

use schemars::JsonSchema;
use serde::Deserialize;

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Schedule {
    name: Option<String>,
    /// A time of day, such as `10:30`.
    at: Option<String>,
    /// Such as `mon-fri`.
    days: Option<String>,
    zone: Option<String>,
    /// An interval, such as `30s`.
    every: Option<String>,
    tag: Option<String>,
    text: Option<String>,
}
