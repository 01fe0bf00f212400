//! Emptying a spool into the log, oldest first: a message is removed only after its acknowledgement.

use tokio::time::Instant;

use crate::client::Publisher;
use crate::refusal::Refusal;
use crate::spool::{Broken, Claim, Spool, SpoolError};
use crate::timestamp::Timestamp;

/// The result of a flush.
#[derive(Debug, Default)]
pub struct Flushed {
    /// Messages that were acknowledged and removed.
    pub sent: u64,
    /// Messages that another process is sending.
    pub busy: u64,
    /// Messages that stay in the spool: refused, or not tried.
    pub left: u64,
    /// Files that are not messages, moved to `bad/`.
    pub broken: Vec<Broken>,
    /// Messages that no server takes, moved to `bad/`.
    pub refused: Vec<Refusal>,
    /// The reason why the first of them stays.
    pub reason: Option<Refusal>,
}

/// Sends the messages in `spool` until it is empty or `deadline` passes.
pub async fn flush(publisher: &Publisher, spool: &Spool, deadline: Instant) -> Result<Flushed, SpoolError> {
    let mut done = Flushed::default();
    let names = spool.waiting()?;
    // The usual case. Files that killed writers left behind are swept when the next message is written.
    if names.is_empty() {
        return Ok(done);
    }
    spool.sweep()?;
    let total = names.len() as u64;
    for (position, name) in names.iter().enumerate() {
        let out_of_time = Instant::now() >= deadline;
        let stopped = done.reason.as_ref().is_some_and(Refusal::stops_all);
        if out_of_time || stopped {
            done.left += total - position as u64;
            break;
        }
        let mut held = match spool.claim(name)? {
            Claim::Ours(held) => held,
            Claim::Busy => {
                done.busy += 1;
                continue;
            }
            Claim::Gone => continue,
            Claim::Bad(broken) => {
                done.broken.push(broken);
                continue;
            }
        };
        held.message.flushed = Some(Timestamp::now());
        match publisher.publish(&held.message, deadline).await {
            Ok(_) => {
                held.remove()?;
                done.sent += 1;
            }
            Err(refusal) if refusal.is_final() => {
                held.set_aside()?;
                done.refused.push(refusal);
            }
            Err(refusal) => {
                done.left += 1;
                done.reason.get_or_insert(refusal);
            }
        }
    }
    Ok(done)
}
