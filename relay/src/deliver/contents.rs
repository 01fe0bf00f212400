//! Reads the content of waiting deliveries from the log again. A queue is in the log's order, so one forward pass over the log
//! serves a long one; a few deliveries far apart are asked for one by one.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::timeout;

use super::shared::Shared;
use crate::bus::follow::Follow;
use crate::bus::message::StreamMessage;
use crate::delivery::Delivery;
use crate::delivery::waiting::{Reference, Waiting};
use crate::engine::entry::{self, Raw};
use crate::engine::reread::{reread, without_content};

/// A pass over the log reads at most this many entries for each one that is needed.
const SPARSE: u64 = 50;
/// Fewer references than this are asked for one by one.
const FEW: usize = 8;
/// Time to wait for the log.
const PATIENCE: Duration = Duration::from_secs(10);

/// A room's reader of the log.
pub(crate) struct Contents {
    room: String,
    shared: Shared,
    pass: Option<Pass>,
}

/// A pass over the log.
struct Pass {
    follow: Follow,
    /// The last entry read, and the sequence of the one before: between them the log has no other.
    last: Option<StreamMessage>,
    before: u64,
    /// True if the log had no entry after the last one.
    ended: bool,
}

impl Contents {
    pub(crate) fn new(room: &str, shared: &Shared) -> Self {
        Contents { room: room.to_owned(), shared: shared.clone(), pass: None }
    }

    /// Ends the pass over the log.
    pub(super) fn close(&mut self) {
        self.pass = None;
    }

    /// Calls `take` with each delivery, in order. A delivery whose entry is gone says so.
    pub(crate) async fn read(
        &mut self,
        waiting: &[Waiting],
        mut take: impl FnMut(&Arc<Delivery>),
    ) -> anyhow::Result<()> {
        for (index, one) in waiting.iter().enumerate() {
            let reference = match one {
                Waiting::Whole(delivery) => {
                    take(delivery);
                    continue;
                }
                Waiting::Reference(reference) => reference,
            };
            let rest = &waiting[index..];
            let entry = timeout(PATIENCE, self.entry(reference.place.sequence, rest)).await;
            let entry = entry.context("the log does not answer")?.context("the log cannot be read again")?;
            take(&Arc::new(self.delivery(reference, entry)));
        }
        Ok(())
    }

    fn delivery(&self, reference: &Reference, message: Option<StreamMessage>) -> Delivery {
        let delivery = message.and_then(|message| {
            let StreamMessage { sequence, at, subject, payload, .. } = &message;
            let names = &self.shared.bus.names;
            match entry::read(names, subject, payload, message.once(), *sequence, *at) {
                Raw::Ready(happening) => reread(reference, &self.room, happening),
                Raw::Config(_) => None,
            }
        });
        delivery.unwrap_or_else(|| {
            let sequence = reference.place.sequence;
            tracing::error!(room = self.room, sequence, "a waiting delivery's entry is gone from the log");
            without_content(reference, &self.room)
        })
    }

    /// The entry `sequence` of the log; `None` if it is gone. `rest` are the deliveries to read from it on.
    async fn entry(&mut self, sequence: u64, rest: &[Waiting]) -> anyhow::Result<Option<StreamMessage>> {
        let (bus, ops) = (&self.shared.bus, &self.shared.streams.ops);
        if self.pass.as_ref().is_some_and(|pass| pass.is_gone(sequence)) {
            return Ok(None);
        }
        if !self.pass.as_ref().is_some_and(|pass| pass.reaches(sequence)) {
            let is_dense = is_dense(rest);
            self.pass = is_dense
                .then(|| Pass::open(Follow::after(bus, ops.clone(), String::new(), sequence - 1), sequence));
        }
        if let Some(pass) = &mut self.pass {
            match pass.entry(sequence).await {
                Ok(Some(entry)) => return Ok(Some(entry)),
                Ok(None) => {}
                Err(error) => {
                    self.pass = None;
                    return Err(error);
                }
            }
        }
        StreamMessage::at(&bus.js, &bus.names.ops_stream(), sequence).await
    }
}

impl Pass {
    /// A pass from the entry `sequence` on.
    fn open(follow: Follow, sequence: u64) -> Self {
        Pass { follow, last: None, before: sequence - 1, ended: false }
    }

    /// True if the pass has met the gap in which the entry `sequence` was: a log that was purged has many in a row.
    fn is_gone(&self, sequence: u64) -> bool {
        match &self.last {
            _ if sequence <= self.before => false,
            Some(last) if sequence <= last.sequence => sequence < last.sequence,
            _ => self.ended,
        }
    }

    /// True if the pass gets to `sequence` soon.
    fn reaches(&self, sequence: u64) -> bool {
        let last = self.last.as_ref().map_or(0, |last| last.sequence);
        sequence >= last && sequence - last <= SPARSE
    }

    /// The entry `sequence`; `None` if the pass does not meet it.
    async fn entry(&mut self, sequence: u64) -> anyhow::Result<Option<StreamMessage>> {
        loop {
            match &self.last {
                Some(last) if last.sequence == sequence => return Ok(Some(last.clone())),
                Some(last) if last.sequence > sequence => return Ok(None),
                _ => {}
            }
            self.follow.ready().await?;
            if self.follow.at_end() {
                self.ended = true;
                return Ok(None);
            }
            let next = self.follow.next().await?;
            self.before = self.last.replace(next).map_or(self.before, |last| last.sequence);
        }
    }
}

/// True if the references are so many and so close that a pass over the log is cheaper than a question for each.
fn is_dense(waiting: &[Waiting]) -> bool {
    let ahead = &waiting[..waiting.len().min(10 * FEW)];
    let (Some(first), Some(last)) = (ahead.first(), ahead.last()) else { return false };
    let entries = last.place().sequence - first.place().sequence + 1;
    ahead.len() >= FEW && entries <= ahead.len() as u64 * SPARSE
}
