//! The only place that publishes. A message ends in the log or in the spool, and the messages in the spool are sent as
//! soon as the bus is back.

use std::sync::Arc;
use std::time::Duration;

use tellhal::flush::flush;
use tellhal::spool::Spool;
use tellhal::{Kept, Message, Outlet};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::metrics::{Metrics, SourceOutcome};

/// The reserved source of everything the bridge publishes.
pub(crate) const SOURCE: &str = "bridge";
/// The longest wait for the log's acknowledgement; after it a message goes to the spool.
const BUDGET: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_secs(1);
const FLUSH_FOR: Duration = Duration::from_secs(10);

/// The end of a message here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The log has it.
    Acknowledged,
    /// The spool has it.
    Spooled,
    /// Neither has it.
    Lost,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Outcome::Acknowledged => "acknowledged",
            Outcome::Spooled => "spooled",
            Outcome::Lost => "lost",
        }
    }

    /// It outlives this process.
    pub(crate) fn is_kept(self) -> bool {
        self != Outcome::Lost
    }
}

/// The way out. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Outbox {
    outlet: Outlet,
    metrics: Arc<Metrics>,
}

impl Outbox {
    pub(crate) fn new(outlet: Outlet, metrics: Arc<Metrics>) -> Self {
        Outbox { outlet, metrics }
    }

    /// Keeps `message`, or logs that it is lost. `source` is the kind of source it came from.
    pub(crate) async fn publish(&self, source: &'static str, message: &Message) -> Outcome {
        let outcome = match self.outlet.keep(message, Instant::now() + BUDGET).await {
            Ok(Kept::Acknowledged(_)) => Outcome::Acknowledged,
            Ok(Kept::Spooled(refusal)) => {
                tracing::warn!(id = message.id, tag = %message.tag, %refusal, "message spooled");
                Outcome::Spooled
            }
            Err(error) => {
                tracing::error!(id = message.id, tag = %message.tag, %error, "message lost");
                Outcome::Lost
            }
        };
        let label = SourceOutcome { source, outcome: outcome.as_str() };
        self.metrics.messages.get_or_create(&label).inc();
        outcome
    }

    /// True while the bus is connected.
    pub(crate) fn is_connected(&self) -> bool {
        self.outlet.publisher().is_connected()
    }

    /// The reason why messages cannot reach the log now; `None` if they can.
    pub(crate) async fn trouble(&self) -> Option<String> {
        let publisher = self.outlet.publisher();
        if !publisher.is_connected() {
            return Some(format!("no connection to {}", publisher.server()));
        }
        let stream = publisher.names().ops_stream();
        let jetstream = async_nats::jetstream::new(publisher.client().clone());
        match tokio::time::timeout(BUDGET, jetstream.get_stream(&stream)).await {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(format!("stream {stream}: {error}")),
            Err(_) => {
                Some(format!("stream {stream}: no answer within {}", humantime::format_duration(BUDGET)))
            }
        }
    }

    /// Logs when the connection is made or lost, and empties the spool while it is there.
    pub(crate) async fn tend(&self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut was = None;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => return,
            }
            let server = self.outlet.publisher().server();
            let is = self.outlet.publisher().is_connected();
            if was.replace(is) != Some(is) {
                match is {
                    true => tracing::info!(server, "connected"),
                    false => tracing::warn!(server, "not connected; messages go to the spool"),
                }
            }
            self.metrics.connected.set(i64::from(is));
            match is {
                true => self.flush().await,
                false => self.count(),
            }
        }
    }

    /// Counts the messages in the spool for the metrics.
    fn count(&self) {
        if let Ok(Some(spool)) = Spool::existing(self.outlet.spool())
            && let Ok(waiting) = spool.waiting()
        {
            self.metrics.spooled.set(i64::try_from(waiting.len()).unwrap_or(i64::MAX));
        }
    }

    async fn flush(&self) {
        let path = self.outlet.spool();
        let spool = match Spool::existing(path) {
            Ok(Some(spool)) => spool,
            Ok(None) => return,
            Err(error) => return tracing::error!(%error, "the spool cannot be used"),
        };
        match flush(self.outlet.publisher(), &spool, Instant::now() + FLUSH_FOR).await {
            Ok(done) => {
                self.metrics.flushed.inc_by(done.sent);
                self.metrics.spooled.set(i64::try_from(done.left + done.busy).unwrap_or(i64::MAX));
                if done.sent > 0 {
                    tracing::info!(sent = done.sent, left = done.left, "spooled messages sent");
                }
                for broken in &done.broken {
                    tracing::error!(?broken, "a file in the spool is not a message; moved to bad/");
                }
                for refusal in &done.refused {
                    tracing::error!(%refusal, "no server takes this spooled message; moved to bad/");
                }
            }
            Err(error) => tracing::error!(%error, "the spool cannot be emptied"),
        }
    }
}
