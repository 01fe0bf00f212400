//! A room's queue on the server: a consumer of this leader's own, recreated after every interruption.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::message::Acker;
use futures_util::StreamExt as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::backlog::MOST;
use super::post::Interrupted;
use super::shared::Shared;
use crate::deliver::outbox;
use crate::delivery::{DeadLetter, Delivery, Receipt};

/// Longer than any wait here: recreating the consumer after an interruption returns unacknowledged deliveries in order. A
/// redelivery in between would break that order.
const ACK_WAIT: Duration = Duration::from_secs(3 * 86_400);

/// The deliveries that wait for a room on the server.
pub(super) struct Queue {
    room: String,
    shared: Shared,
    stop: CancellationToken,
    connections: watch::Receiver<u64>,
    messages: Option<pull::Stream>,
    /// Number of deliveries on the server after the last pulled one.
    behind: u64,
    /// Ids of deliveries that were posted or buried, but perhaps not acknowledged.
    done: HashSet<String>,
}

/// One delivery from the queue.
pub(super) struct Pulled {
    pub(super) delivery: Delivery,
    /// Its size on the wire, in bytes.
    pub(super) size: usize,
    /// Its sequence in `HAL_OUT`.
    pub(super) sequence: u64,
    pub(super) acker: Acker,
}

/// The reason why a queue ended.
pub(super) enum Stop {
    /// The lease was lost, or the relay stops.
    Interrupted,
    /// The queue must be opened again.
    Broken(anyhow::Error),
}

impl From<Interrupted> for Stop {
    fn from(_: Interrupted) -> Self {
        Stop::Interrupted
    }
}

impl From<service::lease::Lost> for Stop {
    fn from(_: service::lease::Lost) -> Self {
        Stop::Interrupted
    }
}

impl From<anyhow::Error> for Stop {
    fn from(error: anyhow::Error) -> Self {
        if error.is::<service::lease::Lost>() { Stop::Interrupted } else { Stop::Broken(error) }
    }
}

impl Queue {
    pub(super) fn new(room: String, shared: Shared, stop: CancellationToken) -> Self {
        let connections = shared.bus.connections.clone();
        Queue { room, shared, stop, connections, messages: None, behind: 0, done: HashSet::new() }
    }

    /// True if the queue must be opened, or reopened, before a pull.
    pub(super) fn is_closed(&self) -> bool {
        self.messages.is_none() || self.connections.has_changed().unwrap_or(false)
    }

    pub(super) fn close(&mut self) {
        self.messages = None;
    }

    /// Number of deliveries on the server after the last pulled one.
    pub(super) fn behind(&self) -> u64 {
        self.behind
    }

    /// Notes the ids of deliveries that have a receipt.
    pub(super) fn set_done(&mut self, ids: Vec<String>) {
        self.done = ids.into_iter().collect();
    }

    /// Creates a consumer of this leader's own: unacknowledged deliveries come again, in order, and the pulls of an
    /// earlier leader end.
    pub(super) async fn open(&mut self) -> Result<(), Stop> {
        self.connections.mark_unchanged();
        self.messages = None;
        let lease = self.shared.lease.clone();
        let out = &self.shared.streams.out;
        let subject = self.shared.bus.names.out(&self.room);
        let mut consumers = out.consumers();
        let mut old = Vec::new();
        while let Some(consumer) = lease.bound(consumers.next()).await? {
            let consumer = consumer.context("consumers cannot be listed")?;
            if consumer.config.filter_subject == subject {
                old.push(consumer.name);
            }
        }
        for name in old {
            let _ = lease.bound(out.delete_consumer(&name)).await?;
        }
        let config = pull::Config {
            filter_subject: subject,
            ack_policy: AckPolicy::Explicit,
            ack_wait: ACK_WAIT,
            max_ack_pending: 2 * MOST as i64,
            inactive_threshold: Duration::from_secs(300),
            ..pull::Config::default()
        };
        let consumer = lease.bound(out.create_consumer(config)).await?.context("no consumer")?;
        let stream = consumer.stream().max_messages_per_batch(500).heartbeat(Duration::from_secs(5));
        let messages = lease.bound(stream.expires(Duration::from_secs(30)).messages()).await?;
        self.recall().await?;
        self.messages = Some(messages.context("the queue cannot be read")?);
        Ok(())
    }

    /// Notes the deliveries of the last receipt and the last dead letter as done: their acknowledgement may be lost.
    async fn recall(&mut self) -> Result<(), Stop> {
        let Shared { bus, streams, lease, .. } = &self.shared;
        let receipt =
            lease.bound(outbox::last::<Receipt>(&streams.sent, bus.names.sent(&self.room))).await??;
        let letter =
            lease.bound(outbox::last::<DeadLetter>(&streams.dead, bus.names.dead(&self.room))).await??;
        let posted = receipt.as_ref().filter(|receipt| receipt.tries > 0).map(|receipt| receipt.at);
        let refused = letter.as_ref().map(|letter| (letter.at, letter.reason.clone()));
        self.done = receipt.into_iter().flat_map(|receipt| receipt.ids).collect();
        self.done.extend(letter.map(|letter| letter.delivery.id.into()));
        self.shared.status.room(&self.room, |room| room.remember(posted, refused));
        Ok(())
    }

    /// The next delivery from the server. Cancel safe.
    pub(super) async fn pull(&mut self) -> Result<Message, Stop> {
        let Some(messages) = &mut self.messages else {
            return Err(Stop::Broken(anyhow::anyhow!("the queue is closed")));
        };
        let next = tokio::select! {
            biased;
            () = self.stop.cancelled() => return Err(Interrupted::Stopped.into()),
            _ = self.connections.changed() => return Err(Stop::Broken(anyhow::anyhow!("the connection was replaced"))),
            next = self.shared.lease.bound(messages.next()) => next?,
        };
        Ok(next.context("the queue ended")?.context("the queue was interrupted")?)
    }

    /// Parses a pulled delivery; `None` if it is done already or cannot be parsed.
    pub(super) async fn read(&mut self, message: Message) -> Result<Option<Pulled>, Stop> {
        let info = message.info().map_err(|error| anyhow::anyhow!("{error}"))?;
        let sequence = info.stream_sequence;
        self.behind = info.pending;
        let (message, acker) = message.split();
        match serde_json::from_slice::<Delivery>(&message.payload) {
            Ok(delivery) if !self.done.contains(delivery.id.as_str()) => {
                return Ok(Some(Pulled { delivery, size: message.payload.len(), sequence, acker }));
            }
            Ok(_) => acknowledge(&acker).await?,
            Err(error) => {
                // Only a leading relay writes here; even so, an entry that cannot be parsed must not vanish.
                tracing::error!(room = self.room, %error, sequence, "a delivery cannot be parsed; keeping it as a dead letter");
                outbox::set_aside(&self.shared.bus, &self.shared.lease, sequence, &message.payload).await?;
                acknowledge(&acker).await?;
            }
        }
        Ok(None)
    }
}

/// Acknowledges and waits until the server has seen it.
pub(super) async fn acknowledge(acker: &Acker) -> anyhow::Result<()> {
    acker
        .double_ack()
        .await
        .map_err(|error| anyhow::anyhow!("the queue did not take an acknowledgement: {error}"))
}
