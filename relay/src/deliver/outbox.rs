//! Writes the engine's deliveries to `HAL_OUT`, in the log's order, from one writer at a time.
//!
//! Every write contains the stream's expected last sequence, so that a deposed leader cannot write: the new leader moves
//! that sequence first, with a fence. A window of writes is in flight at once, each naming the one before it; after a
//! refusal the writer reads the stream's state and continues from there. A delivery that is already waiting, posted or
//! dead is not written again: a room's deliveries are written in order, so the last place of each room is enough.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use async_nats::jetstream;
use async_nats::jetstream::context::{PublishAckFuture, PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::stream::Stream;
use serde::Deserialize;
use tokio::time::Instant;

use crate::bus::{Bus, Streams};
use crate::delivery::{Attempts, DeadLetter, Delivery, Place, Receipt};
use crate::engine::Output;
use crate::status::metrics::Metrics;
use service::lease::Lease;

/// Number of writes in flight at once.
const WINDOW: usize = 256;
/// The subject (as a room) for receipts of messages that were not delivered. A room's own subject is not used: its last
/// receipt tells which deliveries were written.
pub const NOTES: &str = "_notes";
/// The subject (as a room) for dead letters of unreadable entries.
pub const INBOX: &str = "_inbox";
/// The time for which a room counts as full.
const FULL: Duration = Duration::from_secs(1);
const FENCE: &str = "_fence";
/// Bytes reserved for headers and subject below the server's limit for a payload.
const HEADROOM: usize = 2048;

/// The only writer of the outbox.
pub struct Outbox {
    bus: Bus,
    streams: Streams,
    lease: Arc<Lease>,
    metrics: Arc<Metrics>,
    /// The last sequence of `HAL_OUT` after all writes in flight.
    expected: u64,
    window: VecDeque<Writing>,
    /// Up to this sequence of the log an earlier leader may have written: each delivery is checked before it is written.
    doubtful: u64,
    /// The last written place of each room, for those that were checked.
    written: HashMap<String, Place>,
    /// Rooms whose queue was full, and the time until which they are not tried again: every refusal delays all rooms.
    full: HashMap<String, Instant>,
}

type Ack = <PublishAckFuture as IntoFuture>::IntoFuture;

/// The server's answer to the oldest write in flight.
#[must_use]
pub struct Acknowledgement(Option<Result<PublishAck, PublishError>>);

struct Writing {
    output: Output,
    ack: Ack,
}

/// The result of a write.
enum Answer {
    Done,
    /// The delivery was written before, and is waiting, posted or dead: the server knows its id.
    Repeat,
    /// The room's queue is full: this delivery can only become a dead letter.
    Full,
    /// Another writer was there, or it is not known whether the write arrived.
    Unsure(String),
}

impl Outbox {
    /// Fences off the writer before us. It may have written the deliveries of all entries that are on the log by then.
    pub async fn open(
        bus: &Bus,
        streams: &Streams,
        lease: &Arc<Lease>,
        metrics: &Arc<Metrics>,
    ) -> anyhow::Result<Self> {
        let mut outbox = Outbox {
            bus: bus.clone(),
            streams: streams.clone(),
            lease: lease.clone(),
            metrics: metrics.clone(),
            expected: 0,
            window: VecDeque::new(),
            doubtful: 0,
            written: HashMap::new(),
            full: HashMap::new(),
        };
        outbox.fence().await?;
        outbox.doubtful = streams.ops.get_info().await.context("the log cannot be read")?.state.last_sequence;
        Ok(outbox)
    }

    /// Writes the engine's outputs. Returns when all are in flight, before they are acknowledged.
    pub async fn push(&mut self, outputs: Vec<Output>) -> anyhow::Result<()> {
        for output in outputs {
            while self.window.len() >= WINDOW {
                self.settle().await?;
            }
            if output.place().sequence <= self.doubtful && self.is_written(&output).await? {
                continue;
            }
            if let Output::Note(note) = &output {
                self.metrics.delivered(&note.room, note.outcome.as_str(), 1);
            }
            match output {
                Output::Deliver(delivery) if self.is_full(&delivery.room) => {
                    // Earlier deliveries must be written first: the last place of a room stands for all before it.
                    self.flush().await?;
                    self.bury(*delivery).await?;
                }
                output => self.write(output).await?,
            }
        }
        Ok(())
    }

    /// True if no write waits for its acknowledgement.
    pub fn is_idle(&self) -> bool {
        self.window.is_empty()
    }

    /// Waits until all writes are acknowledged.
    pub async fn flush(&mut self) -> anyhow::Result<()> {
        while !self.window.is_empty() {
            self.settle().await?;
        }
        Ok(())
    }

    /// Waits for the oldest acknowledgement, for [`Outbox::conclude`]. Cancel safe, but a returned value must be used.
    pub async fn oldest(&mut self) -> Acknowledgement {
        match self.window.front_mut() {
            Some(oldest) => Acknowledgement(Some((&mut oldest.ack).await)),
            None => Acknowledgement(None),
        }
    }

    /// Handles the result of [`Outbox::oldest`]. Must run to its end: it may hold outputs that are being written again.
    pub async fn conclude(&mut self, acknowledgement: Acknowledgement) -> anyhow::Result<()> {
        let Some(result) = acknowledgement.0 else { return Ok(()) };
        let Some(Writing { output, .. }) = self.window.pop_front() else { return Ok(()) };
        match answer(&self.bus, &output, result) {
            Answer::Done => Ok(()),
            Answer::Repeat => self.resync(None, "it was written before").await,
            Answer::Full => {
                if let Output::Deliver(delivery) = output {
                    self.full.insert(delivery.room.clone(), Instant::now() + FULL);
                    self.bury(*delivery).await?;
                }
                self.resync(None, "a room's queue is full").await
            }
            Answer::Unsure(reason) => {
                self.lease.bound(tokio::time::sleep(Duration::from_millis(100))).await?;
                self.resync(Some(output), &reason).await
            }
        }
    }

    async fn settle(&mut self) -> anyhow::Result<()> {
        let acknowledgement = self.oldest().await;
        self.conclude(acknowledgement).await
    }

    async fn write(&mut self, output: Output) -> anyhow::Result<()> {
        let limit = self.bus.client.server_info().max_payload;
        let (subject, publish) = match &output {
            Output::Deliver(delivery) => {
                let payload = encode(delivery, limit.saturating_sub(HEADROOM))?;
                let publish =
                    PublishMessage::build().payload(payload.into()).message_id(delivery.id.as_str());
                let publish = publish.expected_last_sequence(self.expected);
                (self.bus.names.out(&delivery.room), self.chain(publish))
            }
            Output::Note(note) => {
                let id = format!("{}/{}/{}", note.place.sequence, note.place.number, note.outcome.as_str());
                let publish =
                    PublishMessage::build().payload(serde_json::to_vec(note)?.into()).message_id(id);
                (self.bus.names.sent(NOTES), publish)
            }
        };
        let ack = self.lease.bound(self.bus.js.send_publish(subject, publish)).await?;
        let ack = ack.context("cannot write to the outbox")?;
        if matches!(output, Output::Deliver(_)) {
            self.expected += 1;
        }
        self.window.push_back(Writing { output, ack: ack.into_future() });
        Ok(())
    }

    /// Makes the server refuse a write if it refused the one before. The expected sequence alone is not enough: a foreign
    /// write in between takes the sequence of the first, and the second would fit after it.
    fn chain(&self, publish: PublishMessage) -> PublishMessage {
        let in_flight = self.window.iter().rev().find_map(|writing| match &writing.output {
            Output::Deliver(delivery) => Some(delivery.id.as_str()),
            Output::Note(_) => None,
        });
        match in_flight {
            Some(id) => publish.expected_last_message_id(id),
            None => publish,
        }
    }

    /// After a refusal: waits for all writes in flight, and writes the missing ones again, in order.
    async fn resync(&mut self, first: Option<Output>, reason: &str) -> anyhow::Result<()> {
        let mut again: Vec<Output> = first.into_iter().collect();
        while let Some(Writing { output, ack }) = self.window.pop_front() {
            let result = self.lease.bound(ack).await?;
            if !matches!(answer(&self.bus, &output, result), Answer::Done | Answer::Repeat) {
                again.push(output);
            }
        }
        tracing::warn!(
            reason,
            outputs = again.len(),
            "a write to the outbox was refused; checking and writing again"
        );
        self.written.clear();
        self.expected = self.last_sequence().await?;
        self.doubtful =
            again.iter().map(|output| output.place().sequence).max().unwrap_or(0).max(self.doubtful);
        for output in again {
            if !self.is_written(&output).await? {
                self.write(output).await?;
            }
        }
        Ok(())
    }

    fn is_full(&self, room: &str) -> bool {
        self.full.get(room).is_some_and(|until| Instant::now() < *until)
    }

    /// Makes a dead letter of a delivery, because its room's queue is full.
    async fn bury(&mut self, delivery: Delivery) -> anyhow::Result<()> {
        let reason =
            format!("room {} already has {} deliveries waiting", delivery.room, crate::bus::ROOM_QUEUE);
        self.metrics.delivered(&delivery.room, "dead", 1);
        bury(
            &self.bus,
            &self.lease,
            DeadLetter {
                room: delivery.room.clone(),
                reason,
                at: delivery.at,
                tries: 0,
                attempts: Attempts::default(),
                delivery,
            },
        )
        .await
    }

    async fn is_written(&mut self, output: &Output) -> anyhow::Result<bool> {
        // A note that is written twice has the same id and contents.
        let Output::Deliver(delivery) = output else { return Ok(false) };
        let last = match self.written.get(&delivery.room) {
            Some(place) => *place,
            None => {
                let place = self.lease.bound(last_place(&self.bus, &self.streams, &delivery.room)).await??;
                self.written.insert(delivery.room.clone(), place);
                place
            }
        };
        Ok(delivery.place <= last)
    }

    async fn last_sequence(&mut self) -> anyhow::Result<u64> {
        let info = self.lease.bound(self.streams.out.get_info()).await?.context("HAL_OUT cannot be read")?;
        Ok(info.state.last_sequence)
    }

    /// Moves the stream's last sequence, so that writes that the deposed leader has in flight are refused.
    async fn fence(&mut self) -> anyhow::Result<()> {
        for _ in 0..20 {
            let last = self.last_sequence().await?;
            let publish = PublishMessage::build()
                .payload(self.lease.epoch.to_string().into())
                .message_id(format!("fence-{}-{last}", self.lease.epoch))
                .expected_last_sequence(last);
            let subject = self.bus.names.out(FENCE);
            let ack = self.lease.bound(self.bus.js.send_publish(subject, publish)).await??;
            match self.lease.bound(ack.into_future()).await? {
                Ok(ack) => {
                    self.expected = ack.sequence;
                    self.streams.out.delete_message(ack.sequence).await?;
                    return Ok(());
                }
                Err(error) => tracing::debug!(%error, "the fence was refused; trying again"),
            }
        }
        bail!("the outbox cannot be fenced")
    }
}

/// Stores a delivery that its room cannot take. Retries until it is stored, for as long as the lease lasts. If the stream
/// of dead letters is full, only logs an error: it must not block the rooms.
pub async fn bury(bus: &Bus, lease: &Lease, letter: DeadLetter) -> anyhow::Result<()> {
    let id = format!("{}/dead", letter.delivery.id);
    let stored = store(bus, lease, bus.names.dead(&letter.room), &id, serde_json::to_vec(&letter)?).await?;
    if !stored {
        let DeadLetter { room, reason, delivery, .. } = letter;
        let sequence = delivery.place.sequence;
        tracing::error!(
            room,
            reason,
            id = delivery.id.as_str(),
            sequence,
            "the stream of dead letters is full; the log still has the message"
        );
    }
    Ok(())
}

/// Stores an entry of the outbox that is not a delivery, unchanged, as a dead letter.
pub async fn set_aside(bus: &Bus, lease: &Lease, sequence: u64, payload: &[u8]) -> anyhow::Result<()> {
    let letter = serde_json::json!({
        "room": INBOX,
        "reason": format!("entry {sequence} of the outbox is not a delivery"),
        "at": tellhal::Timestamp::now(),
        "payload": String::from_utf8_lossy(payload),
    });
    let id = format!("out-{sequence}/dead");
    store(bus, lease, bus.names.dead(INBOX), &id, letter.to_string().into_bytes()).await?;
    Ok(())
}

/// Stores a receipt, with retries as for a dead letter.
pub async fn record(bus: &Bus, lease: &Lease, receipt: &Receipt) -> anyhow::Result<()> {
    let id = format!("{}/{}", receipt.ids.first().map_or("", String::as_str), receipt.outcome.as_str());
    store(bus, lease, bus.names.sent(&receipt.room), &id, serde_json::to_vec(receipt)?).await?;
    Ok(())
}

/// Publishes until the message is acknowledged. Returns false if the stream is full.
async fn store(
    bus: &Bus,
    lease: &Lease,
    subject: String,
    id: &str,
    payload: Vec<u8>,
) -> anyhow::Result<bool> {
    let mut wait = Duration::from_millis(50);
    loop {
        let publish = PublishMessage::build().payload(payload.clone().into()).message_id(id);
        let sent = lease.bound(async { bus.js.send_publish(subject.clone(), publish).await?.await }).await?;
        match sent {
            Ok(_) => return Ok(true),
            Err(error) if cause(&error).contains("maximum bytes") => return Ok(false),
            Err(error) => tracing::warn!(subject, error = cause(&error), "not stored yet"),
        }
        lease.bound(tokio::time::sleep(wait)).await?;
        wait = (wait * 2).min(Duration::from_secs(5));
    }
}

fn answer(bus: &Bus, output: &Output, result: Result<PublishAck, PublishError>) -> Answer {
    let error = match result {
        Ok(ack) if ack.duplicate && matches!(output, Output::Deliver(_)) => {
            return Answer::Repeat;
        }
        Ok(ack) => {
            debug_assert!(ack.stream == bus.names.out_stream() || matches!(output, Output::Note(_)));
            return Answer::Done;
        }
        Err(error) => error,
    };
    // A full room and a full stream share one error code and differ only in their text.
    let text = cause(&error);
    let full = matches!(error.kind(), PublishErrorKind::Other | PublishErrorKind::StreamNotFound)
        && text.contains("per subject");
    if full { Answer::Full } else { Answer::Unsure(text) }
}

/// The server's own error text.
fn cause(error: &PublishError) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// The last place of a room's written deliveries, which are waiting, posted or dead.
async fn last_place(bus: &Bus, streams: &Streams, room: &str) -> anyhow::Result<Place> {
    #[derive(Deserialize)]
    struct Placed {
        place: Place,
    }
    #[derive(Deserialize)]
    struct Dead {
        delivery: Placed,
    }
    let names = &bus.names;
    let waiting = last::<Placed>(&streams.out, names.out(room)).await?.map(|delivery| delivery.place);
    let sent = last::<Placed>(&streams.sent, names.sent(room)).await?.map(|receipt| receipt.place);
    let dead = last::<Dead>(&streams.dead, names.dead(room)).await?.map(|letter| letter.delivery.place);
    Ok(waiting.max(sent).max(dead).unwrap_or_default())
}

/// The last message on a subject; `None` if there is none, or it cannot be parsed.
pub async fn last<T: serde::de::DeserializeOwned>(
    stream: &Stream,
    subject: String,
) -> anyhow::Result<Option<T>> {
    use jetstream::stream::DirectGetErrorKind::NotFound;
    match stream.direct_get_last_for_subject(subject.clone()).await {
        Ok(message) => Ok(serde_json::from_slice(&message.payload).ok()),
        Err(error) if error.kind() == NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("the last of {subject} cannot be read")),
    }
}

/// The delivery as JSON of at most `limit` bytes. A longer one loses its fields, links and the end of its text.
fn encode(delivery: &Delivery, limit: usize) -> anyhow::Result<Vec<u8>> {
    let json = serde_json::to_vec(delivery)?;
    if json.len() <= limit {
        return Ok(json);
    }
    let mut short = delivery.clone();
    short.marks.push(tellhal::message::Mark::Shortened);
    if let crate::delivery::Content::Message(message) = &mut short.content {
        message.fields.clear();
        message.links.clear();
        message.text.truncate(message.text.floor_char_boundary(8192));
    }
    Ok(serde_json::to_vec(&short)?)
}
