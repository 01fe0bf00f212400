//! Dead letters: deliveries that a room could never take. They can be listed, retried and given up; a retry and a drop leave
//! a trace.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use async_nats::HeaderMap;
use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::consumer::DeliverPolicy;
use futures_util::TryStreamExt as _;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use tellhal::message::Severity;
use tellhal::timestamp::Timestamp;

use super::Operator;
use crate::bus::message::StreamMessage;
use crate::deliver::ledger::NOTES;
use crate::delivery::{Attempts, Content, DeadLetter, Delivery, Outcome, Receipt};
use crate::engine::entry::Retry;
use crate::render;
use crate::room::Post;

/// A dead letter as it is listed.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Letter {
    /// The delivery's id; `dead-N` where there is no delivery.
    pub id: String,
    pub room: String,
    pub reason: String,
    /// The message, or the summary, that was to be delivered.
    pub message: Value,
    /// Its severity and tag; of a summary the tags of the repeats. Absent where there is no delivery.
    pub severity: Option<Severity>,
    pub tag: Option<String>,
    /// Its headline; of a summary that of the last repeat.
    pub headline: String,
    /// The number of repeats in a summary; absent for a message.
    pub repeats: Option<u64>,
    /// The text of a summary, as rooms show it; absent for a message.
    pub text: Option<String>,
    pub at: Timestamp,
    pub tries: u32,
    /// The result of each attempt.
    pub attempts: Attempts,
    /// Its sequence in the stream of dead letters.
    pub sequence: u64,
    #[serde(skip)]
    pub delivery: Option<Box<Delivery>>,
}

/// The dead letters of one room or of all, oldest first.
pub async fn list(bus: &Operator, room: Option<&str>, from: DeliverPolicy) -> anyhow::Result<Vec<Letter>> {
    let Some(stream) = bus.stream(&bus.names.dead_stream()).await? else { return Ok(Vec::new()) };
    let mut scan = bus.scan(stream, bus.names.dead(room.unwrap_or("*")), from).await?;
    let mut letters = Vec::new();
    while let Some(stored) = scan.next().await? {
        letters.push(Letter::read(&stored));
    }
    Ok(letters)
}

impl Letter {
    pub(crate) fn read(stored: &StreamMessage) -> Letter {
        let (payload, sequence, at) = (&stored.payload, stored.sequence, stored.at);
        let room = stored.subject.rsplit('.').next().unwrap_or_default().to_owned();
        match serde_json::from_slice::<DeadLetter>(payload) {
            Ok(DeadLetter { reason, at, tries, attempts, delivery, .. }) => {
                let (message, tag, headline) = match &delivery.content {
                    Content::Message(message) => {
                        (serde_json::to_value(message), message.tag.to_string(), message.headline())
                    }
                    Content::Summary(summary) => {
                        let tags: Vec<&str> = summary.tags.keys().map(String::as_str).collect();
                        (serde_json::to_value(summary), tags.join(", "), summary.headline.as_str())
                    }
                };
                let (headline, message) = (headline.to_owned(), message.unwrap_or_default());
                let repeats = delivery.repeats();
                let text = repeats.map(|_| render::lines(&Post::single(delivery.clone())).join("\n"));
                let (id, severity) = (delivery.id.to_string(), Some(delivery.severity()));
                let (tag, delivery) = (Some(tag), Some(Box::new(delivery)));
                Letter {
                    id,
                    room,
                    reason,
                    message,
                    severity,
                    tag,
                    headline,
                    repeats,
                    text,
                    at,
                    tries,
                    attempts,
                    sequence,
                    delivery,
                }
            }
            Err(_) => {
                let text = || Value::String(String::from_utf8_lossy(payload).into_owned());
                let mut value = serde_json::from_slice(payload).unwrap_or_else(|_| text());
                let reason = value.get("reason").and_then(Value::as_str).unwrap_or("it could not be read");
                let (id, reason) = (format!("dead-{sequence}"), reason.to_owned());
                let message = value.get_mut("payload").map(Value::take).unwrap_or(value);
                let headline = message.as_str().map_or_else(|| message.to_string(), str::to_owned);
                Letter {
                    id,
                    room,
                    reason,
                    message,
                    severity: None,
                    tag: None,
                    headline,
                    repeats: None,
                    text: None,
                    at,
                    tries: 0,
                    attempts: Attempts::default(),
                    sequence,
                    delivery: None,
                }
            }
        }
    }

