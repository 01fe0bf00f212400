//! Reads a stream from some place to its present end, in order. Acknowledges nothing.

use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::stream::Stream;
use tokio::sync::watch;

use crate::bus::follow::Follow;
use crate::bus::message::StreamMessage;

/// How long a server may keep the next message to itself before the scan gives up.
const PATIENCE: Duration = Duration::from_secs(10);

/// Some of a stream's messages, up to the last one that was there when it was opened or while it was read.
pub struct Scan(Follow);

impl Scan {
    /// The messages of `stream` whose subject matches `filter`, from `from` on.
    pub async fn open(
        js: &Context,
        connections: &watch::Receiver<u64>,
        stream: Stream,
        filter: String,
        from: DeliverPolicy,
    ) -> anyhow::Result<Scan> {
        let mut follow = Follow::new(js, connections, stream, filter, from);
        follow.ready().await?;
        Ok(Scan(follow))
    }

    /// The next message, or `None` at the stream's end.
    pub async fn next(&mut self) -> anyhow::Result<Option<StreamMessage>> {
        if self.0.at_end() {
            return Ok(None);
        }
        let next = async {
            // Only a consumer tells whether there is anything after what was asked for by itself.
            self.0.ready().await?;
            if self.0.at_end() { Ok(None) } else { self.0.next().await.map(Some) }
        };
        tokio::time::timeout(PATIENCE, next).await.context("the server stopped answering")?
    }
}
