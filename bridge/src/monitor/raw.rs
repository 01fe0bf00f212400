//! Monitors as they are written. Their checks are in `config/monitors.rs`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::core::NoData;
use super::source::registry::Kinds;

/// A monitor. Its kind is the name of its table, such as `[monitors.graphite]`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("additionalProperties" = false))]
pub(crate) struct Monitor {
    /// One name in all files; a part of the keys of its messages.
    pub(crate) name: Option<String>,
    /// The tag of its messages.
    pub(crate) tag: Option<String>,
    /// The severity of its messages, those of its end too, so that the same rooms get them; `warning` when absent.
    pub(crate) severity: Option<String>,
    /// The interval at which it looks, from a second to 5 days; `1m` when absent.
    pub(crate) every: Option<String>,
    /// The time that it must be wrong before it is told; none when absent.
    pub(crate) r#for: Option<String>,
    /// The value at which a threshold counts as good again, or the time that it must be good; at once when absent.
    pub(crate) clear: Option<Clear>,
    /// The meaning of no data; `tell` when absent.
    pub(crate) no_data: NoData,
    /// The looks in a row without data, or without an answer, that count, 1 to 1000; 3 when absent.
    pub(crate) misses: Option<u32>,
    /// Each series has messages of its own; `true` when absent.
    pub(crate) each: Option<bool>,
    /// The name that messages have for it; its own when absent.
    pub(crate) label: Option<String>,
    /// An address for its messages, such as that of a dashboard.
    #[schemars(extend("format" = "uri"))]
    pub(crate) link: Option<String>,
    /// The name of a graph of `[graphs]`. A message that it is wrong has the picture, as it is at that time.
    pub(crate) graph: Option<String>,
    #[serde(flatten)]
    pub(crate) kinds: Kinds,
}

/// A value, or a time.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Clear {
    At(f64),
    After(String),
}
