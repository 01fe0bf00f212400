//! The parts of the relay that the page gets when it is opened.

use std::sync::Arc;

use async_nats::connection::State;
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

impl Shared {
    /// The reason why the page does not show what happens now: the relay's own problem, or the page's connection.
    pub(super) fn problem(&self) -> Option<String> {
        let is_connected = self.bus.client.connection_state() == State::Connected;
        let lost = || (!is_connected).then(|| format!("the page is not connected to {}", self.bus.server()));
        self.status.ready().err().or_else(lost)
    }
}
