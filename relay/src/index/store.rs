//! The index's file: its tables, and how it is opened and written. Blocking; `Index` calls it from threads that may
//! block. The file can be made again from the streams, so a corrupt file, or one of another version, is recreated.

use std::collections::HashMap;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Transaction, params};
use sha2::{Digest as _, Sha256};
use tellhal::message::{Message, Received, Severity, Status};
use tellhal::subject::{Names, Subject};
use tellhal::timestamp::Timestamp;

use super::filter::haystack;
use crate::bus::message::StreamMessage;
use crate::delivery::{DeadLetter, Receipt, message_id};
use crate::engine::entry::{ConfigEntry, Retry};

/// Changes with the tables and with the way messages are read: a file of another version is recreated.
const VERSION: i64 = 3;
/// Number of names kept in memory between two batches, and in the file of names without messages.
const NAMES: usize = 50_000;
/// Time for which a source without messages is kept, in ms.
const SILENT: i64 = 90 * 86_400_000;

const TABLES: &str = "
    -- The last sequence read of each stream, and the creation time of that stream.
    create table reached (stream integer primary key, created integer, sequence integer);
    create table message (
        sequence integer primary key, at integer not null, severity integer not null,
        source integer not null, tag integer not null, id blob,
        -- The last two are digests: their texts need not be found, and may be long.
        status integer, key integer, host integer
    );
    -- A table of its own, so that queries without words need not read the texts.
    create table haystack (sequence integer primary key, text text not null);
    create index message_id on message (id) where id is not null;
    -- The messages about each thing in their order, without the messages' own rows.
    create index message_thing on message (source, key, sequence, status, severity, at)
        where key is not null and status is not null;
    create table name (
        id integer primary key, kind integer not null, name text not null,
        first_at integer not null, last_at integer not null, last_sequence integer not null, host text
    );
    create unique index name_name on name (kind, name);
    create table configuration (sequence integer primary key, hash text not null);
    create table trace (
        id blob not null, kind integer not null, sequence integer not null, primary key (id, kind, sequence)
    ) without rowid;
";

/// The streams an index reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Log,
    Receipts,
    DeadLetters,
}

/// The kind of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Source,
    Tag,
}

/// The kind of a trace, which also tells the stream of its sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trace {
    Receipt,
    Dead,
    Retry,
}

/// The only writer of the file.
pub(super) struct Store {
    db: Connection,
    /// Ids of recently used names.
    names: HashMap<(Kind, String), i64>,
    /// The latest time of the log: like the engine's, it never decreases, even if the server's clock goes back.
    last_at: i64,
}

/// The latest message of a name in one batch.
struct Latest {
    at: i64,
    sequence: i64,
    host: Option<String>,
}

impl Store {
    /// Opens the file, or recreates it if it is corrupt or of another version.
    pub(super) fn open(path: &Path) -> rusqlite::Result<Store> {
        match Store::existing(path) {
            Ok(Some(store)) => return Ok(store),
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, path = %path.display(), "the index is created again"),
        }
        Store::anew(path)
    }

    /// Recreates the file, which has turned out to be corrupt.
    pub(super) fn renew(&mut self, path: &Path) -> rusqlite::Result<()> {
        // Closed first, since SQLite then removes its write-ahead log by name.
        self.db = Connection::open_in_memory()?;
        *self = Store::anew(path)?;
        Ok(())
    }

    fn anew(path: &Path) -> rusqlite::Result<Store> {
        for end in ["", "-wal", "-shm"] {
            let mut name = path.as_os_str().to_owned();
            name.push(end);
            // A failure to remove it shows when the file is opened.
            let _ = std::fs::remove_file(name);
        }
        let db = Connection::open(path)?;
        tune(&db)?;
        db.execute_batch(&format!("begin; {TABLES} pragma user_version = {VERSION}; commit;"))?;
        Ok(Store { db, names: HashMap::new(), last_at: 0 })
    }

    fn existing(path: &Path) -> rusqlite::Result<Option<Store>> {
        if !path.exists() {
            return Ok(None);
        }
        let db = Connection::open(path)?;
        let version: i64 = db.query_row("pragma user_version", [], |row| row.get(0))?;
        if version != VERSION {
            return Ok(None);
        }
        tune(&db)?;
        let last_at = db.query_row("select ifnull(max(last_at), 0) from name", [], |row| row.get(0))?;
        Ok(Some(Store { db, names: HashMap::new(), last_at }))
    }

    /// The last sequence of the stream that is in the file. Removes entries of an older stream of the same name.
    pub(super) fn begin(&mut self, origin: Origin, created: Timestamp) -> rusqlite::Result<u64> {
        let reached: Option<(i64, u64)> = self
            .db
            .query_row("select created, sequence from reached where stream = ?", [origin as i64], |row| {
                Ok((row.get(0)?, unsigned(row.get(1)?)))
            })
            .optional()?;
        if let Some((_, sequence)) = reached.filter(|(at, _)| *at == created.0) {
            return Ok(sequence);
        }
        let tx = self.db.transaction()?;
        if reached.is_some() {
            tracing::warn!(
                ?origin,
                "the stream was replaced by a new one; removing the old one from the index"
            );
            forget(&tx, origin, i64::MAX)?;
        }
        tx.execute("insert or replace into reached values (?, ?, 0)", params![origin as i64, created.0])?;
        tx.commit()?;
        Ok(0)
    }

    /// Adds a batch of messages of a stream that was begun, all or none of it.
    pub(super) fn add(
        &mut self,
        origin: Origin,
        names: &Names,
        batch: &[StreamMessage],
    ) -> rusqlite::Result<()> {
        let added = self.try_add(origin, names, batch);
        if added.is_err() || self.names.len() > NAMES {
            // Ids from a batch that failed are not in the file.
            self.names.clear();
        }
        added
    }

    fn try_add(&mut self, origin: Origin, names: &Names, batch: &[StreamMessage]) -> rusqlite::Result<()> {
        let Some(last) = batch.last() else { return Ok(()) };
        let tx = self.db.transaction()?;
        let mut adding =
            Adding { tx: &tx, names: &mut self.names, last_at: self.last_at, latest: HashMap::new() };
        for entry in batch {
            match origin {
                Origin::Log => adding.entry(names, entry)?,
                Origin::Receipts => adding.receipt(entry)?,
                Origin::DeadLetters => adding.dead_letter(entry)?,
            }
        }
        adding.update_names()?;
        let last_at = adding.last_at;
        let updated = tx.execute(
            "update reached set sequence = ? where stream = ?",
            params![signed(last.sequence), origin as i64],
        )?;
        if updated != 1 {
            return Err(rusqlite::Error::StatementChangedRows(updated));
        }
        tx.commit()?;
        self.last_at = last_at;
        Ok(())
    }

    /// Removes entries that the stream no longer has. Names are kept for longer than their messages.
    pub(super) fn forget(&mut self, origin: Origin, before: u64) -> rusqlite::Result<()> {
        let tx = self.db.transaction()?;
        forget(&tx, origin, signed(before))?;
        if origin == Origin::Log {
            let silent = Timestamp(self.last_at.saturating_sub(SILENT));
            tx.execute(
                "delete from name where last_sequence < ?1 and (last_at < ?2 or id not in
                 (select id from name order by last_at desc limit ?3))",
                params![signed(before), silent.0, NAMES as i64],
            )?;
            self.names.clear();
        }
        tx.commit()
    }
}

