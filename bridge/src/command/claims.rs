//! Claims: which bridge took which event of a platform, so that a command runs at most once whatever is killed.
//!
//! A claim is made before anything else, is marked before a handler is asked, and is done after the answer. One that its bridge left
//! undone tells the next bridge which commands have not run, and which may have. Kept in the bucket `HAL_CLAIMS`, whose entries end
//! after eight days.

use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use async_nats::jetstream::kv::{CreateErrorKind, Store, UpdateErrorKind};
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use tellhal::Timestamp;

use super::hash::hash;
use super::line::Line;
use crate::bus::Bus;

/// The longest time for reading the claims of a chat.
const READ: Duration = Duration::from_secs(10);

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
        for (key, revision, claim) in tokio::time::timeout(READ, read(&store, chat)).await?? {
            if claim.done || claim.owner == self.owner {
                continue;
            }
            let done = Claim { done: true, ..claim.clone() };
            if store.update(&key, serde_json::to_vec(&done)?.into(), revision).await.is_ok() {
                left.push(claim);
            }
        }
        Ok(left)
    }
}

/// The claims of a chat, each with its key and revision.
async fn read(store: &Store, chat: &str) -> anyhow::Result<Vec<(String, u64, Claim)>> {
    let config = pull::OrderedConfig {
        filter_subject: format!("{}{chat}.*", store.prefix),
        deliver_policy: DeliverPolicy::LastPerSubject,
        ..pull::OrderedConfig::default()
    };
    let mut consumer = store.stream.create_consumer(config).await?;
    let pending = usize::try_from(consumer.info().await?.num_pending)?;
    let mut messages = consumer.messages().await?.take(pending);
    let mut claims = Vec::new();
    while let Some(message) = messages.next().await {
        let message = message?;
        let revision = message.info().map_err(anyhow::Error::from_boxed)?.stream_sequence;
        let Some(key) = message.subject.strip_prefix(store.prefix.as_str()) else { continue };
        if let Ok(claim) = serde_json::from_slice(&message.payload) {
            claims.push((key.to_owned(), revision, claim));
        }
    }
    Ok(claims)
}
