//! The parts of the relay that every worker of a leader uses.

use std::sync::Arc;

use service::lease::Lease;

use crate::bus::{Bus, Streams};
use crate::status::Status;
use crate::status::metrics::Metrics;
use crate::status::notice::Notices;

/// The state shared by a leader's workers.
#[derive(Clone)]
pub struct Shared {
    pub bus: Bus,
    pub streams: Streams,
    pub lease: Arc<Lease>,
    pub metrics: Arc<Metrics>,
    pub status: Arc<Status>,
    pub notices: Notices,
}

/// Bytes reserved for headers and subject below the server's limit for a message.
const HEADROOM: usize = 2048;

impl Shared {
    /// The largest payload that the server takes with our headers, in bytes.
    pub(crate) fn payload_limit(&self) -> usize {
        self.bus.client.server_info().max_payload.saturating_sub(HEADROOM)
    }
}
