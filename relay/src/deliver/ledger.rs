//! A room's receipts in `HAL_SENT`, on the room's own subject and in the order of its posts, and its queue, which moves forward
//! with each. Dead letters are copies for operators: they are in `HAL_DEAD` before the receipt that says so.
//!
//! Each receipt names the sequence of the one before it. The receipt of a deposed leader, however late it arrives, is refused
//! or is found by its successor, so a room's receipts are always in order.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use service::lease::Lost;
use tokio::time::sleep;

use super::queues::RoomQueue;
use super::shared::Shared;
use crate::bus::Bus;
use crate::bus::message::last;
use crate::delivery::{Attempts, DeadLetter, Place, Receipt};

/// The subject (as a room) for receipts of messages that were not delivered.
pub const NOTES: &str = "_notes";
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Bytes reserved for the reason and the attempts in a dead letter.
const WRAPPING: usize = 32 * 1024;

/// The receipts of one room, written by its worker alone.
pub(crate) struct Ledger {
    room: String,
    shared: Shared,
    queue: Arc<RoomQueue>,
    /// The sequence of the room's last receipt in `HAL_SENT`.
    last: u64,
    /// The place that the receipts cover: it never goes back, since a new leader reads the last receipt alone.
    place: Place,
}

impl Ledger {
    /// Reads the room's last receipt, and removes from the queue what it covers.
    pub(crate) async fn open(shared: &Shared, room: &str, queue: &Arc<RoomQueue>) -> anyhow::Result<Self> {
        let subject = shared.bus.names.sent(room);
        let last = shared.lease.bound(last::<Receipt>(&shared.streams.sent, subject)).await??;
        let (sequence, receipt) = last.unwrap_or_default();
        let place = receipt.as_ref().map(|receipt| receipt.place).unwrap_or_default();
        queue.handled(place);
        if let Some(receipt) = receipt {
            shared.status.room(room, |room| room.remember(&receipt));
        }
        let (room, shared, queue) = (room.to_owned(), shared.clone(), queue.clone());
        let mut ledger = Ledger { room, shared, queue, last: sequence, place };
        for unsaved in ledger.shared.unsaved.take(&ledger.room) {
            // Another leader may have posted the same meanwhile.
            if unsaved.place > ledger.place {
                ledger.record(unsaved).await?;
            }
        }
        Ok(ledger)
    }

    /// Stores a receipt and moves the queue forward. Retries for as long as the lease lasts; then the receipt is kept in
    /// memory.
    pub(crate) async fn record(&mut self, receipt: Receipt) -> Result<(), Lost> {
        let done = self.store(receipt.clone()).await;
        if done.is_err() {
            self.shared.unsaved.add(receipt);
        }
        done
    }

