//! The kinds of monitors, one file each with its settings and its tests, and one line each in `registry`. A source looks at
//! something once and judges it; whether that is a change, and whether it is told, is decided in `core`.

mod command;
mod expect;
mod graphite;
mod http;
mod logstash;
mod prometheus;
pub(crate) mod registry;
mod sql;

use std::path::Path;

use async_trait::async_trait;
use serde_json::Value;
use service::config::KeyProblem;
use service::secret::Pair;
use tellhal::Timestamp;

use super::core::NoData;
use super::observation::Observation;
use crate::api::Api;
use crate::bus::Bus;

/// The most series of one observation.
const SERIES: usize = 10_000;
/// The longest name of a series, in bytes.
const NAME: usize = 200;

/// An opened source.
#[async_trait]
pub(crate) trait Source: Send + Sync {
    /// Looks once. `memory` is what the source has returned the last time, `Null` at first.
    async fn observe(&self, memory: &Value, now: Timestamp) -> Observation;
}

/// The means to open a source.
pub(crate) struct Opening<'a> {
    /// The value at which a threshold counts as good again.
    pub(crate) clear: Option<f64>,
    /// The bus, for a source that reads it.
    pub(crate) bus: Option<&'a Bus>,
}

/// The part of the bus that a source uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Uses {
    Nothing,
    /// It reads the log.
    Log,
    /// It asks handlers of commands, with the bridge's signature.
    Handlers,
}

/// The settings of one kind of monitor.
pub(crate) trait Settings {
    /// Settings that cannot work, beside the value of `clear`. Reads no file and no variable.
    fn problems(&self, clear: Option<f64>) -> Vec<KeyProblem>;

    /// The settings of the HTTP service, if the kind asks one.
    fn api(&self) -> Option<&Api> {
        None
    }

    /// The secrets, whether or not they are written.
    fn secrets(&self) -> Vec<Pair<'_>> {
        self.api().map(Api::secrets).unwrap_or_default()
    }

    /// The CA certificate to trust instead of the system's.
    fn tls_ca(&self) -> Option<&Path> {
        self.api().and_then(Api::tls_ca)
    }

    /// The meaning of no data, where the kind leaves no choice.
    fn no_data(&self) -> Option<NoData> {
        None
    }

    /// The part of the bus that the source uses.
    fn uses(&self) -> Uses {
        Uses::Nothing
    }

    fn open(&self, opening: &Opening) -> anyhow::Result<Box<dyn Source>>;
}

/// The problem of `clear` as a value beside a source that has no threshold.
fn no_threshold(key: &'static str) -> KeyProblem {
    KeyProblem::new(key, "clear is a value, and there is no threshold", "a time, such as clear = \"5m\"")
}
