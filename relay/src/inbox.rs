//! The log, from a sequence on, in order and without a gap. A pull consumer without acknowledgements that is
//! made anew after every interruption.

use std::time::Duration;

use anyhow::{Context as _, bail};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::stream::Stream;
use futures_util::StreamExt as _;
use tellhal::Timestamp;
use tokio::sync::watch;

/// One entry as the stream has it.
#[derive(Debug)]
pub struct LogEntry {
    pub sequence: u64,
    pub at: Timestamp,
    pub subject: String,
    /// Its `Nats-Msg-Id`.
    pub once: Option<String>,
    pub payload: bytes::Bytes,
}

/// Reads on where it stopped, whatever happens to the connection or the consumer.
pub struct Inbox {
    log: Stream,
    connections: watch::Receiver<u64>,
    /// The next entry wanted is after this one.
    after: u64,
    /// Entries before this one are no news.
    messages: Option<pull::Stream>,
    /// How many entries this consumer has given.
    count: u64,
}

impl Inbox {
    pub fn new(log: Stream, connections: watch::Receiver<u64>, after: u64) -> Self {
        Inbox { log, connections, after, messages: None, count: 0 }
    }

    /// The next entry. An error is for the record: calling again goes on without a loss. Cancel safe.
    pub async fn next(&mut self) -> anyhow::Result<LogEntry> {
        if self.messages.is_none() || self.connections.has_changed().unwrap_or(false) {
            self.connections.mark_unchanged();
            self.messages = None;
            self.messages = Some(self.open().await?);
            self.count = 0;
        }
        let Some(messages) = &mut self.messages else { bail!("the log is closed") };
        let next = tokio::select! {
            next = messages.next() => next,
            _ = self.connections.changed() => {
                self.messages = None;
                bail!("connected anew");
            }
        };
        let read = next.context("the log ended").and_then(|message| Ok(message?)).and_then(|m| self.read(m));
        if read.is_err() {
            self.messages = None;
        }
        read
    }

    fn read(&mut self, message: async_nats::jetstream::Message) -> anyhow::Result<LogEntry> {
        let info = message.info().map_err(|error| anyhow::anyhow!("{error}"))?;
        self.count += 1;
        if info.consumer_sequence != self.count {
            bail!("entry {} of the log was expected, {} came", self.count, info.consumer_sequence);
        }
        let (sequence, at) = (info.stream_sequence, Timestamp::from_stream(info.published));
        self.after = sequence;
        let once = message.headers.as_ref().and_then(|headers| headers.get("Nats-Msg-Id"));
        let once = once.map(|id| id.as_str().to_owned());
        let message = message.message;
        Ok(LogEntry { sequence, at, subject: message.subject.to_string(), once, payload: message.payload })
    }

    async fn open(&self) -> anyhow::Result<pull::Stream> {
        let config = pull::Config {
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: self.after + 1 },
            ack_policy: AckPolicy::None,
            inactive_threshold: Duration::from_secs(30),
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        };
        let consumer = self.log.create_consumer(config).await.context("the log cannot be read")?;
        let stream = consumer.stream().max_messages_per_batch(500).heartbeat(Duration::from_secs(2));
        Ok(stream.expires(Duration::from_secs(10)).messages().await?)
    }
}
