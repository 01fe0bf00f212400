//! One intake's connection. The lease decides which bridge connects; the broker closes the connection of a client when
//! another one comes with the same id. So a bridge that has lost its lease, since the bus is away, goes on to hear until
//! another bridge comes, and its messages go to the spool.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use service::lease::{Lease, campaign};
use service::platform::Failure;
use service::platform::mqtt::{Arrived, Client, Event, Keep};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::intake::{Config, Ignored, Retained};
use super::record::Record;
use crate::chat::session::State;
use crate::means::Means;
use crate::memory::Memory;
use crate::metrics::IgnoredMessage;

/// The source of these messages in the metrics, and the kind of their records.
const SOURCE: &str = "mqtt";
/// The pause before the bus is asked again for a lease.
const PAUSE: Duration = Duration::from_secs(1);
/// The first and the longest pause before another connection.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// The time after which a connection counts as good: the next pause is the first one again.
const GOOD: Duration = Duration::from_secs(30);
/// The longest time for a way in.
const CONNECT: Duration = Duration::from_secs(15);
/// The longest wait for the record; a message is taken without an entry then.
const RECORD: Duration = Duration::from_millis(500);
/// The longest goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// One intake, and all that it needs. Cheap to clone.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) name: String,
    pub(super) config: Config,
    pub(super) means: Means,
    pub(super) state: Arc<Mutex<State>>,
}

impl Session {
    /// Hears while this bridge has the lease, until `stop`. The lease is given back once the connection has ended.
    pub(super) async fn run(self, stop: CancellationToken) {
        let (held, is_held) = watch::channel(false);
        let ended = CancellationToken::new();
        let hearing = async {
            self.connect_again_and_again(is_held, &stop).await;
            ended.cancel();
        };
        tokio::join!(hearing, self.lead(&held, &ended));
    }

    async fn lead(&self, held: &watch::Sender<bool>, ended: &CancellationToken) {
        while !ended.is_cancelled() {
            let lease = tokio::select! {
                lease = self.win() => lease,
                () = ended.cancelled() => return,
            };
            held.send_replace(true);
            tokio::select! {
                () = lease.keep() => {}
                () = ended.cancelled() => {}
            }
            held.send_replace(false);
            lease.release().await;
        }
    }

    async fn win(&self) -> Lease {
        let key = format!("bridge-mqtt-{}", self.name);
        loop {
            match self.means.bus.streams().await {
                Ok(streams) => return campaign(&streams.state, &key, &self.means.owner).await,
                Err(error) => tracing::debug!(mqtt = self.name, error = format!("{error:#}"), "no lease"),
            }
            sleep(PAUSE).await;
        }
    }

    async fn connect_again_and_again(&self, mut is_held: watch::Receiver<bool>, stop: &CancellationToken) {
        let (mut pause, mut last) = (RECONNECT.0, String::new());
        loop {
            if !*is_held.borrow() {
                self.set_state(State::StandingBy);
            }
            tokio::select! {
                held = is_held.wait_for(|held| *held) => if held.is_err() { return },
                () = stop.cancelled() => return,
            }
            let began = Instant::now();
            let Err(failure) = self.hear(stop).await else { return };
            let reason = failure.to_string();
            // The same reason is told once, however often it is tried.
            match reason == last {
                false => tracing::warn!(mqtt = self.name, reason, "not heard; trying again"),
                true => tracing::debug!(mqtt = self.name, reason, "not heard yet"),
            }
            self.set_state(State::Held(Some(reason.clone())));
            last = reason;
            if began.elapsed() > GOOD {
                (pause, last) = (RECONNECT.0, String::new());
            }
            tokio::select! {
                () = sleep(pause.mul_f64(0.75 + fastrand::f64() / 2.0)) => {}
                () = stop.cancelled() => return,
            }
            pause = (pause * 2).min(RECONNECT.1);
        }
    }

    /// Hears on one connection until it breaks; `Ok` at `stop`.
    async fn hear(&self, stop: &CancellationToken) -> Result<(), Failure> {
        let settings = self.config.broker.settings(&self.config.client_id);
        let settings = settings.map_err(|error| Failure::Auth { reason: format!("{error:#}") })?;
        let address = settings.address();
        let client = Client::new(settings, Keep::Session { inflight: self.config.inflight });
        let mut connection = Connection {
            session: self,
            address,
            client,
            record: Stored::new(self),
            asked: Vec::new(),
            ignored: 0,
        };
        let until = Instant::now() + CONNECT;
        loop {
            let event = tokio::select! {
                biased;
                () = stop.cancelled() => {
                    let _ = timeout(GOODBYE, connection.client.end()).await;
                    return Ok(());
                }
                event = connection.client.next() => event?,
                () = tokio::time::sleep_until(until), if !connection.record.is_read => {
                    return Err(Failure::transient(format!("{}: no way in in time", connection.address)));
                }
            };
            connection.take(event).await?;
        }
    }

    fn set_state(&self, state: State) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }
}

/// One connection.
struct Connection<'a> {
    session: &'a Session,
    address: String,
    client: Client,
    record: Stored,
    /// The filters of the subscription that is not answered yet.
    asked: Vec<String>,
    /// The messages that were ignored since the last line about it.
    ignored: u64,
}

