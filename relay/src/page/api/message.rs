//! `GET /api/messages/{id}`: everything about one message, and what became of it in each room.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_nats::HeaderValue;
use axum::extract::State;
use axum::response::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tellhal::timestamp::Timestamp;

use super::Named;
use super::dead::operator;
use super::fate::{RoomFate, Step, Told, told};
use super::messages::Incomplete;
use crate::admin::Operator;
use crate::admin::explain::{Explanation, Said, explain};
use crate::admin::trace::{Fate, Located, SHORTEST, Search};
use crate::bus::files;
use crate::bus::message::StreamMessage;
use crate::engine::Rules;
use crate::page::Site;
use crate::page::event::Entry;
use crate::page::problem::Problem;
use crate::status::Role;

/// The longest id that is looked for, in bytes.
const LONGEST: usize = 200;

/// After how long without a trace none is expected any more.
const SLOW: Duration = Duration::from_secs(60);

/// What the server adds to a message that is asked for.
const SERVERS: [&str; 4] = ["Nats-Stream", "Nats-Subject", "Nats-Sequence", "Nats-Time-Stamp"];

/// A message's id, or `seq-N` for the log's entry N.
#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
pub(super) struct Id(#[schemars(length(min = 1, max = LONGEST))] String);

/// One message and its fate.
#[derive(Serialize, JsonSchema)]
pub(super) struct OneMessage {
    #[serde(flatten)]
    entry: Entry,
    raw: Raw,
    /// Other entries of the log with this id, which were not delivered again.
    also: Vec<u64>,
    /// What the rules in force when it came say to it, as if nothing had come before; absent when they are not
    /// known any more.
    rules: Option<Said>,
    /// Each room it was or is to be shown in.
    rooms: Vec<RoomFate>,
    /// What became of it apart from any room: dropped by a route, known already.
    notes: Vec<Step>,
    /// The relay has not come to it yet.
    not_yet_folded: bool,
    /// Nothing more is going to happen by itself.
    settled: bool,
    /// Why something may be missing here; absent when nothing is.
    incomplete: Option<Incomplete>,
}

/// The message as it came over the wire.
#[derive(Serialize, JsonSchema)]
struct Raw {
    subject: String,
    headers: BTreeMap<String, Vec<String>>,
    /// As text; what is not UTF-8 is replaced.
    payload: String,
}

pub(super) async fn one(State(site): State<Arc<Site>>, id: Named<Id>) -> Result<Response, Problem> {
    let Id(id) = id?.0;
    if id.is_empty() || id.len() > LONGEST {
        return Err(Problem::bad(format!("an id has 1 to {LONGEST} bytes")));
    }
    let operator = operator(&site);
    let sequence = locate(&site, &operator, &id).await?;
    let found = entry(&operator, sequence).await?.ok_or_else(|| unknown(&id))?;
    let entry = Entry::new(&operator.names, &found).ok_or_else(|| unknown(&id))?;
    let mut also = occurrences(&site, &entry.message.id).await?;
    let fate = fate(&site, &operator, &entry, &also).await?;
    also.retain(|other| *other != sequence);
    Ok(super::found(&tell(&site, found, entry, fate, also).await?))
}

fn unknown(id: &str) -> Problem {
    let id: String = id.chars().take(80).collect();
    let what = "it may still be in its host's spool (tellhal status), or be older than the log";
    Problem::not_found(format!("no message {id} is in the log; {what}"))
}

/// The first entry of the log with this id.
async fn locate(site: &Site, operator: &Operator, id: &str) -> Result<u64, Problem> {
    if let Some(sequence) = id.strip_prefix("seq-") {
        let sequence = sequence.parse::<i64>().ok().and_then(|sequence| u64::try_from(sequence).ok());
        return sequence.filter(|sequence| *sequence > 0).ok_or_else(|| unknown(id));
    }
    if let Some(first) = occurrences(site, id).await?.first() {
        return Ok(*first);
    }
    // As `hal-relay trace` does, which reads the log itself: for a relay whose index is behind or missing.
    if id.len() < SHORTEST || super::messages::gap(site, site.tail.recent().await?.complete_after).is_none() {
        return Err(unknown(id));
    }
    match operator.find(id).await? {
        Search::One(located) if located.message.id == id => Ok(located.sequence),
        _ => Err(unknown(id)),
    }
}

/// Where in the log this id is, oldest first. The newest messages may not be in the index yet.
async fn occurrences(site: &Site, id: &str) -> Result<Vec<u64>, Problem> {
    let mut sequences = match &site.shared.index {
        Ok(index) => index.find(id.to_owned()).await?,
        Err(_) => Vec::new(),
    };
    let recent = site.tail.recent().await?.entries;
    sequences.extend(recent.iter().filter(|entry| entry.message.id == id).map(|entry| entry.sequence));
    sequences.sort_unstable();
    sequences.dedup();
    Ok(sequences)
}

async fn entry(operator: &Operator, sequence: u64) -> Result<Option<StreamMessage>, Problem> {
    let found = StreamMessage::at(&operator.jetstream, &operator.names.ops_stream(), sequence).await;
    found.context("the log cannot be read").map_err(Problem::from)
}

/// Its traces, by the index where there is one, else by reading all that came since.
async fn fate(site: &Site, operator: &Operator, entry: &Entry, entries: &[u64]) -> Result<Fate, Problem> {
    let located = Located { sequence: entry.sequence, at: entry.at, message: entry.message.clone() };
    let mut fate = match &site.shared.index {
        Ok(index) => {
            let by_place = entries.iter().chain([&entry.sequence]).map(|entry| format!("seq-{entry}"));
            let mut ids: Vec<String> = by_place.chain([entry.message.id.clone()]).collect();
            ids.sort_unstable();
            ids.dedup();
            operator.fate_by(located, index, ids).await?
        }
        Err(_) => operator.fate(located).await?,
    };
    fate.keep_own(entries);
    Ok(fate)
}

async fn tell(
    site: &Site,
    found: StreamMessage,
    entry: Entry,
    fate: Fate,
    also: Vec<u64>,
) -> Result<OneMessage, Problem> {
    let rules = rules_then(site, entry.sequence).await;
    let (rules, expected) = match rules.map(|rules| explain(&rules, entry.message.clone(), entry.at)) {
        Some(Explanation { said, deliveries, .. }) => (Some(said), deliveries),
        None => (None, Vec::new()),
    };
    let now = site.shared.status.get();
    let not_yet_folded = now.role == Role::Leading && now.folded < entry.sequence;
    let young = not_yet_folded || Timestamp::now().since(entry.at) < SLOW;
    let fresh = young || !fate.complete;
    let incomplete = (!young && !fate.complete)
        .then(|| Incomplete::passing("not all that became of it is in the index yet"));
    let Told { mut rooms, notes, settled } = told(&fate, &expected, &now.rooms, fresh);
    let served = site.shared.rooms.borrow().clone();
    for room in &mut rooms {
        room.kind = served.open.get(&room.room).map(|open| open.kind);
    }
    let raw = Raw::of(&found);
    Ok(OneMessage { entry, raw, also, rules, rooms, notes, not_yet_folded, settled, incomplete })
}

impl Raw {
    fn of(found: &StreamMessage) -> Raw {
        let payload = String::from_utf8_lossy(&found.payload).into_owned();
        let headers = found.headers.iter().flat_map(|headers| headers.iter());
        let headers = headers.filter(|(name, _)| !SERVERS.contains(&name.as_ref()));
        let texts = |values: &[HeaderValue]| values.iter().map(ToString::to_string).collect();
        let headers = headers.map(|(name, values)| (name.to_string(), texts(values))).collect();
        Raw { subject: found.subject.to_string(), headers, payload }
    }
}

/// The rules that were in force when the message came.
async fn rules_then(site: &Site, sequence: u64) -> Option<Arc<Rules>> {
    let own = site.shared.rules.borrow().clone();
    let index = site.shared.index.as_ref().ok()?;
    let hash = index.configuration(sequence).await.ok()??;
    if hash == own.hash {
        return Some(own);
    }
    let bus = &site.shared.bus;
    let files = bus.js.get_object_store(&bus.names.files_bucket()).await.ok()?;
    files::load_rules(&files, &hash).await.ok()?
}
