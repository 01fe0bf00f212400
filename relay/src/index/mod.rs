//! The index of the log, on the relay's own disk, for the page. It does not hold messages, but their sequences by tag,
//! severity, source, time and text, and the sequences of their traces. It is made from the streams alone, so it may be
//! lost; only the page uses it, and other parts of the relay never wait for it.
//!
//! ```text
//!  HAL_OPS, HAL_SENT, HAL_DEAD ──follow──▶ store (SQLite) ◀──search── page
//! ```

pub mod filter;
pub mod follow;
pub mod problems;
pub mod search;
mod store;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use rusqlite::{Connection, ErrorCode};
use tellhal::subject::Names;
use tellhal::timestamp::Timestamp;
use tokio::sync::Semaphore;

use crate::bus::message::StreamMessage;
use filter::Filter;
use problems::{Asked, Problems, Story};
use search::{Counts, Hits, Traces};
use store::{Kind, Store};

pub use store::Origin;

/// Number of queries that run at once; further ones wait.
const AT_ONCE: usize = 2;

/// The index of one log.
pub struct Index {
    path: PathBuf,
    store: Mutex<Store>,
    readers: Mutex<Vec<Connection>>,
    at_once: Arc<Semaphore>,
    /// By [`Origin`].
    reached: Mutex<[Reached; 3]>,
    /// Number of times the file was recreated: a connection of an earlier generation is to a deleted file.
    generation: AtomicU64,
    /// The last error of writing, until a write succeeds.
    broken: Mutex<Option<String>>,
    /// Locked for as long as this relay uses the file.
    _lock: File,
}

/// The progress of the index in a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// All messages up to this sequence are in the index.
    pub sequence: u64,
    /// The number of messages of the stream that are not in the index yet.
    pub behind: u64,
    /// True once the stream has been opened.
    pub known: bool,
}

