//! Snapshots and configurations in `HAL_FILES`: they are too large or too long-lived for a subject.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::object_store::{GetErrorKind, InfoErrorKind, ObjectStore};
use tellhal::attached::{File, LONGEST};
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;

use crate::engine::Rules;
use crate::engine::routing::Routing;
use crate::engine::snapshot::{self, Snapshot};

const SNAPSHOT: &str = "snapshot";
const CHUNK: usize = 128 * 1024;
/// The time without a further part of a file after which reading it fails. The client itself waits for half a minute and
/// longer if it reads through a server that is stopped, and so does a leader that reads its snapshot.
const STALL: Duration = Duration::from_secs(5);

/// The latest snapshot; `None` if there is none, or if it is of another version of the engine.
pub async fn load_snapshot(files: &ObjectStore) -> anyhow::Result<Option<Snapshot>> {
    let Some(bytes) = get(files, SNAPSHOT).await? else { return Ok(None) };
    match serde_json::from_slice::<Snapshot>(&bytes) {
        Ok(snapshot) if snapshot.version == snapshot::VERSION => Ok(Some(snapshot)),
        Ok(other) => {
            tracing::warn!(
                version = other.version,
                "the snapshot is of another version; folding the whole log"
            );
            Ok(None)
        }
        Err(error) => {
            tracing::warn!(%error, "the snapshot cannot be read; folding the whole log");
            Ok(None)
        }
    }
}

pub async fn save_snapshot(files: &ObjectStore, snapshot: &Snapshot) -> anyhow::Result<()> {
    put(files, SNAPSHOT, &serde_json::to_vec(snapshot)?).await
}

/// The rules that a `config` entry or a snapshot names.
pub async fn load_rules(files: &ObjectStore, hash: &str) -> anyhow::Result<Option<Arc<Rules>>> {
    let Some(bytes) = get(files, &rules_name(hash)).await? else { return Ok(None) };
    let routing: Routing = serde_json::from_slice(&bytes).with_context(|| format!("configuration {hash}"))?;
    Ok(Some(Arc::new(Rules::new(routing))))
}

pub async fn save_rules(files: &ObjectStore, rules: &Rules) -> anyhow::Result<()> {
    put(files, &rules_name(&rules.hash), rules.routing.text().as_bytes()).await
}

/// A file of a command's answer, as the bridge has kept it; `None` if there is none.
pub async fn load_answer(files: &ObjectStore, object: &str) -> anyhow::Result<Option<File>> {
    let about = match files.info(object).await {
        Ok(about) => about,
        Err(error) if error.kind() == InfoErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("file {object}")),
    };
    if about.size > LONGEST {
        return Ok(None);
    }
    let name = about.description.unwrap_or_default();
    let data = get(files, object).await?;
    Ok(data.map(|data| File { name, data, object: object.to_owned() }))
}

fn rules_name(hash: &str) -> String {
    format!("config-{hash}")
}

async fn get(files: &ObjectStore, name: &str) -> anyhow::Result<Option<Vec<u8>>> {
    let mut object = match files.get(name).await {
        Ok(object) => object,
        Err(error) if error.kind() == GetErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("file {name}")),
    };
    let mut bytes = Vec::new();
    loop {
        bytes.reserve(CHUNK);
        let read = timeout(STALL, object.read_buf(&mut bytes)).await;
        let read = read.with_context(|| format!("file {name}: no answer for {STALL:?}"))?;
        if read.with_context(|| format!("file {name}"))? == 0 {
            return Ok(Some(bytes));
        }
    }
}

async fn put(files: &ObjectStore, name: &str, mut bytes: &[u8]) -> anyhow::Result<()> {
    files.put(name, &mut bytes).await.with_context(|| format!("file {name}"))?;
    Ok(())
}
