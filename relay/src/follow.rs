//! A stream from a sequence on, in order and without a gap, for ever: the relay's inbox, the page's tail and the
//! index read like this. A pull consumer without acknowledgements that is made anew after every interruption.

use std::time::Duration;

use anyhow::{Context as _, bail};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::stream::Stream;
use futures_util::StreamExt as _;
use tokio::sync::watch;

use crate::scan::Found;

/// Reads on where it stopped, whatever happens to the connection or the consumer.
pub struct Follow {
    stream: Stream,
    /// Only messages of this subject; all when empty.
    filter: String,
    connections: watch::Receiver<u64>,
    /// The next message wanted is after this one.
    after: u64,
    messages: Option<pull::Stream>,
    /// How many messages this consumer has given.
    count: u64,
    /// The stream had no further message when it was last heard of.
    at_end: bool,
}

impl Follow {
    /// `connections` is the bus's.
    pub fn new(stream: Stream, filter: String, connections: watch::Receiver<u64>, after: u64) -> Self {
        Follow { stream, filter, connections, after, messages: None, count: 0, at_end: false }
    }

    /// The next message. An error is for the record: calling again goes on without a loss. Cancel safe.
    pub async fn next(&mut self) -> anyhow::Result<Found> {
        if self.messages.is_none() || self.connections.has_changed().unwrap_or(false) {
            self.connections.mark_unchanged();
            self.messages = None;
            self.messages = Some(self.open().await?);
            self.count = 0;
        }
        let Some(messages) = &mut self.messages else { bail!("the stream is closed") };
        let next = tokio::select! {
            next = messages.next() => next,
            _ = self.connections.changed() => {
                self.messages = None;
                bail!("connected anew");
            }
        };
        let read = next.context("the stream ended").and_then(|message| Ok(message?));
        let read = read.and_then(|message| self.read(message));
        if read.is_err() {
            self.messages = None;
        }
        read
    }

    fn read(&mut self, message: async_nats::jetstream::Message) -> anyhow::Result<Found> {
        let found = Found::new(message)?;
        self.count += 1;
        if found.number != self.count {
            bail!("message {} of the stream was expected, {} came", self.count, found.number);
        }
        self.after = found.sequence;
        self.at_end = found.pending == 0;
        Ok(found)
    }

    /// Whether everything was read that was there when the stream was last heard of.
    pub fn at_end(&self) -> bool {
        self.at_end
    }

    async fn open(&mut self) -> anyhow::Result<pull::Stream> {
        let config = pull::Config {
            filter_subject: self.filter.clone(),
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: self.after + 1 },
            ack_policy: AckPolicy::None,
            inactive_threshold: Duration::from_secs(30),
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        };
        let consumer = self.stream.create_consumer(config).await.context("the stream cannot be read")?;
        self.at_end = consumer.cached_info().num_pending == 0;
        let stream = consumer.stream().max_messages_per_batch(500).heartbeat(Duration::from_secs(2));
        Ok(stream.expires(Duration::from_secs(10)).messages().await?)
    }
}
