//! A pull consumer on the log, used through plain requests, one message at a time. async-nats has a layer for
//! this, but it would be a twentieth of the binary on every host. Independent of tags and commands.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::{StatusCode, Subscriber};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tellhal::Timestamp;
use tellhal::client::Link;
use tokio::sync::watch;

use super::api::{Api, Trouble, other};
use super::delivery::Delivery;
use super::unreadable::{self, Stored};
use crate::exit::say;

/// The time the server holds one request for a message, and the time after that until the next request:
/// together the longest pause of a listener whose connection was lost.
const EXPIRES: Duration = Duration::from_secs(10);
const OVERDUE: Duration = Duration::from_secs(2);
/// Number of messages that are looked at for an unreadable one that was delivered before.
const LOOK_BACK: usize = 1000;

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
    filter: String,
    inbox: String,
    arriving: Subscriber,
    link: watch::Receiver<Link>,
    /// The last sequence that was delivered, to this listener or, before its start, to another.
    newest: u64,
    /// Sequences that were delivered to this listener and did not arrive, each with the number of times.
    suspects: BTreeMap<u64, u32>,
    /// Number of deliveries of the messages that were requested by themselves, 0 once they are handled.
    alone: BTreeMap<u64, u64>,
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
        let newest = info["delivered"]["stream_seq"].as_u64().unwrap_or(0);
        let inbox = api.client().new_inbox();
        let arriving = api.client().subscribe(inbox.clone()).await.map_err(other)?;
        let (stream, name, filter, link) = (stream.into(), name.clone(), filter.clone(), api.link());
        let (suspects, alone) = (BTreeMap::new(), BTreeMap::new());
        Ok(Consumer { api, stream, name, filter, inbox, arriving, link, newest, suspects, alone })
    }

    /// Waits for the next message.
    pub(super) async fn next(&mut self) -> Result<Delivery, Trouble> {
        loop {
            if let Some(delivery) = self.request().await? {
                return Ok(delivery);
            }
        }
    }

    /// Requests one message; `None` if there is none yet.
    async fn request(&mut self) -> Result<Option<Delivery>, Trouble> {
        let lost = self.link.borrow().lost;
        let expires = u64::try_from(EXPIRES.as_nanos()).unwrap_or(u64::MAX);
        let request = json!({ "batch": 1, "expires": expires }).to_string();
        let subject = self.api.subject(&format!("CONSUMER.MSG.NEXT.{}.{}", self.stream, self.name));
        let requested = self.api.client().publish_with_reply(subject, self.inbox.clone(), request.into());
        requested.await.map_err(other)?;
        let arrived = tokio::select! {
            arrived = tokio::time::timeout(EXPIRES + OVERDUE, self.arriving.next()) => Some(arrived),
            _ = self.link.wait_for(|link| link.lost > lost) => None,
        };
        let Some(arrived) = arrived else { return self.interrupted().await };
        // No answer arrives when the server was lost meanwhile.
        let Ok(arrived) = arrived else { return Ok(None) };
        let message = arrived.ok_or_else(|| Trouble::Other("the connection was closed".into()))?;
        let status = message.status;
        if let Some(delivery) = Delivery::new(self.api.client(), message) {
            self.newest = self.newest.max(delivery.sequence);
            self.suspects.remove(&delivery.sequence);
            return Ok(Some(delivery));
        }
        match status {
            None | Some(StatusCode::TIMEOUT | StatusCode::NOT_FOUND) => {}
            // The server is starting, another server takes over, or the consumer is gone.
            Some(_) => self.look().await?,
        }
        Ok(None)
    }

    /// Waits a second, and fails if the consumer is gone for good.
    async fn look(&self) -> Result<(), Trouble> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.info().await.map(drop)
    }

    /// The consumer's state, if the server can tell it now; an error only if the consumer is gone for good.
    async fn info(&self) -> Result<Option<Value>, Trouble> {
        match self.api.ask(&format!("CONSUMER.INFO.{}.{}", self.stream, self.name), json!({})).await {
            Ok(info) => Ok(Some(info)),
            Err(trouble @ (Trouble::Gone | Trouble::NoStream)) => Err(trouble),
            Err(_) => Ok(None),
        }
    }

    /// After an interruption: the message that was on its way, if it is one that the client cannot read.
    async fn interrupted(&mut self) -> Result<Option<Delivery>, Trouble> {
        // A new inbox: an answer to the last request must not arrive beside that to the next one.
        self.inbox = self.api.client().new_inbox();
        self.arriving = self.api.client().subscribe(self.inbox.clone()).await.map_err(other)?;
        let _ = self.link.wait_for(|link| link.up).await;
        let Some(info) = self.info().await? else { return Ok(None) };
        let number = |path| info.pointer(path).and_then(Value::as_u64).unwrap_or(0);
        let (floor, newest) = (number("/ack_floor/stream_seq"), number("/delivered/stream_seq"));
        let count = number("/delivered/consumer_seq");
        self.alone.retain(|sequence, _| *sequence > floor);
        self.suspects.retain(|sequence, _| *sequence > floor);
        if number("/num_ack_pending") == 0 {
            return Ok(None);
        }
        if newest > self.newest {
            self.newest = newest;
            self.suspects.insert(newest, 0);
            return self.examine(newest, count).await;
        }
        match self.suspects.first_key_value() {
            Some((suspect, _)) => self.examine(*suspect, count).await,
            None => Ok(self.once_more(floor, count).await),
        }
    }

    /// Requests a message by itself that was delivered and did not arrive. It is skipped if that is not permitted and it
    /// has not arrived a second time.
    async fn examine(&mut self, suspect: u64, count: u64) -> Result<Option<Delivery>, Trouble> {
        let times = self.suspects.entry(suspect).or_insert(0);
        *times += 1;
        let times = *times;
        let answer = match unreadable::get(&self.api, &self.stream, json!({ "seq": suspect })).await {
            Ok(Some(stored)) if times > 1 || !stored.is_readable() => {
                self.suspects.remove(&suspect);
                return Ok(Some(self.by_itself(&stored, count)));
            }
            Ok(None) => {
                self.suspects.remove(&suspect);
                return Ok(None);
            }
            // At once, and not only after its acknowledgement time.
            _ if times == 1 => "-NAK",
            Err(Trouble::Denied(_) | Trouble::NoJetStream) => {
                self.suspects.remove(&suspect);
                let what =
                    format!("message {suspect} of {}, whose subject or headers cannot be read", self.stream);
                let question = self.api.subject(&unreadable::question(&self.stream));
                say(format!(
                    "skipped {what}; with permission for {question} it would be requested by itself"
                ));
                "+TERM"
            }
            _ => return Ok(None),
        };
        let reply = self.reply(suspect, count);
        self.api.client().publish(reply, answer.into()).await.map_err(other)?;
        Ok(None)
    }

    /// An unreadable message that was delivered before: its command failed, or a listener ended before it was handled.
    async fn once_more(&mut self, floor: u64, count: u64) -> Option<Delivery> {
        let mut from = floor + 1;
        for _ in 0..LOOK_BACK {
            let which = json!({ "seq": from, "next_by_subj": self.filter });
            let stored = unreadable::get(&self.api, &self.stream, which).await.ok()??;
            if stored.seq > self.newest {
                break;
            }
            if !stored.is_readable() && self.alone.get(&stored.seq) != Some(&0) {
                return Some(self.by_itself(&stored, count));
            }
            from = stored.seq + 1;
        }
        None
    }

    fn by_itself(&mut self, stored: &Stored, count: u64) -> Delivery {
        let tries = self.alone.entry(stored.seq).or_insert(0);
        *tries += 1;
        let tries = *tries;
        let message = async_nats::Message {
            subject: stored.subject.as_str().into(),
            reply: Some(self.reply(stored.seq, count).into()),
            payload: stored.payload().into(),
            headers: None,
            status: None,
            description: None,
            length: 0,
        };
        let client = self.api.client().clone();
        Delivery { client, message, sequence: stored.seq, tries, at: stored.time }
    }

    /// Notes that a message was handled: if it was requested by itself, it is not found again.
    pub(super) fn handled(&mut self, sequence: u64) {
        if let Some(tries) = self.alone.get_mut(&sequence) {
            *tries = 0;
        }
    }

    /// The subject on which the delivered message `sequence` is acknowledged. The server looks at the sequence, and that
    /// `count`, a number of deliveries, is not out of range.
    fn reply(&self, sequence: u64, count: u64) -> String {
        format!("$JS.ACK.{}.{}.1.{sequence}.{count}.0.0", self.stream, self.name)
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
