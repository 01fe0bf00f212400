//! Reads a stream from some place to its present end, in order. Follows nothing and acknowledges nothing.

use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::pull::{Ordered, OrderedConfig};
use async_nats::jetstream::consumer::{Consumer, DeliverPolicy};
use async_nats::jetstream::stream::Stream;
use futures_util::StreamExt;
use tellhal::Timestamp;

/// How long a server may keep the next message to itself before the scan gives up.
const PATIENCE: Duration = Duration::from_secs(10);

/// Some of a stream's messages, up to the last one that was there when it was opened or while it was read.
pub struct Scan {
    /// `None` at the end.
    messages: Option<Ordered>,
}

/// One message of a stream.
#[derive(Clone, Debug)]
pub struct Found {
    pub sequence: u64,
    pub at: Timestamp,
    pub message: Message,
}

impl Scan {
    /// The messages of `stream` whose subject matches `filter`, from `from` on.
    pub async fn open<T>(stream: &Stream<T>, filter: String, from: DeliverPolicy) -> anyhow::Result<Scan> {
        let consumer = ordered(stream, filter, from).await?;
        if consumer.cached_info().num_pending == 0 {
            return Ok(Scan { messages: None });
        }
        Ok(Scan { messages: Some(consumer.messages().await?) })
    }

    /// The next message, or `None` at the stream's end.
    pub async fn next(&mut self) -> anyhow::Result<Option<Found>> {
        let Some(messages) = &mut self.messages else { return Ok(None) };
        let next = tokio::time::timeout(PATIENCE, messages.next());
        let message = next.await.context("the server stopped answering")?.context("the stream ended")??;
        let found = Found::new(message)?;
        if found.message.info().map_err(anyhow::Error::from_boxed)?.pending == 0 {
            self.messages = None;
        }
        Ok(Some(found))
    }
}

impl Found {
    pub fn new(message: Message) -> anyhow::Result<Found> {
        let info = message.info().map_err(anyhow::Error::from_boxed)?;
        let (sequence, at) = (info.stream_sequence, Timestamp::from_stream(info.published));
        Ok(Found { sequence, at, message })
    }
}

/// An ordered consumer of `stream`.
pub async fn ordered<T>(
    stream: &Stream<T>,
    filter: String,
    from: DeliverPolicy,
) -> anyhow::Result<Consumer<OrderedConfig>> {
    let config = OrderedConfig { filter_subject: filter, deliver_policy: from, ..OrderedConfig::default() };
    Ok(stream.create_consumer(config).await?)
}
