//! Gives a log that somebody else has made anew, with messages of its own, numbers after the last entry that was folded: the
//! fold, receipts and ids rest on sequences that never come again. The server copies the messages to a stream beside it, the
//! log is made as the relay makes it, and the messages are published again. Each step can be repeated by the next leader, and
//! while there is no log to publish to, senders keep their messages.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{Config, Source, Stream};
use async_nats::{HeaderMap, jetstream};
use tellhal::Timestamp;
use tokio::time::{Instant, sleep};

use super::follow::Follow;
use super::streams::{Settings, Streams, closed};
use super::{Bus, files};
use crate::engine::snapshot::Snapshot;

/// The header that the server adds to the messages it copies.
const COPIED_FROM: &str = "Nats-Stream-Source";
/// Time to wait for the server's next step in the copying.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(100);

/// Renumbers the log if it has numbers that were folded in an earlier log. Only for the leader.
pub async fn renumber(bus: &Bus, streams: Streams, settings: &Settings) -> anyhow::Result<Streams> {
    let Some(snapshot) = files::load_snapshot(&streams.files).await? else { return Ok(streams) };
    let aside_name = format!("{}_ANEW", bus.names.ops_stream());
    let is_anew = is_anew(&streams.ops, &snapshot).await?;
    let aside = bus.js.get_stream(&aside_name).await.ok();
    if !is_anew && aside.is_none() {
        return Ok(streams);
    }
    let name = bus.names.ops_stream();
    tracing::error!(
        stream = name,
        folded = snapshot.sequence,
        "the log was made anew by somebody else; its messages get numbers after the last that was folded"
    );
    if is_anew {
        close(bus, &streams.ops).await?;
    }
    let aside = match aside {
        Some(aside) => aside,
        None => copy(bus, &streams.ops, &aside_name).await?,
    };
    if is_anew {
        copied(&streams.ops, &aside).await?;
        bus.js.delete_stream(&name).await?;
    }
    let streams = bus.streams(settings).await?;
    let count = publish_again(bus, aside).await?;
    bus.js.delete_stream(&aside_name).await?;
    tracing::warn!(stream = name, count, "the log's messages have their new numbers");
    Ok(streams)
}

async fn is_anew(ops: &Stream, snapshot: &Snapshot) -> anyhow::Result<bool> {
    let info = ops.get_info().await.context("the log cannot be read")?;
    let is_other = snapshot.log.is_some_and(|log| log != Timestamp::from_stream(info.created));
    let state = info.state;
    Ok(state.last_sequence < snapshot.sequence || is_other && state.first_sequence <= snapshot.sequence)
}

/// Takes the log's subjects away, so that nothing more gets into it.
async fn close(bus: &Bus, ops: &Stream) -> anyhow::Result<()> {
    let config = ops.cached_info().config.clone();
    let subjects = vec![closed(&config.name)];
    bus.js.update_stream(Config { subjects, ..config }).await.context("the log cannot be closed")?;
    Ok(())
}

/// Lets the server copy the log.
async fn copy(bus: &Bus, ops: &Stream, aside: &str) -> anyhow::Result<Stream> {
    let (name, replicas) = (ops.cached_info().config.name.clone(), ops.cached_info().config.num_replicas);
    let copy = Config {
        name: aside.to_owned(),
        sources: Some(vec![Source { name, ..Source::default() }]),
        num_replicas: replicas,
        allow_direct: true,
        description: Some("tellhal: the messages of a log that was made anew by hand".into()),
        ..Config::default()
    };
    bus.js.create_stream(copy).await.with_context(|| format!("stream {aside}"))?;
    bus.js.get_stream(aside).await.with_context(|| format!("stream {aside}"))
}

/// Waits until all messages of `ops` are in `aside`.
async fn copied(ops: &Stream, aside: &Stream) -> anyhow::Result<()> {
    let (mut before, mut deadline) = (0, Instant::now() + PATIENCE);
    loop {
        let (want, have) = (ops.get_info().await?.state.messages, aside.get_info().await?.state.messages);
        if have >= want {
            return Ok(());
        }
        if have > before {
            (before, deadline) = (have, Instant::now() + PATIENCE);
        }
        ensure!(Instant::now() < deadline, "the server has copied only {have} of the log's {want} messages");
        sleep(LOOK).await;
    }
}

/// Publishes the copied messages with their ids, so that a second attempt repeats nothing; returns their number.
async fn publish_again(bus: &Bus, aside: Stream) -> anyhow::Result<u64> {
    let info = aside.cached_info();
    let made = info.created.unix_timestamp();
    let wanted = bus.js.get_stream(&info.config.name).await?.cached_info().state.messages;
    let mut follow = Follow::after(bus, aside, String::new(), 0);
    for count in 0..wanted {
        let message = follow.next().await?;
        let mut headers = HeaderMap::new();
        let own = message.headers.iter().flat_map(HeaderMap::iter);
        for (name, value) in own.filter(|(name, _)| name.to_string() != COPIED_FROM) {
            value.iter().for_each(|value| headers.append(name.clone(), value.clone()));
        }
        if headers.get(NATS_MESSAGE_ID).is_none() {
            headers.insert(NATS_MESSAGE_ID, format!("anew-{made}-{count}"));
        }
        let publish = PublishMessage::build().payload(message.payload).headers(headers);
        if bus.names.parse(&message.subject).is_none() {
            tracing::error!(subject = %message.subject, "a message of the log that was made anew is of no subject of the log");
            continue;
        }
        publish_once(&bus.js, message.subject.to_string(), publish).await?;
    }
    Ok(wanted)
}

async fn publish_once(
    js: &jetstream::Context,
    subject: String,
    publish: PublishMessage,
) -> anyhow::Result<()> {
    let ack = js.send_publish(subject, publish).await?;
    ack.await.context("a message of the log that was made anew could not be published again")?;
    Ok(())
}
