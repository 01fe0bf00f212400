//! Events that several bridges see, or one bridge more than once, and that are one message: a firing of a schedule, a webhook
//! that is delivered again. The first bridge that claims an event gives it its message's id, which every bridge publishes, so that
//! the log has it once: the ids are random, since the log drops a message whose id it has seen. A claim ends after eight days; the log itself knows an id for an hour.

use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::kv::CreateErrorKind;
use serde::{Deserialize, Serialize};
use tellhal::Message;
use tokio::time::timeout;

use crate::bus::Bus;
use crate::hash::hash;
use crate::outbox::{Outbox, Outcome};

/// The longest wait for the claim of an event whose sender waits: some give up after a second.
const BRIEF: Duration = Duration::from_millis(500);
/// The longest wait for a claim.
const PATIENCE: Duration = Duration::from_secs(2);

/// An event's claim as it is stored.
#[derive(Debug, Serialize, Deserialize)]
struct Claim {
    /// The id of its message.
    id: String,
    done: bool,
}

/// The claims of one kind of events. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Once {
    bus: Bus,
    kind: &'static str,
}

/// An event that was claimed, by this bridge or another one.
#[derive(Debug)]
pub(crate) struct Claimed {
    key: String,
    revision: u64,
    claim: Claim,
}

impl Claimed {
    /// The log has its message.
    pub(crate) fn is_done(&self) -> bool {
        self.claim.done
    }
}

impl Once {
    /// The events of a `kind`, which is one token that no chat has as its name.
    pub(crate) fn new(bus: &Bus, kind: &'static str) -> Once {
        Once { bus: bus.clone(), kind }
    }

    /// Claims an event for `message`, or reads the claim that is there. An error means that the bus does not answer.
    pub(crate) async fn claim(&self, event: &str, message: &Message) -> anyhow::Result<Claimed> {
        let claimed = timeout(PATIENCE, self.claim_patiently(event, &message.id)).await;
        let claimed = claimed.map_err(anyhow::Error::from).and_then(|claimed| claimed);
        if claimed.is_err() {
            self.bus.forget();
        }
        claimed
    }

    async fn claim_patiently(&self, event: &str, id: &str) -> anyhow::Result<Claimed> {
        let claims = self.bus.streams().await?.claims;
        let key = format!("_{}.{}", self.kind, hash(event));
        let claim = Claim { id: id.to_owned(), done: false };
        match claims.create(&key, serde_json::to_vec(&claim)?.into()).await {
            Ok(revision) => return Ok(Claimed { key, revision, claim }),
            Err(error) if error.kind() == CreateErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).context("no claim is stored"),
        }
        let entry = claims.entry(&key).await?.context("the claim is gone again")?;
        Ok(Claimed { key, revision: entry.revision, claim: serde_json::from_slice(&entry.value)? })
    }

    /// Publishes the message of a claimed event under the claim's id, unless the log has it already, and marks the claim.
    pub(crate) async fn publish(
        &self,
        outbox: &Outbox,
        source: &'static str,
        claimed: &mut Claimed,
        message: &mut Message,
    ) -> Outcome {
        message.id.clone_from(&claimed.claim.id);
        if claimed.is_done() {
            return Outcome::Acknowledged;
        }
        let outcome = outbox.publish(source, message).await;
        if outcome.is_kept() {
            self.done(claimed).await;
        }
        outcome
    }

    /// Keeps the message of an event whose sender waits for an answer, the same one however often it is sent. Without a claim in time it
    /// is published without one: if it is sent again, it is told again, unless its message has the same id.
    pub(crate) async fn keep(
        &self,
        outbox: &Outbox,
        source: &'static str,
        event: Option<&str>,
        message: &mut Message,
    ) -> Outcome {
        if let Some(event) = event.filter(|_| outbox.is_connected()) {
            match timeout(BRIEF, self.claim(event, message)).await {
                Ok(Ok(mut claimed)) => return self.publish(outbox, source, &mut claimed, message).await,
                Ok(Err(error)) => {
                    tracing::warn!(event, %error, "no claim; if it is sent again, it is told again");
                }
                Err(_) => tracing::warn!(event, "no claim in time; if it is sent again, it is told again"),
            }
        }
        outbox.publish(source, message).await
    }

    /// Marks the claim as done. If that fails, the same id is published again at most, and the log drops it.
    async fn done(&self, claimed: &mut Claimed) {
        claimed.claim.done = true;
        let marked = async {
            let claims = self.bus.streams().await?.claims;
            let value = serde_json::to_vec(&claimed.claim)?;
            claimed.revision = claims.update(&claimed.key, value.into(), claimed.revision).await?;
            anyhow::Ok(())
        };
        match timeout(PATIENCE, marked).await {
            Ok(Ok(())) => {}
            // Another bridge has marked it, most likely.
            Ok(Err(error)) => tracing::debug!(key = claimed.key, %error, "a claim is not marked as done"),
            Err(_) => tracing::warn!(key = claimed.key, "a claim is not marked as done: no answer"),
        }
    }
}
