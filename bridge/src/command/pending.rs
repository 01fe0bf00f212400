//! The commands that wait for a confirmation or an approval, in the bucket `HAL_CLAIMS`: they outlive a bridge, any bridge can
//! have one approved, and each is consumed once.

use anyhow::Context as _;
use tellhal::tag::is_token;

use super::approval::Pending;
use crate::bus::Bus;

/// Keeps a command until it is approved, denied or expired.
pub(crate) async fn keep(bus: &Bus, pending: &Pending) -> anyhow::Result<()> {
    let store = bus.streams().await?.claims;
    let kept = store.create(key(&pending.id), serde_json::to_vec(pending)?.into()).await;
    kept.map(drop).context("it cannot be kept until then")
}

/// The command that waits under `id`, and its revision.
pub(crate) async fn find(bus: &Bus, id: &str) -> anyhow::Result<Option<(Pending, u64)>> {
    if !is_token(id) {
        return Ok(None);
    }
    let entry = bus.streams().await?.claims.entry(key(id)).await?;
    let entry = entry.filter(|entry| !entry.value.is_empty());
    Ok(entry.and_then(|entry| Some((serde_json::from_slice(&entry.value).ok()?, entry.revision))))
}

/// Removes it; false if somebody else did.
pub(crate) async fn consume(bus: &Bus, id: &str, revision: u64) -> anyhow::Result<bool> {
    let store = bus.streams().await?.claims;
    Ok(store.delete_expect_revision(key(id), Some(revision)).await.is_ok())
}

fn key(id: &str) -> String {
    format!("approval.{id}")
}