impl Index {
    /// Opens the index in `folder`, which is created if it is missing.
    pub fn open(folder: &Path, names: &Names) -> anyhow::Result<Arc<Index>> {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let path = folder.join(format!("index-{}.db", names.prefix()));
        let lock = path.with_extension("lock");
        let lock = File::create(&lock).with_context(|| lock.display().to_string())?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => anyhow::bail!("{} is in use by another relay", path.display()),
            Err(TryLockError::Error(error)) => return Err(error).with_context(|| path.display().to_string()),
        }
        let store = Store::open(&path).with_context(|| path.display().to_string())?;
        Ok(Arc::new(Index {
            path,
            store: Mutex::new(store),
            readers: Mutex::default(),
            at_once: Arc::new(Semaphore::new(AT_ONCE)),
            reached: Mutex::default(),
            generation: AtomicU64::new(0),
            broken: Mutex::default(),
            _lock: lock,
        }))
    }

    /// The progress of the index in a stream.
    pub fn progress(&self, origin: Origin) -> Reached {
        self.reached.lock().unwrap_or_else(PoisonError::into_inner)[origin as usize]
    }

    /// The last error of writing, until a write succeeds.
    pub fn problem(&self) -> Option<String> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The matching messages before sequence `before`, newest first, at most `limit`.
    pub async fn search(self: &Arc<Self>, filter: Filter, before: u64, limit: usize) -> anyhow::Result<Hits> {
        self.read(move |db| search::search(db, &filter, before, limit)).await
    }

    /// The number of matching messages before sequence `before` in each of `spans` equal spans of `range`.
    pub async fn count(
        self: &Arc<Self>,
        filter: Filter,
        before: u64,
        range: (Timestamp, Timestamp),
        spans: usize,
    ) -> anyhow::Result<Counts> {
        self.read(move |db| search::count(db, &filter, before, range, spans)).await
    }

    /// The time of the oldest message in the index.
    pub async fn first_at(self: &Arc<Self>) -> anyhow::Result<Option<Timestamp>> {
        self.read(search::first_at).await
    }

    /// The sources after the name `after`, ordered by name, at most `limit`.
    pub async fn sources(self: &Arc<Self>, after: String, limit: usize) -> anyhow::Result<search::Names> {
        self.read(move |db| search::names(db, Kind::Source, &after, limit, Timestamp::now())).await
    }

    /// The tags, in the same way.
    pub async fn tags(self: &Arc<Self>, after: String, limit: usize) -> anyhow::Result<search::Names> {
        self.read(move |db| search::names(db, Kind::Tag, &after, limit, Timestamp::now())).await
    }

    /// The worst open problems, at most `limit`.
    pub async fn open_problems(self: &Arc<Self>, limit: usize) -> anyhow::Result<Problems> {
        self.read(move |db| problems::open(db, limit, Timestamp::now())).await
    }

    /// The rest of the story of each message, and true if some are not known.
    pub async fn stories(self: &Arc<Self>, asked: Vec<Asked>) -> anyhow::Result<(Vec<Story>, bool)> {
        self.read(move |db| problems::stories(db, &asked)).await
    }

    /// The log's sequences of the messages with this id, oldest first.
    pub async fn find(self: &Arc<Self>, id: String) -> anyhow::Result<Vec<u64>> {
        self.read(move |db| search::find(db, &id)).await
    }

    /// The sequences of the traces of the messages with these ids.
    pub async fn traces(self: &Arc<Self>, ids: Vec<String>) -> anyhow::Result<Traces> {
        self.read(move |db| search::traces(db, &ids.iter().map(String::as_str).collect::<Vec<_>>())).await
    }

    /// The hash of the configuration that was in force at an entry of the log.
    pub async fn configuration(self: &Arc<Self>, sequence: u64) -> anyhow::Result<Option<String>> {
        self.read(move |db| search::configuration(db, sequence)).await
    }

    fn reached(&self, origin: Origin, sequence: u64, behind: u64) {
        self.reached.lock().unwrap_or_else(PoisonError::into_inner)[origin as usize] =
            Reached { sequence, behind, known: true };
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    async fn write<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&mut Store) -> rusqlite::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let index = self.clone();
        let done = tokio::task::spawn_blocking(move || {
            let done = work(&mut index.store.lock().unwrap_or_else(PoisonError::into_inner));
            done.inspect_err(|error| index.heal(error))
        });
        Ok(done.await??)
    }

    /// Recreates a corrupt file. The streams are then read from their beginning: their readers check the generation, and a
    /// batch is refused if its stream has no start in the new file.
    fn heal(&self, error: &rusqlite::Error) {
        let code = error.sqlite_error_code();
        if !matches!(code, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)) {
            return;
        }
        tracing::warn!(%error, path = %self.path.display(), "the index is corrupt and is created again");
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        self.generation.fetch_add(1, Ordering::AcqRel);
        *self.reached.lock().unwrap_or_else(PoisonError::into_inner) = [Reached::default(); 3];
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).clear();
        if let Err(error) = store.renew(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "the index cannot be created again");
        }
    }

    /// Adds a batch of messages of a stream.
    async fn add(
        self: &Arc<Self>,
        origin: Origin,
        names: Names,
        batch: Vec<StreamMessage>,
    ) -> anyhow::Result<()> {
        let (sequence, behind) = batch.last().map_or((0, 0), |last| (last.sequence, last.pending));
        self.write(move |store| store.add(origin, &names, &batch)).await?;
        *self.broken.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.reached(origin, sequence, behind);
        Ok(())
    }

    /// Logs an error of the file once; other errors come from the streams.
    fn failed(&self, error: &anyhow::Error) {
        let Some(error) = error.downcast_ref::<rusqlite::Error>() else { return };
        let problem = format!("{}: {error}", self.path.display());
        let before = self.broken.lock().unwrap_or_else(PoisonError::into_inner).replace(problem.clone());
        if before.as_ref() != Some(&problem) {
            tracing::warn!(problem, "the index cannot be written; trying again");
        }
    }

    async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let turn = self.at_once.clone().acquire_owned().await?;
        let index = self.clone();
        let answer = tokio::task::spawn_blocking(move || {
            // Held by the query itself: it may outlive its caller.
            let _turn = turn;
            let generation = index.generation();
            let free = index.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let answer = free.map_or_else(|| store::reader(&index.path), Ok).and_then(|db| {
                let answer = query(&db)?;
                // A connection that failed is not used again, nor is one to a deleted file.
                let mut readers = index.readers.lock().unwrap_or_else(PoisonError::into_inner);
                if index.generation() == generation {
                    readers.push(db);
                }
                Ok(answer)
            });
            answer.inspect_err(|error| index.heal(error))
        });
        answer.await?.context("the index cannot be read")
    }
}

#[cfg(test)]
mod tests;
