//! Claims: which bridge took which event of a platform, so that a command runs at most once whatever is killed.
//!
//! A claim is made before anything else, is marked before a handler is asked, is renewed while it runs, and is done after the answer. One
//! that its bridge left undone tells another bridge which commands have not run, and which may have. Kept in the bucket `HAL_CLAIMS`, whose entries end
//! after eight days.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream;
use async_nats::jetstream::consumer::{Consumer, DeliverPolicy, pull};
use async_nats::jetstream::kv::{CreateErrorKind, Store, UpdateErrorKind};
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use tellhal::Timestamp;
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::line::Line;
use crate::bus::Bus;
use crate::hash::hash;

/// The longest time for reading the claims of a chat.
const READ: Duration = Duration::from_secs(10);
/// The interval at which a claim is renewed, and the time without that after which its bridge is dead.
const BEAT: Duration = Duration::from_secs(4);
const DEAD: Duration = Duration::from_secs(15);

/// A claim as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Claim {
    /// The bridge that made it: a word that no other process has.
    pub(crate) owner: String,
    /// Id of the request.
    pub(crate) id: String,
    /// The first word of the line.
    pub(crate) command: String,
    pub(crate) room: String,
    /// The place for the answer, as the chat knows it.
    pub(crate) to: String,
    pub(crate) at: Timestamp,
    /// The request that a handler was asked: it may have run. Absent if none was, so that nothing has.
    #[serde(default)]
    pub(crate) asked: Option<Asked>,
    pub(crate) done: bool,
}

/// A request that is about to be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Asked {
    /// Its id: that of another claim, if it was approved.
    pub(crate) id: String,
    pub(crate) command: String,
    /// The place of its entry in the audit; those about its end are behind it.
    pub(crate) entry: u64,
}

/// A claim that this bridge has made.
#[derive(Debug)]
pub(crate) struct Held {
    key: String,
    revision: u64,
    claim: Claim,
}

#[derive(Clone)]
pub(crate) struct Claims {
    bus: Bus,
    pub(crate) owner: String,
}

impl Claims {
    pub(crate) fn new(bus: Bus, owner: String) -> Claims {
        Claims { bus, owner }
    }

    /// Claims the event of `line`, or the request `id` itself if its platform names no event. `None` if a bridge has it already.
    pub(crate) async fn claim(&self, line: &Line, id: &str) -> anyhow::Result<Option<Held>> {
        let store = self.bus.streams().await?.claims;
        let key = format!("{}.{}", line.chat, hash(line.event.as_deref().unwrap_or(id)));
        let command = line.text.split_whitespace().next().unwrap_or_default().chars().take(64).collect();
        let claim = Claim {
            owner: self.owner.clone(),
            id: id.to_owned(),
            command,
            room: line.place(),
            to: line.to.clone(),
            at: Timestamp::now(),
            asked: None,
            done: false,
        };
        match store.create(&key, serde_json::to_vec(&claim)?.into()).await {
            Ok(revision) => Ok(Some(Held { key, revision, claim })),
            Err(error) if error.kind() == CreateErrorKind::AlreadyExists => Ok(None),
            Err(error) => {
                self.bus.forget();
                Err(error).context("no claim is stored")
            }
        }
    }

    /// Notes that a handler is asked next. False if the next bridge has the claim already: then it must not be.
    pub(crate) async fn asks(&self, held: &mut Held, asked: Asked) -> anyhow::Result<bool> {
        let store = self.bus.streams().await?.claims;
        let claim = Claim { asked: Some(asked), ..held.claim.clone() };
        match store.update(&held.key, serde_json::to_vec(&claim)?.into(), held.revision).await {
            Ok(revision) => {
                (held.revision, held.claim) = (revision, claim);
                Ok(true)
            }
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => Ok(false),
            Err(error) => {
                self.bus.forget();
                Err(error).context("that a handler is asked is not stored")
            }
        }
    }

