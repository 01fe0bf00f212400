//! Reads a stream from some place to its present end, in order. Follows nothing and acknowledges nothing.

use std::time::Duration;

use anyhow::Context as _;
use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::pull::{Ordered, OrderedConfig};
use async_nats::jetstream::consumer::{Consumer, DeliverPolicy};
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::Stream;
use async_nats::{HeaderMap, Subject};
use bytes::Bytes;
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
    /// The stream's time.
    pub at: Timestamp,
    pub subject: Subject,
    pub headers: Option<HeaderMap>,
    pub payload: Bytes,
    /// Its number among those its consumer gave, from 1, and how many that consumer has still to give.
    pub(crate) number: u64,
    pub(crate) pending: u64,
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
        if found.pending == 0 {
            self.messages = None;
        }
        Ok(Some(found))
    }
}

impl Found {
    /// What a consumer gave.
    pub fn new(message: Message) -> anyhow::Result<Found> {
        let info = message.info().map_err(anyhow::Error::from_boxed)?;
        let (sequence, at) = (info.stream_sequence, Timestamp::from_stream(info.published));
        let (number, pending) = (info.consumer_sequence, info.pending);
        let async_nats::Message { subject, headers, payload, .. } = message.message;
        Ok(Found { sequence, at, subject, headers, payload, number, pending })
    }

    /// Its `Nats-Msg-Id`.
    pub fn once(&self) -> Option<&str> {
        self.headers.as_ref()?.get(NATS_MESSAGE_ID).map(|id| id.as_str())
    }
}

/// What was asked for by its sequence.
impl From<StreamMessage> for Found {
    fn from(message: StreamMessage) -> Found {
        let StreamMessage { subject, sequence, headers, payload, time } = message;
        let (at, headers) =
            (Timestamp::from_stream(time), Some(headers).filter(|headers| !headers.is_empty()));
        Found { sequence, at, subject, headers, payload, number: 0, pending: 0 }
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
