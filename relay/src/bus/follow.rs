//! Follows a stream from a given sequence on, in order, without gaps and without end. The relay's inbox, the page's tail
//! and the index use it, and so does `scan`. Works with a pull consumer without acknowledgements, which is recreated
//! after every interruption. A message that the client cannot parse breaks the connection once; it and those after it are
//! requested by themselves, as JSON.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::stream::Stream;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::time::{Instant, sleep};

use crate::bus::Bus;
use crate::bus::connections::Connections;
use crate::bus::message::StreamMessage;

/// After a message that breaks the connection, all readers of that client request each by itself for this time, or for this number of messages if
/// more are there at once. The server stores subjects and headers unchecked, and the client drops the connection when it cannot
/// parse them: one such message seldom comes alone.
const CAREFUL: Duration = Duration::from_secs(60);
const CAREFUL_MESSAGES: u32 = 1000;
/// Interval at which a careful reader asks for the next message.
const POLL: Duration = Duration::from_millis(100);
/// Bytes requested at once.
const BATCH_BYTES: usize = 4 << 20;
/// Number of interruptions without a message between them that are hidden from the caller: other readers of the same
/// connection may be interrupted by the same message.
const INTERRUPTIONS: u32 = 8;

/// A reader of a stream that continues where it stopped, whatever happens to the connection or the consumer.
pub struct Follow {
    js: Context,
    stream: Stream,
    /// Only messages of this subject; all when empty.
    filter: String,
    /// Each change is an interruption.
    connections: Connections,
    from: DeliverPolicy,
    /// The sequence of the last message read; `None` before the first consumer.
    after: Option<u64>,
    messages: Option<pull::Stream>,
    /// Number of messages from this consumer.
    count: u64,
    /// True if the consumer's connection is gone; messages that it has brought may still be there.
    is_replaced: bool,
    /// The next message, requested by itself.
    alone: Option<StreamMessage>,
    /// True after an interruption: the next message may have caused it, and is requested by itself.
    is_suspect: bool,
    /// The end of a careful time, and the number of messages left in it.
    careful: Option<(Instant, u32)>,
    /// Number of interruptions since the last message.
    interruptions: u32,
    /// True if the stream had no further message at the last answer of the server.
    at_end: bool,
}

impl Follow {
    /// A reader of `stream` starting at `from`: of all messages, or of those with the subject `filter`. `connections` are those
    /// of `js`.
    pub fn new(
        js: &Context,
        connections: &Connections,
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
            is_replaced: false,
            alone: None,
            is_suspect: false,
            careful: connections.careful_until().map(|until| (until, CAREFUL_MESSAGES)),
            interruptions: 0,
            at_end: false,
        }
    }

    /// A reader of the messages after this sequence.
    pub fn after(bus: &Bus, stream: Stream, filter: String, sequence: u64) -> Self {
        let all = DeliverPolicy::All;
        Follow { after: Some(sequence), ..Follow::new(&bus.js, &bus.connections, stream, filter, all) }
    }

    /// Prepares the next message, so that `at_end` is known. An error is only for the log, as with `next`.
    pub async fn ready(&mut self) -> anyhow::Result<()> {
        if self.connections.count.has_changed().unwrap_or(false) {
            self.connections.count.mark_unchanged();
            self.is_replaced = self.messages.is_some();
        }
        if self.alone.is_some() || self.messages.is_some() {
            return Ok(());
        }
        if self.is_suspect && !self.is_careful() {
            // Another reader may have met the message first.
            self.careful = self.connections.careful_until().map(|until| (until, CAREFUL_MESSAGES));
        }
        if self.is_suspect || self.is_careful() {
            self.alone = self.next_alone().await?;
            self.is_suspect = false;
            self.at_end = self.alone.is_none();
            if !self.at_end || self.is_careful() {
                return Ok(());
            }
        }
        self.messages = Some(self.open().await?);
        (self.count, self.is_replaced) = (0, false);
        Ok(())
    }

    fn is_careful(&self) -> bool {
        self.careful.is_some_and(|(until, left)| left > 0 && Instant::now() < until)
    }

    /// The next message. An error is only for the log: the next call continues without a loss. Cancel safe.
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
        loop {
            self.ready().await?;
            if let Some(message) = self.alone.take() {
                return Ok(self.took_alone(message));
            }
            let Some(messages) = &mut self.messages else {
                sleep(POLL).await;
                continue;
            };
            let next = if self.is_replaced {
                messages.next().now_or_never()
            } else {
                tokio::select! {
                    biased;
                    next = messages.next() => Some(next),
                    _ = self.connections.count.changed() => {
                        self.is_replaced = true;
                        continue;
                    }
                }
            };
            let next =
                next.context("the connection was replaced").and_then(|next| next.context("the stream ended"));
            let read = next.and_then(|message| self.read(message?));
            if read.is_err() {
                (self.messages, self.is_suspect) = (None, true);
            }
            return read;
        }
    }

    fn read(&mut self, message: async_nats::jetstream::Message) -> anyhow::Result<StreamMessage> {
        let message = StreamMessage::new(message)?;
        self.count += 1;
        if message.number != self.count {
            bail!("expected message {} of the consumer, got {}", self.count, message.number);
        }
        self.after = Some(message.sequence);
        self.at_end = message.pending == 0;
        Ok(message)
    }

    async fn next_alone(&self) -> anyhow::Result<Option<StreamMessage>> {
        let name = &self.stream.cached_info().config.name;
        let next =
            StreamMessage::first_from(&self.js, name, &self.filter, self.after.unwrap_or(0) + 1).await?;
        if next.is_some() {
            self.is_same_stream().await?;
        }
        Ok(next)
    }

    /// An error if the stream was made anew: the same sequences are other messages there. Asked after what it is about, since
    /// that may happen between two requests.
    async fn is_same_stream(&self) -> anyhow::Result<()> {
        let now = self.stream.get_info().await.context("the stream cannot be read")?;
        ensure!(now.created == self.stream.cached_info().created, "stream {} was made anew", now.config.name);
        Ok(())
    }

    fn took_alone(&mut self, message: StreamMessage) -> StreamMessage {
        let sequence = message.sequence;
        (self.after, self.at_end) = (Some(sequence), false);
        if !message.is_plain {
            let stream = &self.stream.cached_info().config.name;
            if !self.is_careful() {
                tracing::warn!(
                    stream,
                    sequence,
                    "the subject or the headers of a message cannot be parsed; the next messages are requested one by one"
                );
            }
            self.careful = Some((self.connections.be_careful(CAREFUL), CAREFUL_MESSAGES));
        } else if let Some((_, left)) = &mut self.careful {
            *left = left.saturating_sub(1);
        }
        message
    }

    /// True if all messages were read that the stream had at the last answer of the server.
    pub fn at_end(&self) -> bool {
        self.at_end
    }

    /// Bytes that may be in flight. The server does not send a message that is larger.
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
        self.is_same_stream().await?;
        let info = consumer.cached_info();
        self.after.get_or_insert(info.delivered.stream_sequence);
        self.at_end = info.num_pending == 0;
        let stream = consumer.stream().max_messages_per_batch(500).max_bytes_per_batch(self.batch_bytes());
        let stream = stream.heartbeat(Duration::from_secs(2)).expires(Duration::from_secs(10));
        Ok(stream.messages().await?)
    }
}
