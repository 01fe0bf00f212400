//! Keeps the index in step with its streams: each is read from where the index stopped, whatever happens in
//! between.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::FutureExt as _;
use tellhal::timestamp::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Index;
use super::store::Origin;
use crate::bus::Bus;
use crate::bus::follow::Follow;

/// The most messages of one batch, and the bytes after which it is enough.
const BATCH: usize = 1000;
const BATCH_BYTES: usize = 4 << 20;
/// With how many left there is much to catch up with, and the longest pause between two batches then.
const MUCH: u64 = 20_000;
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// How soon a stream is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// How often a stream is looked at, whether it is still the same: at the latest, and when it is quiet.
const LOOK: Duration = Duration::from_secs(60);
const QUIET: Duration = Duration::from_secs(5);
/// How often what the stream let go of is forgotten.
const FORGET: Duration = Duration::from_secs(3600);

/// Reads all streams until `stop`.
pub(super) async fn run(index: Arc<Index>, bus: Bus, stop: CancellationToken) {
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
        // That a stream is missing, or the server, is the relay's to say.
        if let Err(error) = follow(index, bus, origin).await {
            index.failed(&error);
            tracing::debug!(?origin, error = format!("{error:#}"), "the index reads on in a moment");
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
        let mut batch = vec![first?];
        let mut bytes = batch[0].payload.len();
        while batch.len() < BATCH
            && bytes < BATCH_BYTES
            && let Some(Ok(found)) = follow.next().now_or_never()
        {
            bytes += found.payload.len();
            batch.push(found);
        }
        let (left, begun) = (batch.last().map_or(0, |last| last.pending), Instant::now());
        index.add(origin, bus.names.clone(), batch).await?;
        if left >= MUCH {
            // Whoever else reads from the server comes first.
            tokio::time::sleep(begun.elapsed().saturating_mul(2).min(LONGEST_PAUSE)).await;
        }
    }
    Ok(())
}