    /// Does the work of a claim, which is renewed meanwhile: it lives as long as its bridge does.
    pub(crate) async fn during(&self, held: &Mutex<Held>, work: impl Future<Output = ()>) {
        let mut beats = interval(BEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first one is due at once.
        beats.tick().await;
        tokio::pin!(work);
        loop {
            tokio::select! {
                () = &mut work => return,
                // A claim that the work itself changes at this moment is as good as renewed.
                _ = beats.tick() => if let Ok(mut held) = held.try_lock() {
                    self.renew(&mut held).await;
                }
            }
        }
    }

    async fn renew(&self, held: &mut Held) {
        held.claim.at = Timestamp::now();
        let renewed = async {
            let store = self.bus.streams().await?.claims;
            anyhow::Ok(store.update(&held.key, serde_json::to_vec(&held.claim)?.into(), held.revision).await?)
        };
        match renewed.await {
            Ok(revision) => held.revision = revision,
            Err(error) => tracing::warn!(id = held.claim.id, %error, "a claim is not renewed"),
        }
    }

    /// The command of the claim is answered.
    pub(crate) async fn done(&self, held: Held) {
        let claim = Claim { done: true, ..held.claim };
        let stored = async {
            let store = self.bus.streams().await?.claims;
            store.update(&held.key, serde_json::to_vec(&claim)?.into(), held.revision).await?;
            anyhow::Ok(())
        };
        if let Err(error) = stored.await {
            tracing::warn!(id = claim.id, %error, "that a command was answered is not stored; the next bridge will call its outcome unknown");
        }
    }

    /// The claims of a chat that another bridge left undone, marked as done: nobody else tells them again.
    pub(crate) async fn left(&self, chat: &str) -> anyhow::Result<Vec<Claim>> {
        let store = self.bus.streams().await?.claims;
        let mut left = Vec::new();
        for entry in tokio::time::timeout(READ, read(&store, chat)).await?? {
            if self.is_anothers(&entry.claim) {
                left.extend(entry.close(&store).await);
            }
        }
        Ok(left)
    }

    /// Looks at the claims of a chat that several bridges have at once. Those that a dead bridge left undone, by our own clock, are
    /// marked as done and sent to `left`, by one of the bridges that look. Ends with an error alone.
    pub(crate) async fn watch(&self, chat: &str, left: &mpsc::Sender<Claim>) -> anyhow::Result<()> {
        let store = self.bus.streams().await?.claims;
        let mut messages = consumer(&store, chat).await?.messages().await?;
        let mut undone: HashMap<String, (Entry, Instant)> = HashMap::new();
        let mut look = interval(BEAT);
        loop {
            tokio::select! {
                message = messages.next() => {
                    let Some(entry) = Entry::read(&store, &message.context("the claims end")??)? else { continue };
                    match self.is_anothers(&entry.claim) {
                        true => undone.insert(entry.key.clone(), (entry, Instant::now())),
                        false => undone.remove(&entry.key),
                    };
                }
                _ = look.tick() => {
                    let dead = undone.extract_if(|_, (_, renewed)| renewed.elapsed() >= DEAD);
                    for (_, (entry, _)) in dead.collect::<Vec<_>>() {
                        if let Some(claim) = entry.close(&store).await {
                            left.send(claim).await?;
                        }
                    }
                }
            }
        }
    }

    /// True for a claim of another bridge, whose command is not answered.
    fn is_anothers(&self, claim: &Claim) -> bool {
        !claim.done && claim.owner != self.owner
    }
}

/// A claim with its place in the bucket.
struct Entry {
    key: String,
    revision: u64,
    claim: Claim,
}

impl Entry {
    /// `None` for what is no claim.
    fn read(store: &Store, message: &jetstream::Message) -> anyhow::Result<Option<Entry>> {
        let revision = message.info().map_err(anyhow::Error::from_boxed)?.stream_sequence;
        let key = message.subject.strip_prefix(store.prefix.as_str()).map(str::to_owned);
        let claim = serde_json::from_slice(&message.payload).ok();
        Ok(key.zip(claim).map(|(key, claim)| Entry { key, revision, claim }))
    }

    /// Marks the claim as done, and returns it if nobody else was faster.
    async fn close(self, store: &Store) -> Option<Claim> {
        let done = Claim { done: true, ..self.claim.clone() };
        let closed = store.update(&self.key, serde_json::to_vec(&done).ok()?.into(), self.revision).await;
        closed.is_ok().then_some(self.claim)
    }
}

/// Reads the last state of each claim of a chat, and goes on with what changes.
async fn consumer(store: &Store, chat: &str) -> anyhow::Result<Consumer<pull::OrderedConfig>> {
    let config = pull::OrderedConfig {
        filter_subject: format!("{}{chat}.*", store.prefix),
        deliver_policy: DeliverPolicy::LastPerSubject,
        ..pull::OrderedConfig::default()
    };
    Ok(store.stream.create_consumer(config).await?)
}

/// The claims of a chat.
async fn read(store: &Store, chat: &str) -> anyhow::Result<Vec<Entry>> {
    let mut consumer = consumer(store, chat).await?;
    let pending = usize::try_from(consumer.info().await?.num_pending)?;
    let mut messages = consumer.messages().await?.take(pending);
    let mut claims = Vec::new();
    while let Some(message) = messages.next().await {
        claims.extend(Entry::read(store, &message?)?);
    }
    Ok(claims)
}
