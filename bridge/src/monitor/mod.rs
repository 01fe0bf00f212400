//! Monitors: something is looked at again and again, and its changes become messages.
//!
//! ```text
//!  source ──observation──▶ core ──transitions──▶ told (their messages) ──▶ store ──▶ outbox
//! ```
//!
//! One bridge at a time has the lease of all monitors. The state is stored together with the messages that it has led to, before
//! they are published, so that a bridge that is killed neither forgets a change nor tells it twice.

mod core;
mod lead;
mod observation;
mod picture;
mod plot;
pub(crate) mod raw;
mod removed;
mod session;
pub(crate) mod source;
mod store;
pub(crate) mod test_command;
mod threshold;
mod told;

use std::time::Duration;

use tellhal::{Severity, Tag};

use self::source::registry::Config;
use crate::graph::Graph;

pub(crate) use self::core::Rules;
pub(crate) use self::lead::Monitors;

/// A monitor as it runs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Monitor {
    pub(crate) name: String,
    pub(crate) tag: Tag,
    pub(crate) severity: Severity,
    /// The name that its messages have for it.
    pub(crate) label: String,
    pub(crate) link: Option<String>,
    pub(crate) every: Duration,
    pub(crate) rules: Rules,
    /// Each series has messages of its own.
    pub(crate) each: bool,
    /// The value at which a threshold counts as good again.
    pub(crate) clear: Option<f64>,
    pub(crate) source: Config,
    /// Its picture is in the messages of a change to wrong.
    pub(crate) graph: Option<Graph>,
}
