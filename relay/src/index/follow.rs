//! Keeps the index up to date with its streams: each is read from where the index stopped, after any interruption.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tellhal::timestamp::Timestamp;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::Index;
use super::store::Origin;
use crate::bus::Bus;
use crate::bus::follow::Follow;

/// The largest number of messages in one batch, and the bytes after which a batch ends.
const BATCH: usize = 1000;
const BATCH_BYTES: usize = 4 << 20;
/// The time in which messages are gathered into a batch: a transaction for each would cost more than its post.
const GATHER: Duration = Duration::from_millis(100);
/// Number of unread messages above which batches are followed by a pause, and the longest pause.
const MUCH: u64 = 20_000;
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// The pause before a stream is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// Interval at which a stream is checked for having been replaced, and the time without messages after which it is
/// checked earlier.
const LOOK: Duration = Duration::from_secs(60);
const QUIET: Duration = Duration::from_secs(5);
/// Interval at which entries that the stream no longer has are removed.
const FORGET: Duration = Duration::from_secs(3600);

/// Keeps the index up to date with all streams until `stop`.
pub async fn run(index: Arc<Index>, bus: Bus, stop: CancellationToken) {
    let work = async {
        tokio::join!(
            keep_following(&index, &bus, Origin::Log),
            keep_following(&index, &bus, Origin::Receipts),
            keep_following(&index, &bus, Origin::DeadLetters),
        )
    };
    stop.run_until_cancelled(work).await;
}

async fn keep_following(index: &Arc<Index>, bus: &Bus, origin: Origin) {
    loop {
        // A missing stream or server is reported by the relay itself.
        if let Err(error) = follow(index, bus, origin).await {
            index.failed(&error);
            tracing::debug!(?origin, error = format!("{error:#}"), "the index was interrupted; trying again");
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn follow(index: &Arc<Index>, bus: &Bus, origin: Origin) -> anyhow::Result<()> {
    let name = match origin {
        Origin::Log => bus.names.ops_stream(),
        Origin::Receipts => bus.names.sent_stream(),
        Origin::DeadLetters => bus.names.dead_stream(),
    };
    let stream = bus.js.get_stream(&name).await.with_context(|| name.clone())?;
    let (created, generation) = (stream.cached_info().created, index.generation());
    let after = index.write(move |store| store.begin(origin, Timestamp::from_stream(created))).await?;
    index.reached(origin, after, stream.cached_info().state.last_sequence.saturating_sub(after));
    let everything = String::new();
    let mut follow = Follow::after(bus, stream.clone(), everything, after);
    let (mut look_at, mut forget_at) = (Instant::now(), Instant::now());
    while index.generation() == generation {
        let now = Instant::now();
        if now >= look_at {
            look_at = now + LOOK;
            let info = stream.get_info().await?;
            if info.created != created {
                return Ok(());
            }
            if now >= forget_at {
                forget_at = now + FORGET;
                let first = info.state.first_sequence;
                index.write(move |store| store.forget(origin, first)).await?;
            }
        }
        let Ok(first) = tokio::time::timeout(QUIET, follow.next()).await else {
            look_at = now;
            continue;
        };
        let until = Instant::now() + GATHER;
        let mut batch = vec![first?];
        let mut bytes = batch[0].payload.len();
        while batch.len() < BATCH
            && bytes < BATCH_BYTES
            && let Ok(Ok(message)) = timeout_at(until, follow.next()).await
        {
            bytes += message.payload.len();
            batch.push(message);
        }
        let (left, begun) = (batch.last().map_or(0, |last| last.pending), Instant::now());
        index.add(origin, bus.names.clone(), batch).await?;
        if left >= MUCH {
            // Other readers of the server have priority.
            tokio::time::sleep(begun.elapsed().saturating_mul(2).min(LONGEST_PAUSE)).await;
        }
    }
    Ok(())
}