impl Connection<'_> {
    async fn take(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Connected { has_session } => self.subscribe(has_session).await,
            Event::Subscribed(answers) => {
                self.subscribed(answers).await;
                Ok(())
            }
            Event::Arrived(arrived) => self.arrived(&arrived).await,
            Event::Other => Ok(()),
        }
    }

    /// Asks for the topics that the broker's session does not have: all of them in a new one.
    async fn subscribe(&mut self, has_session: bool) -> Result<(), Failure> {
        let no_record =
            |error: anyhow::Error| Failure::transient(format!("the record of the session: {error:#}"));
        self.record.read().await.map_err(no_record)?;
        if !has_session {
            self.record.record = Record::default();
            self.record.write().await.map_err(no_record)?;
        }
        let (missing, surplus) = self.record.record.differences(&self.session.config.topics);
        tracing::info!(
            mqtt = self.session.name,
            broker = self.address,
            session = has_session,
            subscribes = missing.len(),
            "connected"
        );
        if !surplus.is_empty() {
            self.client.unsubscribe(&surplus)?;
        }
        if missing.is_empty() {
            self.record.record.topics.clone_from(&self.session.config.topics);
            self.session.set_state(State::Held(None));
            return Ok(());
        }
        self.client.subscribe(&missing, self.session.config.retained == Retained::Tell)?;
        self.asked = missing;
        Ok(())
    }

    /// The record has only what the broker has accepted: the next connection asks again for the rest.
    async fn subscribed(&mut self, answers: Vec<Result<(), String>>) {
        let mut refused = Vec::new();
        let asked = std::mem::take(&mut self.asked);
        let mut topics = self.session.config.topics.clone();
        for (filter, answer) in asked.iter().zip(answers) {
            if let Err(why) = answer {
                tracing::error!(
                    mqtt = self.session.name,
                    topic = filter,
                    reason = why,
                    "the topic is not heard"
                );
                refused.push(format!("{filter}: {why}"));
                topics.retain(|topic| topic != filter);
            }
        }
        self.record.record.topics = topics;
        if let Err(error) = self.record.write().await {
            tracing::debug!(mqtt = self.session.name, error = format!("{error:#}"), "no record");
        }
        self.session.set_state(State::Held((!refused.is_empty()).then(|| refused.join("; "))));
    }

    /// Tells a message, and acknowledges it once the log or the spool has it.
    async fn arrived(&mut self, arrived: &Arrived) -> Result<(), Failure> {
        match self.session.config.read(arrived) {
            Ok(message) => self.tell(arrived, message).await?,
            Err(ignored) => self.ignore(ignored, &arrived.topic),
        }
        arrived.packet.map_or(Ok(()), |packet| self.client.acknowledge(packet))
    }

    async fn tell(&mut self, arrived: &Arrived, mut message: tellhal::Message) -> Result<(), Failure> {
        let outbox = &self.session.means.outbox;
        if let Some(packet) = arrived.packet {
            message.id = self.record.record.take(packet, arrived, &message.id);
            self.record.note(outbox.is_connected()).await;
        }
        if !outbox.publish(SOURCE, &message).await.is_kept() {
            return Err(Failure::transient("neither the log nor the spool takes messages"));
        }
        if let Some(packet) = arrived.packet {
            self.record.record.settle(packet);
            self.record.note(outbox.is_connected()).await;
        }
        Ok(())
    }

    fn ignore(&mut self, ignored: Ignored, topic: &str) {
        let label = IgnoredMessage { reason: ignored.as_str() };
        self.session.means.metrics.mqtt_ignored.get_or_create(&label).inc();
        if self.ignored == 0 {
            let reason = ignored.as_str();
            tracing::info!(
                mqtt = self.session.name,
                topic,
                reason,
                "a message is not told; further ones are counted"
            );
        }
        self.ignored += 1;
    }
}

/// The record of the session, and its place in the bucket.
struct Stored {
    memory: Memory,
    name: String,
    record: Record,
    /// The revision of what is stored; unknown after an error.
    revision: Option<u64>,
    is_read: bool,
}

impl Stored {
    fn new(session: &Session) -> Stored {
        let memory = Memory::new(&session.means.bus, SOURCE);
        Stored {
            memory,
            name: session.name.clone(),
            record: Record::default(),
            revision: None,
            is_read: false,
        }
    }

    /// Reads the record that the bridge before has left.
    async fn read(&mut self) -> anyhow::Result<()> {
        let entry = self.memory.get::<Record>(&self.name);
        let entry = timeout(RECORD * 4, entry).await.context("no answer")??;
        self.revision = Some(entry.as_ref().map_or(0, |entry| entry.revision));
        self.record = entry.map(|entry| entry.value).unwrap_or_default();
        self.is_read = true;
        Ok(())
    }

    /// Stores the record. The broker has one connection of a client, so nobody else changes it meanwhile.
    async fn write(&mut self) -> anyhow::Result<()> {
        let revision = match self.revision.take() {
            Some(revision) => revision,
            None => self.memory.get::<Record>(&self.name).await?.map_or(0, |entry| entry.revision),
        };
        let changed = self.memory.change(&self.name, &self.record, revision);
        self.revision = timeout(RECORD, changed).await.context("no answer")??;
        Ok(())
    }

    /// Stores it if the bus is there, without waiting long.
    async fn note(&mut self, is_connected: bool) {
        if !is_connected {
            self.revision = None;
            return;
        }
        match timeout(RECORD, self.write()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(mqtt = self.name, error = format!("{error:#}"), "no record"),
            Err(_) => tracing::debug!(mqtt = self.name, "no record: no answer"),
        }
    }
}
