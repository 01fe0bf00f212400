//! Receipts of messages that the rules kept from a room: throttled, dropped, seen before. The fold writes them, many at a
//! time, and does not wait for each. Their ids make a note that is written twice one note.

use std::collections::VecDeque;

use async_nats::jetstream::context::PublishAckFuture;
use async_nats::jetstream::message::PublishMessage;
use service::lease::Lost;
use std::time::Duration;
use tokio::time::sleep;

use super::ledger::{NOTES, cause, message_id};
use super::shared::Shared;
use crate::delivery::Receipt;

/// The number of notes that are written at once.
const WINDOW: usize = 256;
const AGAIN: Duration = Duration::from_secs(1);

/// The writer of notes.
pub(crate) struct Notes {
    shared: Shared,
    window: VecDeque<(Receipt, Option<PublishAckFuture>)>,
}

impl Notes {
    pub(crate) fn new(shared: &Shared) -> Self {
        Notes { shared: shared.clone(), window: VecDeque::new() }
    }

    /// Writes a note; waits only while too many are on their way.
    pub(crate) async fn push(&mut self, note: Receipt) -> Result<(), Lost> {
        while self.window.len() >= WINDOW {
            self.settle().await?;
        }
        self.shared.metrics.delivered(&note.room, note.outcome.as_str(), note.ids.len() as u64);
        let ack = self.send(&note).await?;
        self.window.push_back((note, ack));
        Ok(())
    }

    /// Waits until all notes are stored.
    pub(crate) async fn flush(&mut self) -> Result<(), Lost> {
        while !self.window.is_empty() {
            self.settle().await?;
        }
        Ok(())
    }

    /// Waits until the oldest note is stored, and sends it again if it is not.
    async fn settle(&mut self) -> Result<(), Lost> {
        let Some((note, mut ack)) = self.window.pop_front() else { return Ok(()) };
        loop {
            if let Some(ack) = ack {
                match self.shared.lease.bound(ack.into_future()).await? {
                    Ok(_) => return Ok(()),
                    Err(error) => tracing::warn!(error = cause(&error), "a note is not stored yet"),
                }
            }
            self.shared.lease.bound(sleep(AGAIN)).await?;
            ack = self.send(&note).await?;
        }
    }

    /// `None` if there is no connection to send it.
    async fn send(&self, note: &Receipt) -> Result<Option<PublishAckFuture>, Lost> {
        let payload = serde_json::to_vec(note).unwrap_or_default();
        let publish = PublishMessage::build().payload(payload.into()).message_id(message_id(note));
        let (bus, lease) = (&self.shared.bus, &self.shared.lease);
        Ok(lease.bound(bus.js.send_publish(bus.names.sent(NOTES), publish)).await?.ok())
    }
}