    async fn store(&mut self, mut receipt: Receipt) -> Result<(), Lost> {
        let (bus, lease) = (self.shared.bus.clone(), self.shared.lease.clone());
        let (subject, id) = (bus.names.sent(&self.room), message_id(&receipt));
        let mut wait = FIRST_WAIT;
        loop {
            receipt.place = receipt.place.max(self.place);
            let payload = encode(&receipt, self.shared.payload_limit());
            let publish = PublishMessage::build()
                .payload(payload.into())
                .message_id(&id)
                .expected_last_subject_sequence(self.last);
            match lease.bound(send(&bus, &subject, publish)).await? {
                Ok(sequence) => {
                    self.last = sequence;
                    break;
                }
                Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => {
                    let other = self.catch_up(&subject).await?;
                    if other.as_ref() == Some(&receipt) {
                        break;
                    }
                    if let Some(other) = other {
                        // An earlier leader has posted the same, and its receipt came late.
                        receipt.possible_duplicate |= other.place >= receipt.place;
                        self.place = self.place.max(other.place);
                    }
                }
                Err(error) => tracing::warn!(subject, error = cause(&error), "the receipt is not stored yet"),
            }
            lease.bound(sleep(wait)).await?;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
        self.place = receipt.place;
        self.queue.handled(receipt.place);
        for (outcome, count) in receipt.outcomes() {
            self.shared.metrics.delivered(&self.room, outcome.as_str(), count);
        }
        Ok(())
    }

    /// The room's last receipt after one of ours was refused; `None` if it cannot be read now.
    async fn catch_up(&mut self, subject: &str) -> Result<Option<Receipt>, Lost> {
        let Shared { streams, lease, .. } = &self.shared;
        match lease.bound(last::<Receipt>(&streams.sent, subject.to_owned())).await? {
            Ok(Some((sequence, receipt))) => {
                self.last = sequence;
                tracing::warn!(subject, sequence, "another relay has written a receipt of this room");
                Ok(receipt)
            }
            Ok(None) => {
                // The stream was made anew.
                self.last = 0;
                Ok(None)
            }
            Err(error) => {
                tracing::warn!(subject, error = format!("{error:#}"), "the last receipt cannot be read");
                Ok(None)
            }
        }
    }

    /// Stores a dead letter, which [`Ledger::record`] must confirm with a receipt.
    pub(crate) async fn bury(&self, letter: &DeadLetter) -> Result<(), Lost> {
        let Shared { bus, lease, .. } = &self.shared;
        let (subject, id) = (bus.names.dead(&self.room), format!("{}/dead", letter.delivery.id));
        let delivery = letter.delivery.fitting(self.shared.payload_limit().saturating_sub(WRAPPING));
        let letter = DeadLetter { delivery, ..letter.clone() };
        let payload = serde_json::to_vec(&letter).unwrap_or_default();
        let mut wait = FIRST_WAIT;
        loop {
            let publish = PublishMessage::build().payload(payload.clone().into()).message_id(&id);
            match lease.bound(send(bus, &subject, publish)).await? {
                Ok(_) => return Ok(()),
                Err(error)
                    if cause(&error).contains("maximum bytes")
                        || error.kind() == PublishErrorKind::MaxPayloadExceeded =>
                {
                    let (room, id) = (&self.room, letter.delivery.id.as_str());
                    let sequence = letter.delivery.place.sequence;
                    tracing::error!(
                        room,
                        reason = letter.reason,
                        id,
                        sequence,
                        "the dead letter cannot be kept, it is too large or the stream is full; the log still has the message"
                    );
                    return Ok(());
                }
                Err(error) => {
                    tracing::warn!(subject, error = cause(&error), "the dead letter is not stored yet")
                }
            }
            lease.bound(sleep(wait)).await?;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }
}

/// Publishes and waits for the acknowledgement, which does not come if the connection is replaced meanwhile.
async fn send(bus: &Bus, subject: &str, publish: PublishMessage) -> Result<u64, PublishError> {
    let mut connections = bus.connections.count.clone();
    connections.mark_unchanged();
    let ack = bus.js.send_publish(subject.to_owned(), publish).await?;
    tokio::select! {
        biased;
        ack = ack => Ok(ack?.sequence),
        Ok(()) = connections.changed() => Err(PublishErrorKind::BrokenPipe.into()),
    }
}

/// The id by which the server recognizes a receipt that is sent again.
pub(super) fn message_id(receipt: &Receipt) -> String {
    let Receipt { place, outcome, .. } = receipt;
    let first = receipt.ids.first().map_or("", String::as_str);
    format!("{first}/{}/{}/{}", outcome.as_str(), place.sequence, place.number)
}

/// The receipt as JSON of at most `limit` bytes: one that is longer loses the platform's texts, then ids.
fn encode(receipt: &Receipt, limit: usize) -> Vec<u8> {
    let mut json = serde_json::to_vec(receipt).unwrap_or_default();
    if json.len() <= limit {
        return json;
    }
    let attempts = Attempts::default();
    let mut short = Receipt { attempts, reason: None, link: None, post: None, ..receipt.clone() };
    loop {
        json = serde_json::to_vec(&short).unwrap_or_default();
        if json.len() <= limit || short.ids.len() <= 1 {
            return json;
        }
        tracing::error!(
            room = receipt.room,
            ids = receipt.ids.len(),
            "the receipt is too long for all its ids"
        );
        short.ids.truncate(short.ids.len() / 2);
    }
}

/// The server's own error text.
pub(super) fn cause(error: &PublishError) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}
