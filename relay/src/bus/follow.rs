//! A stream from some place on, in order and without a gap, for ever: the relay's inbox, the page's tail and the index
//! read like this, and what is read to the present end (`scan`). A pull consumer without acknowledgements that is made
//! anew after every interruption.

use std::time::Duration;

use anyhow::{Context as _, bail};
use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::stream::Stream;
use futures_util::StreamExt as _;
use tokio::sync::watch;

use crate::bus::Bus;
use crate::bus::message::StreamMessage;

/// After how many consumers without a message the next one is asked for in another way. The server stores headers as
/// they come; those that the client cannot read it answers by dropping the connection.
const TRIES: u32 = 2;
/// How many bytes are asked for at once.
const BATCH_BYTES: usize = 4 << 20;
/// How many interruptions without a message between them are borne before one is told. Other readers of the same
/// connection may have the same message before them.
const INTERRUPTIONS: u32 = 8;

/// Reads on where it stopped, whatever happens to the connection or the consumer.
pub struct Follow {
    js: Context,
    stream: Stream,
    /// Only messages of this subject; all when empty.
    filter: String,
    /// Every change is an interruption: a consumer is not waited for that went with its connection.
    connections: watch::Receiver<u64>,
    from: DeliverPolicy,
    /// The next message wanted is after this one; not known before the first consumer.
    after: Option<u64>,
    messages: Option<pull::Stream>,
    /// How many messages this consumer has given.
    count: u64,
    /// How many consumers there were since the last message.
    tries: u32,
    /// And how many interruptions.
    interruptions: u32,
    /// The stream had no further message when it was last heard of.
    at_end: bool,
}

impl Follow {
    /// All of `stream`, or its messages of the subject `filter`, `from` some place on. `connections` changes with
    /// every connection of `js`.
    pub fn new(
        js: &Context,
        connections: &watch::Receiver<u64>,
        stream: Stream,
        filter: String,
        from: DeliverPolicy,
    ) -> Self {
        Follow {
            js: js.clone(),
            stream,
            filter,
            connections: connections.clone(),
            from,
            after: None,
            messages: None,
            count: 0,
            tries: 0,
            interruptions: 0,
            at_end: false,
        }
    }

    /// What comes after this sequence.
    pub fn after(bus: &Bus, stream: Stream, filter: String, sequence: u64) -> Self {
        let all = DeliverPolicy::All;
        Follow { after: Some(sequence), ..Follow::new(&bus.js, &bus.connections, stream, filter, all) }
    }

    /// Makes a consumer if there is none, so that `at_end` is known. An error is for the record, as with `next`.
    pub async fn ready(&mut self) -> anyhow::Result<()> {
        if self.connections.has_changed().unwrap_or(false) {
            self.connections.mark_unchanged();
            self.messages = None;
        }
        if self.messages.is_none() && self.tries < TRIES {
            self.messages = Some(self.open().await?);
            self.count = 0;
            self.tries += 1;
        }
        Ok(())
    }

    /// The next message. An error is for the record: calling again goes on without a loss. Cancel safe.
    pub async fn next(&mut self) -> anyhow::Result<StreamMessage> {
        loop {
            match self.try_next().await {
                Err(error) if self.interruptions < INTERRUPTIONS => {
                    self.interruptions += 1;
                    tracing::debug!(error = format!("{error:#}"), "interrupted");
                }
                done => {
                    self.interruptions = 0;
                    return done;
                }
            }
        }
    }

    async fn try_next(&mut self) -> anyhow::Result<StreamMessage> {
        self.ready().await?;
        let Some(messages) = &mut self.messages else {
            return self.next_alone().await?.context("interrupted, and there is no message yet");
        };
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

    fn read(&mut self, message: async_nats::jetstream::Message) -> anyhow::Result<StreamMessage> {
        let found = StreamMessage::new(message)?;
        self.count += 1;
        if found.number != self.count {
            bail!("message {} of the stream was expected, {} came", self.count, found.number);
        }
        (self.after, self.tries) = (Some(found.sequence), 0);
        self.at_end = found.pending == 0;
        Ok(found)
    }

    async fn next_alone(&mut self) -> anyhow::Result<Option<StreamMessage>> {
        let name = &self.stream.cached_info().config.name;
        let found =
            StreamMessage::first_from(&self.js, name, &self.filter, self.after.unwrap_or(0) + 1).await?;
        if let Some(found) = &found {
            tracing::warn!(
                stream = name,
                sequence = found.sequence,
                "a message had to be asked for by itself"
            );
            self.after = Some(found.sequence);
        }
        self.tries = 0;
        Ok(found)
    }

    /// Whether everything was read that was there when the stream was last heard of.
    pub fn at_end(&self) -> bool {
        self.at_end
    }

    /// How much may be on its way at once. The server keeps back a message that is larger.
    fn batch_bytes(&self) -> usize {
        BATCH_BYTES.max(2 * self.js.client().server_info().max_payload)
    }

    async fn open(&mut self) -> anyhow::Result<pull::Stream> {
        let deliver_policy = match self.after {
            Some(after) => DeliverPolicy::ByStartSequence { start_sequence: after + 1 },
            None => self.from,
        };
        let config = pull::Config {
            filter_subject: self.filter.clone(),
            deliver_policy,
            ack_policy: AckPolicy::None,
            inactive_threshold: Duration::from_secs(30),
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        };
        let consumer = self.stream.create_consumer(config).await.context("the stream cannot be read")?;
        let info = consumer.cached_info();
        self.after.get_or_insert(info.delivered.stream_sequence);
        self.at_end = info.num_pending == 0;
        let stream = consumer.stream().max_messages_per_batch(500).max_bytes_per_batch(self.batch_bytes());
        let stream = stream.heartbeat(Duration::from_secs(2)).expires(Duration::from_secs(10));
        Ok(stream.messages().await?)
    }
}
