//! Reads a stream from a given sequence to its present end, in order, without acknowledgements.

use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::stream::Stream;

use crate::bus::connections::Connections;
use crate::bus::follow::Follow;
use crate::bus::message::StreamMessage;

/// Time to wait for the next message before the scan fails.
const PATIENCE: Duration = Duration::from_secs(10);

/// A reader of a stream's messages, up to the last one that exists when it is reached.
pub struct Scan(Follow);

impl Scan {
    /// The messages of `stream` whose subject matches `filter`, from `from` on.
    pub async fn open(
        js: &Context,
        connections: &Connections,
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
            // After a message that was requested by itself, only a new consumer knows whether there are more.
            self.0.ready().await?;
            if self.0.at_end() { Ok(None) } else { self.0.next().await.map(Some) }
        };
        tokio::time::timeout(PATIENCE, next).await.context("the server stopped answering")?
    }
}