/// A connection that only reads.
pub(super) fn reader(path: &Path) -> rusqlite::Result<Connection> {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    db.busy_timeout(std::time::Duration::from_secs(2))?;
    db.pragma_update(None, "cache_size", -1000)?;
    Ok(db)
}

/// Sets a write-ahead log, so that readers and the writer do not wait for each other. Entries lost in a power cut are
/// read from the streams again.
fn tune(db: &Connection) -> rusqlite::Result<()> {
    db.busy_timeout(std::time::Duration::from_secs(2))?;
    db.pragma_update(None, "journal_mode", "wal")?;
    db.pragma_update(None, "synchronous", "normal")?;
    db.pragma_update(None, "cache_size", -2000)?;
    db.pragma_update(None, "journal_size_limit", 8 << 20)
}

fn forget(tx: &Transaction<'_>, origin: Origin, before: i64) -> rusqlite::Result<()> {
    let traces = |kind: Trace| {
        tx.execute("delete from trace where kind = ? and sequence < ?", params![kind as i64, before])
    };
    match origin {
        Origin::Log => {
            tx.execute("delete from message where sequence < ?", [before])?;
            tx.execute("delete from haystack where sequence < ?", [before])?;
            // The last configuration before is still in force.
            tx.execute(
                "delete from configuration where sequence < (select max(sequence) from configuration where sequence <= ?)",
                [before],
            )?;
            traces(Trace::Retry)?;
        }
        Origin::Receipts => _ = traces(Trace::Receipt)?,
        Origin::DeadLetters => _ = traces(Trace::Dead)?,
    }
    Ok(())
}

/// A batch that is being added.
struct Adding<'a> {
    tx: &'a Transaction<'a>,
    names: &'a mut HashMap<(Kind, String), i64>,
    last_at: i64,
    latest: HashMap<(Kind, i64), Latest>,
}

