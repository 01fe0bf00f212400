//! A pull consumer on the log, used through plain requests, one message at a time. async-nats has a layer for
//! this, but it would be a twentieth of the binary on every host. Independent of tags and commands.

use std::time::Duration;

use async_nats::{Client, StatusCode, Subscriber};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tellhal::Timestamp;

use super::api::{Api, Trouble, other};

/// The time the server holds one request for a message, and the time after that until the next request:
/// together the longest pause of a listener whose connection was lost.
const EXPIRES: Duration = Duration::from_secs(10);
const OVERDUE: Duration = Duration::from_secs(2);

/// The settings of a consumer.
pub(super) struct Wanted {
    pub(super) name: String,
    pub(super) durable: bool,
    pub(super) filter: String,
    pub(super) since: Option<Timestamp>,
    pub(super) ack_wait: Duration,
    /// The server removes an unused consumer after this time.
    pub(super) forgotten: Option<Duration>,
}

/// A consumer, and the subscription on which its messages arrive.
pub(super) struct Consumer {
    api: Api,
    stream: String,
    name: String,
    inbox: String,
    arriving: Subscriber,
}

/// One message that waits for its acknowledgement.
pub(super) struct Delivery {
    client: Client,
    pub(super) message: async_nats::Message,
    pub(super) sequence: u64,
    pub(super) tries: u64,
    pub(super) at: Timestamp,
}

impl Consumer {
    /// Creates the consumer, or continues an existing durable one if that reads the same subjects.
    pub(super) async fn make(api: Api, stream: &str, wanted: &Wanted) -> Result<Self, Trouble> {
        let Wanted { name, filter, .. } = wanted;
        let question = format!("CONSUMER.CREATE.{stream}.{name}.{filter}");
        // Only created: an update would change what a running listener of this name gets.
        let body = json!({ "stream_name": stream, "config": config(wanted), "action": "create" });
        let info = match api.ask(&question, body).await {
            Err(Trouble::Exists) => api.ask(&format!("CONSUMER.INFO.{stream}.{name}"), json!({})).await?,
            made => made?,
        };
        let reads = filters(&info["config"]);
        if reads != [filter.as_str()] {
            return Err(Trouble::Reads(reads.join(" ")));
        }
        let inbox = api.client.new_inbox();
        let arriving = api.client.subscribe(inbox.clone()).await.map_err(other)?;
        Ok(Consumer { api, stream: stream.into(), name: name.clone(), inbox, arriving })
    }

    /// Waits for the next message.
    pub(super) async fn next(&mut self) -> Result<Delivery, Trouble> {
        let expires = u64::try_from(EXPIRES.as_nanos()).unwrap_or(u64::MAX);
        let request = json!({ "batch": 1, "expires": expires }).to_string();
        let subject = format!("{}.CONSUMER.MSG.NEXT.{}.{}", self.api.prefix, self.stream, self.name);
        loop {
            let (subject, inbox) = (subject.clone(), self.inbox.clone());
            self.api
                .client
                .publish_with_reply(subject, inbox, request.clone().into())
                .await
                .map_err(other)?;
            // No answer arrives when the server or the connection was lost meanwhile.
            let Ok(arrived) = tokio::time::timeout(EXPIRES + OVERDUE, self.arriving.next()).await else {
                continue;
            };
            let message = arrived.ok_or_else(|| Trouble::Other("the connection was closed".into()))?;
            match message.status {
                None => match Delivery::new(&self.api.client, message) {
                    Some(delivery) => return Ok(delivery),
                    None => continue,
                },
                Some(StatusCode::TIMEOUT | StatusCode::NOT_FOUND) => {}
                // The server is starting, another server takes over, or the consumer is gone.
                Some(_) => self.look().await?,
            }
        }
    }

    /// Waits a second, and fails if the consumer is gone for good.
    async fn look(&self) -> Result<(), Trouble> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        match self.api.ask(&format!("CONSUMER.INFO.{}.{}", self.stream, self.name), json!({})).await {
            Err(trouble @ (Trouble::Gone | Trouble::NoStream)) => Err(trouble),
            _ => Ok(()),
        }
    }
}

/// The subjects that a consumer with this configuration reads.
pub(super) fn filters(config: &Value) -> Vec<&str> {
    let several = config["filter_subjects"].as_array().into_iter().flatten();
    several.chain([&config["filter_subject"]]).filter_map(Value::as_str).collect()
}

fn config(wanted: &Wanted) -> Value {
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let mut config = json!({
        "name": wanted.name,
        "filter_subject": wanted.filter,
        "deliver_policy": if wanted.since.is_some() { "by_start_time" } else { "new" },
        "ack_policy": "explicit",
        "replay_policy": "instant",
        "ack_wait": nanos(wanted.ack_wait),
    });
    if wanted.durable {
        config["durable_name"] = wanted.name.clone().into();
    }
    if let Some(since) = wanted.since {
        config["opt_start_time"] = since.to_string().into();
    }
    if let Some(forgotten) = wanted.forgotten {
        config["inactive_threshold"] = nanos(forgotten).into();
    }
    config
}

impl Delivery {
    fn new(client: &Client, message: async_nats::Message) -> Option<Self> {
        let (tries, sequence, at) = position(message.reply.as_deref()?)?;
        Some(Delivery { client: client.clone(), message, sequence, tries, at })
    }

    /// Tells the server that the command still runs.
    pub(super) async fn in_progress(&self) -> Result<(), String> {
        self.answer("+WPI".into()).await
    }

    pub(super) async fn done(&self) -> Result<(), String> {
        self.answer("+ACK".into()).await
    }

    pub(super) async fn again_in(&self, wait: Duration) -> Result<(), String> {
        self.answer(format!("-NAK {{\"delay\": {}}}", wait.as_nanos())).await
    }

    async fn answer(&self, answer: String) -> Result<(), String> {
        let Some(reply) = self.message.reply.clone() else { return Ok(()) };
        self.client.publish(reply, answer.into()).await.map_err(|error| error.to_string())
    }
}

/// The number of deliveries, the sequence in the log, and the time in the log, from
/// `$JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<tries>.<sequence>.<…>.<nanoseconds>.<pending>[.<…>]`.
fn position(reply: &str) -> Option<(u64, u64, Timestamp)> {
    let tokens: Vec<&str> = reply.strip_prefix("$JS.ACK.")?.split('.').collect();
    let from = match tokens.len() {
        7 => 2,
        9.. => 4,
        _ => return None,
    };
    let nanos: i64 = tokens[from + 3].parse().ok()?;
    Some((tokens[from].parse().ok()?, tokens[from + 1].parse().ok()?, Timestamp(nanos / 1_000_000)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_reply_tell_the_position() {
        let at = Timestamp(1_795_000_000_000);
        for reply in [
            "$JS.ACK.HAL_OPS.listen-x.2.71.5.1795000000000000000.0",
            "$JS.ACK._.hash.HAL_OPS.listen-x.2.71.5.1795000000000000000.0",
            "$JS.ACK.hub.hash.HAL_OPS.listen-x.2.71.5.1795000000000000000.0.random",
        ] {
            assert_eq!(position(reply), Some((2, 71, at)), "{reply}");
        }
        for reply in ["_INBOX.x", "$JS.ACK.HAL_OPS.x.2.71.5.1", "$JS.ACK.HAL_OPS.x.2.a.5.1.0"] {
            assert_eq!(position(reply), None, "{reply}");
        }
    }
}
