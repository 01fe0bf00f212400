//! The readers of the log: the bare consumer that parses and drops, the fold with a null sink, and the naive
//! relay. Each prints the seconds from its first to its last message.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::{AckKind, Message, consumer::AckPolicy};
use futures_util::{StreamExt, TryStreamExt};
use relay::engine::entry::{Entry, Raw, read};
use relay::engine::{Engine, Output, Rules};
use tellhal::Names;
use tellhal::timestamp::Timestamp;

use crate::load::{connect, log, routing};

const BATCH: usize = 500;

async fn messages(address: SocketAddr, ack: AckPolicy) -> anyhow::Result<pull::Stream> {
    let stream = log(&connect(address).await?).await?;
    let config = pull::Config { ack_policy: ack, max_ack_pending: 100_000, ..pull::Config::default() };
    let consumer = stream.create_consumer(config).await?;
    let stream = consumer.stream().max_messages_per_batch(BATCH).expires(Duration::from_secs(30));
    Ok(stream.messages().await?)
}

/// Parses, drops and acknowledges each message: the minimal work of a consumer.
pub async fn bare(address: SocketAddr, count: usize) -> anyhow::Result<f64> {
    let mut messages = messages(address, AckPolicy::Explicit).await?;
    let mut start = None;
    for _ in 0..count {
        let message = messages.next().await.context("no more messages")??;
        start.get_or_insert_with(Instant::now);
        let parsed: serde_json::Value = serde_json::from_slice(&message.payload)?;
        std::hint::black_box(parsed);
        message.ack_with(AckKind::Ack).await.map_err(anyhow::Error::from_boxed)?;
    }
    Ok(start.map_or(0.0, |start: Instant| start.elapsed().as_secs_f64()))
}

/// Parses, decides with [`crate::load::TEAMS`] routes, and drops the deliveries.
pub async fn decide(address: SocketAddr, count: usize) -> anyhow::Result<f64> {
    let mut messages = messages(address, AckPolicy::None).await?;
    let names = Names::default();
    let mut engine = Engine::new(Arc::new(Rules::new(routing(1)?)));
    let (mut start, mut deliveries) = (None, 0);
    for _ in 0..count {
        let message = messages.next().await.context("no more messages")??;
        start.get_or_insert_with(Instant::now);
        let outputs = entry(&names, &message)?.map_or_else(Vec::new, |entry| engine.apply(entry));
        deliveries += outputs.iter().filter(|output| matches!(output, Output::Deliver(_))).count();
    }
    anyhow::ensure!(deliveries == count, "{deliveries} deliveries for {count} messages");
    Ok(start.map_or(0.0, |start: Instant| start.elapsed().as_secs_f64()))
}

fn entry(names: &Names, message: &Message) -> anyhow::Result<Option<Entry>> {
    let info = message.info().map_err(anyhow::Error::from_boxed)?;
    let at = Timestamp(i64::try_from(info.published.unix_timestamp_nanos() / 1_000_000)?);
    let sequence = info.stream_sequence;
    Ok(match read(names, &message.subject, &message.payload, None, sequence, at) {
        Raw::Ready(what) => Some(Entry { sequence, at, what }),
        Raw::Config(_) => None,
    })
}

/// Consumes, posts each message as it is and acknowledges it, `rooms` at a time. Without a `count` it
/// goes on for ever.
pub async fn naive(
    address: SocketAddr,
    sink: &str,
    rooms: usize,
    count: Option<usize>,
) -> anyhow::Result<f64> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let routing = routing(rooms)?;
    let rooms_of: BTreeMap<&str, &str> =
        routing.routes.iter().map(|route| (route.name.as_str(), route.rooms[0].as_str())).collect();
    let start = Instant::now();
    let messages = messages(address, AckPolicy::Explicit).await?.take(count.unwrap_or(usize::MAX));
    let post = |message: Message| {
        let team = message.subject.split('.').nth(3).unwrap_or_default();
        let url = format!("{sink}/in/{}", rooms_of.get(team).copied().unwrap_or("r0"));
        let request = client.post(url).body(message.payload.clone()).send();
        async move {
            request.await?.error_for_status()?;
            message.ack().await.map_err(anyhow::Error::from_boxed)
        }
    };
    messages.map_err(anyhow::Error::from).try_for_each_concurrent(rooms, post).await?;
    Ok(start.elapsed().as_secs_f64())
}
