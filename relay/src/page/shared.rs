//! The parts of the relay that the page gets when it is opened.

use std::sync::Arc;

use tokio::sync::watch;

use crate::bus::Bus;
use crate::config::page::Page;
use crate::engine::Rules;
use crate::index::Index;
use crate::lead::rooms::Rooms;
use crate::status::Status;
use crate::status::metrics::Metrics;

/// The parts of the relay that the page needs.
pub struct Shared {
    pub config: Page,
    pub bus: Bus,
    pub status: Arc<Status>,
    pub metrics: Arc<Metrics>,
    /// The rules and rooms of this relay's configuration.
    pub rules: watch::Receiver<Arc<Rules>>,
    pub rooms: watch::Receiver<Arc<Rooms>>,
    /// The index, or the reason why there is none.
    pub index: Result<Arc<Index>, String>,
}