    /// The id of the message it is about.
    pub fn message_id(&self) -> &str {
        self.delivery.as_ref().map_or(&self.id, |delivery| delivery.message_id())
    }
}

/// The number of dead letters of each room.
pub async fn count(bus: &Operator) -> anyhow::Result<BTreeMap<String, u64>> {
    let stream = bus.jetstream.get_stream_no_info(bus.names.dead_stream()).await?;
    let subjects = stream.info_with_subjects(bus.names.dead("*")).await.context("dead letters")?;
    let subjects: Vec<(String, usize)> = subjects.try_collect().await?;
    let room = |subject: &str| subject.rsplit('.').next().unwrap_or_default().to_owned();
    Ok(subjects.into_iter().map(|(subject, count)| (room(&subject), count as u64)).collect())
}

/// Asks the relay, by an entry of the log, to deliver a dead letter again, and takes the letter off the list. After a failure
/// between the two steps the call can be repeated: the log recognizes the request by its id. `by` is the operator's name.
pub async fn retry(bus: &Operator, letter: &Letter, by: &str) -> anyhow::Result<()> {
    let Some(delivery) = &letter.delivery else {
        bail!("{} cannot be retried: it holds no delivery, only a payload that could not be read", letter.id)
    };
    let once = format!("retry/{}", letter.sequence);
    let request = Retry {
        once: once.clone(),
        delivery: (**delivery).clone(),
        room: letter.room.clone(),
        reason: format!("tried again by {by}; before: {}", letter.reason),
    };
    publish(bus, bus.names.ctl("retry"), &once, &request, &bus.names.ops_stream()).await?;
    forget(bus, letter).await
}

/// Gives a dead letter up, with a receipt that says so and by whom.
pub async fn drop(bus: &Operator, letter: &Letter, by: &str) -> anyhow::Result<()> {
    if let Some(delivery) = &letter.delivery {
        let reason = format!("dead letter given up by {by}: {}", letter.reason);
        let (id, place, now) = (&delivery.id, delivery.place, Timestamp::now());
        let receipt = Receipt::unsent(&letter.room, Outcome::Dropped, id, place, now, reason);
        let once = format!("drop/{}", letter.sequence);
        // Not on the room's own subject: from that subject's last receipt a new leader learns the room's position.
        publish(bus, bus.names.sent(NOTES), &once, &receipt, &bus.names.sent_stream()).await?;
    }
    forget(bus, letter).await
}

async fn publish<T: Serialize>(
    bus: &Operator,
    subject: String,
    once: &str,
    body: &T,
    stream: &str,
) -> anyhow::Result<()> {
    let mut headers = HeaderMap::new();
    headers.insert(NATS_MESSAGE_ID, once);
    let payload = serde_json::to_vec(body)?.into();
    let sent = bus.jetstream.publish_with_headers(subject.clone(), headers, payload).await;
    let ack = sent.with_context(|| subject.clone())?.await.with_context(|| subject.clone())?;
    if ack.stream != stream {
        bail!("{subject} was acknowledged by stream {} instead of {stream}", ack.stream);
    }
    Ok(())
}

async fn forget(bus: &Operator, letter: &Letter) -> anyhow::Result<()> {
    let name = bus.names.dead_stream();
    let stream = bus.jetstream.get_stream_no_info(&name).await?;
    stream
        .delete_message(letter.sequence)
        .await
        .with_context(|| format!("taking {} off the list", letter.id))?;
    Ok(())
}
