//! Monitors as they are written, and their checks.

use schemars::JsonSchema;
use serde::Deserialize;
use service::secret::Secret;

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Monitor {
    name: Option<String>,
    tag: Option<String>,
    severity: Option<String>,
    every: Option<String>,
    graphite: Option<Graphite>,
    expect: Option<Expect>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Graphite {
    /// Graphite's address, in which a password may stand.
    url: Option<Secret>,
    target: Option<String>,
    above: Option<f64>,
    below: Option<f64>,
    at_least: Option<f64>,
    at_most: Option<f64>,
    window: Option<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Expect {
    /// The tag of the expected message.
    seen: Option<String>,
    within: Option<String>,
    grace: Option<String>,
}
