//! The messages: about 300 bytes of JSON each, with a number and a time stamp that a sink can find in any format, so that
//! it can count them and measure their delay.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use async_nats::jetstream;
use async_nats::jetstream::stream::{Config, DiscardPolicy, Stream};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use relay::engine::routing::{Route, Routing};
use relay::engine::rule::condition::Conditions;
use relay::engine::rule::condition::tag::Tags;
use tellhal::message::Message;

pub const SOURCE: &str = "bench";
/// Number of different first tokens of tags; each has a route of its own.
pub const TEAMS: usize = 100;
/// Number of publishes that wait for their acknowledgement at once.
const WINDOW: usize = 256;
const SIZE: usize = 300;
const MARK: &str = "bench n=";

pub fn now_nanos() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

pub fn tag(number: usize) -> String {
    format!("team{}.job{}.done", number % TEAMS, number % 7)
}

/// The text that [`marks`] finds again.
pub fn text(number: usize) -> String {
    format!("{MARK}{number} t={};", now_nanos())
}

pub fn message(number: usize) -> anyhow::Result<Message> {
    let tag = tag(number).parse().map_err(|error| anyhow::anyhow!("{error}"))?;
    let mut message = Message::new(SOURCE, tag, text(number));
    let size = serde_json::to_vec(&message)?.len();
    message.text.extend(std::iter::repeat_n('.', SIZE.saturating_sub(size)));
    Ok(message)
}

/// All numbers and time stamps in a body of any format.
pub fn marks(body: &str) -> impl Iterator<Item = (usize, u64)> {
    body.split(MARK).skip(1).filter_map(|rest| {
        let (number, rest) = rest.split_once(" t=")?;
        let (at, _) = rest.split_once(';')?;
        Some((number.parse().ok()?, at.parse().ok()?))
    })
}

/// One route per team, in turn to the rooms `r0`, `r1`, ….
pub fn routing(rooms: usize) -> anyhow::Result<Routing> {
    let room = |number: usize| format!("r{}", number % rooms);
    let routes = (0..TEAMS).map(|team| {
        let pattern = format!("team{team}.>").parse().map_err(|error| anyhow::anyhow!("{error}"))?;
        Ok(Route {
            name: format!("team{team}"),
            conditions: Conditions { tag: Tags(vec![pattern]), ..Conditions::default() },
            rooms: vec![room(team)],
            ..Route::default()
        })
    });
    Ok(Routing {
        dev_room: None,
        default_room: room(0),
        rooms: (0..rooms).map(room).collect::<BTreeSet<_>>(),
        routes: routes.collect::<anyhow::Result<_>>()?,
    })
}

pub async fn connect(address: SocketAddr) -> anyhow::Result<jetstream::Context> {
    let options = async_nats::ConnectOptions::new().retry_on_initial_connect();
    Ok(jetstream::new(options.connect(address.to_string()).await?))
}

/// The log with the relay's settings.
pub async fn log(context: &jetstream::Context) -> anyhow::Result<Stream> {
    let config = Config {
        name: "HAL_OPS".into(),
        subjects: vec!["hal.ops.>".into(), "hal.ctl.>".into()],
        discard: DiscardPolicy::New,
        max_bytes: 4 << 30,
        duplicate_window: Duration::from_secs(3600),
        allow_direct: true,
        ..Config::default()
    };
    Ok(context.get_or_create_stream(config).await?)
}

/// Publishes the messages `numbers`, each acknowledged, as fast as it goes or `per_second`.
pub async fn publish(
    context: &jetstream::Context,
    numbers: std::ops::Range<usize>,
    per_second: Option<f64>,
) -> anyhow::Result<()> {
    let start = tokio::time::Instant::now();
    let first = numbers.start;
    let mut waiting = FuturesUnordered::new();
    for number in numbers {
        if let Some(per_second) = per_second {
            let due = start + Duration::from_secs_f64((number - first) as f64 / per_second);
            tokio::time::sleep_until(due).await;
        }
        let message = message(number)?;
        let subject = format!("hal.ops.{SOURCE}.{}", message.tag);
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-Msg-Id", message.id.as_str());
        let body = serde_json::to_vec(&message)?;
        waiting.push(context.publish_with_headers(subject, headers, body.into()).await?.into_future());
        while waiting.len() >= WINDOW {
            waiting.next().await.context("no publish is waiting")??;
        }
    }
    while let Some(ack) = waiting.next().await {
        ack?;
    }
    Ok(())
}

/// Posts the messages `numbers` directly to the sink, for a comparison without any relay.
pub async fn post(sink: &str, numbers: std::ops::Range<usize>, per_second: f64) -> anyhow::Result<()> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let (start, first) = (tokio::time::Instant::now(), numbers.start);
    for number in numbers {
        let due = start + Duration::from_secs_f64((number - first) as f64 / per_second);
        tokio::time::sleep_until(due).await;
        let body = serde_json::to_vec(&message(number)?)?;
        client.post(format!("{sink}/in/r0")).body(body).send().await?.error_for_status()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_found_again_in_any_format() {
        let message = message(7).unwrap();
        let json = serde_json::to_string(&message).unwrap();
        assert!((SIZE..SIZE + 30).contains(&json.len()), "{}", json.len());
        let body = format!("{{\"common\":{json},\"all\":[{json}, \"bench n=8 t=9; bench n=x t=1;\"]}}");
        let numbers: Vec<usize> = marks(&body).map(|(number, _)| number).collect();
        assert_eq!(numbers, [7, 7, 8]);
    }
}
