//! The parts of the relay that every worker of a leader uses.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use service::lease::Lease;

use crate::bus::Bus;
use crate::bus::streams::Streams;
use crate::delivery::Receipt;
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
    pub unsaved: Arc<Unsaved>,
}

/// Receipts of posts that were made, but could not be stored before the lease was lost. They outlast the term: if this relay
/// leads again, it stores them instead of posting once more.
#[derive(Debug, Default)]
pub struct Unsaved(Mutex<BTreeMap<String, Vec<Receipt>>>);

impl Unsaved {
    pub(super) fn add(&self, receipt: Receipt) {
        self.lock().entry(receipt.room.clone()).or_default().push(receipt);
    }

    /// Takes the receipts of a room, oldest first.
    pub(super) fn take(&self, room: &str) -> Vec<Receipt> {
        self.lock().remove(room).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Vec<Receipt>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes reserved for headers and subject below the server's limit for a message.
const HEADROOM: usize = 2048;

impl Shared {
    /// The largest payload that the server takes with our headers, in bytes.
    pub(crate) fn payload_limit(&self) -> usize {
        self.bus.client.server_info().max_payload.saturating_sub(HEADROOM)
    }
}