impl Adding<'_> {
    fn entry(&mut self, names: &Names, entry: &StreamMessage) -> rusqlite::Result<()> {
        match names.parse(&entry.subject) {
            Some(Subject::Ops { source, tag }) => {
                let Received { message, .. } =
                    tellhal::message::read(source, tag, &entry.payload, entry.sequence, entry.at);
                self.message(entry, &message)
            }
            Some(Subject::Ctl("retry")) => match serde_json::from_slice::<Retry>(&entry.payload) {
                Ok(retry) => self.trace(&retry.delivery.id, Trace::Retry, entry.sequence),
                Err(_) => Ok(()),
            },
            Some(Subject::Ctl("config")) => match serde_json::from_slice::<ConfigEntry>(&entry.payload) {
                Ok(config) => {
                    let mut insert =
                        self.tx.prepare_cached("insert or replace into configuration values (?, ?)")?;
                    insert.execute(params![signed(entry.sequence), config.hash]).map(drop)
                }
                Err(_) => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn message(&mut self, entry: &StreamMessage, message: &Message) -> rusqlite::Result<()> {
        self.last_at = self.last_at.max(entry.at.0);
        let (sequence, at) = (signed(entry.sequence), self.last_at);
        let source = self.name(Kind::Source, &message.source, at, sequence, message.host.as_deref())?;
        let tag = self.name(Kind::Tag, message.tag.as_str(), at, sequence, None)?;
        // A message without an id of its own is found by its sequence.
        let id = (!message.id.starts_with("seq-")).then(|| key(&message.id));
        let severity = severity_number(message.severity);
        let mut insert =
            self.tx.prepare_cached("insert or replace into message values (?, ?, ?, ?, ?, ?, ?, ?, ?)")?;
        let status = message.status.map(status_number);
        let (key, host) = (message.key.as_deref().map(digest), message.host.as_deref().map(digest));
        insert.execute(params![sequence, at, severity, source, tag, id, status, key, host])?;
        let mut insert = self.tx.prepare_cached("insert or replace into haystack values (?, ?)")?;
        insert.execute(params![sequence, haystack(message)]).map(drop)
    }

    fn receipt(&mut self, entry: &StreamMessage) -> rusqlite::Result<()> {
        let Ok(receipt) = serde_json::from_slice::<Receipt>(&entry.payload) else { return Ok(()) };
        receipt.ids.iter().try_for_each(|id| self.trace(id, Trace::Receipt, entry.sequence))
    }

    fn dead_letter(&mut self, entry: &StreamMessage) -> rusqlite::Result<()> {
        let Ok(letter) = serde_json::from_slice::<DeadLetter>(&entry.payload) else { return Ok(()) };
        self.trace(&letter.delivery.id, Trace::Dead, entry.sequence)
    }

    fn trace(&self, delivery: &str, kind: Trace, sequence: u64) -> rusqlite::Result<()> {
        let mut insert = self.tx.prepare_cached("insert or ignore into trace values (?, ?, ?)")?;
        insert.execute(params![key(message_id(delivery)), kind as i64, signed(sequence)]).map(drop)
    }

    /// The id of a name in a new message, and notes that message as the name's latest.
    fn name(
        &mut self,
        kind: Kind,
        name: &str,
        at: i64,
        sequence: i64,
        host: Option<&str>,
    ) -> rusqlite::Result<i64> {
        let key = (kind, name.to_owned());
        let id = match self.names.get(&key) {
            Some(id) => *id,
            None => {
                let mut insert = self.tx.prepare_cached(
                    "insert into name (kind, name, first_at, last_at, last_sequence) values (?1, ?2, ?3, ?3, ?4)
                     on conflict (kind, name) do update set name = name returning id",
                )?;
                let id = insert.query_row(params![kind as i64, name, at, sequence], |row| row.get(0))?;
                self.names.insert(key, id);
                id
            }
        };
        let latest = self.latest.entry((kind, id)).or_insert(Latest { at, sequence, host: None });
        (latest.at, latest.sequence) = (at, sequence);
        if let Some(host) = host {
            latest.host = Some(host.to_owned());
        }
        Ok(id)
    }

    fn update_names(&mut self) -> rusqlite::Result<()> {
        let mut update = self.tx.prepare_cached(
            "update name set last_at = ?, last_sequence = ?, host = ifnull(?, host) where id = ?",
        )?;
        for ((_, id), Latest { at, sequence, host }) in self.latest.drain() {
            update.execute(params![at, sequence, host, id])?;
        }
        Ok(())
    }
}

/// A key of fixed length for an id of any form: a UUID's bytes, which grow with time, else a hash.
pub(super) fn key(id: &str) -> [u8; 16] {
    if let Ok(uuid) = uuid::Uuid::try_parse(id)
        && id.len() == 36
    {
        return *uuid.as_bytes();
    }
    let mut key = [0; 16];
    key.copy_from_slice(&Sha256::digest(id.as_bytes())[..16]);
    key
}

/// A number for a text, the same for the same text.
pub(super) fn digest(text: &str) -> i64 {
    let mut digest = [0; 8];
    digest.copy_from_slice(&Sha256::digest(text.as_bytes())[..8]);
    i64::from_be_bytes(digest)
}

pub(super) fn status_number(status: Status) -> i64 {
    match status {
        Status::Started => 0,
        Status::Succeeded => 1,
        Status::Failed => 2,
        Status::Resolved => 3,
    }
}

pub(super) fn status_of(number: i64) -> Status {
    match number {
        0 => Status::Started,
        1 => Status::Succeeded,
        2 => Status::Failed,
        _ => Status::Resolved,
    }
}

pub(super) fn severity_number(severity: Severity) -> i64 {
    Severity::ALL.iter().position(|other| *other == severity).unwrap_or(0) as i64
}

/// A sequence as SQLite's signed number.
pub(super) fn signed(sequence: u64) -> i64 {
    i64::try_from(sequence).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(sequence: i64) -> u64 {
    u64::try_from(sequence).unwrap_or(0)
}
