//! The parts of the bridge that every source uses, and the tasks of one.

use std::sync::Arc;
use std::time::Duration;

use service::process::drain;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::bus::Bus;
use crate::chat::sessions::States;
use crate::command::Commands;
use crate::graph::easel::Easel;
use crate::metrics::Metrics;
use crate::outbox::Outbox;

/// The parts of the bridge that sources use. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Means {
    pub(crate) outbox: Outbox,
    pub(crate) bus: Bus,
    /// This process in leases: a word that no other one has.
    pub(crate) owner: String,
    pub(crate) commands: Commands,
    /// The turns in which graphs are drawn.
    pub(crate) easel: Easel,
    pub(crate) metrics: Arc<Metrics>,
    /// The states of the intakes of MQTT, for health.
    pub(crate) mqtt: States,
}

/// The tasks of one source.
#[derive(Default)]
pub(crate) struct Running {
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
}

impl Running {
    /// Begins nothing further, and waits at most `grace` for what is under way.
    pub(crate) async fn end(self, grace: Duration) {
        self.stop.cancel();
        drain(&self.tasks, grace).await;
    }
}
