//! `GET /api/messages/{id}`: everything about one message, and what became of it in each room.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_nats::HeaderValue;
use async_nats::jetstream::stream::DirectGetErrorKind;
use axum::extract::State;
use axum::response::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tellhal::timestamp::Timestamp;

use super::Named;
use super::dead::operator;
use super::fate::{RoomFate, Step, Told, told};
use crate::admin::Operator;
use crate::admin::trace::{Fate, Located, Search};
use crate::delivery::{Outcome, message_id};
use crate::engine::Rules;
use crate::explain::{Explanation, Said, explain};
use crate::files;
use crate::page::Site;
use crate::page::event::Entry;
use crate::page::problem::Problem;
use crate::scan::Found;
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
    let first = also.first().is_none_or(|first| *first >= sequence);
    also.retain(|other| *other != sequence);
    let fate = fate(&site, &operator, &entry, first).await?;
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
        return sequence.ok_or_else(|| unknown(id));
    }
    if let Some(first) = occurrences(site, id).await?.first() {
        return Ok(*first);
    }
    // As `hal-relay trace` does, which reads the log itself: for a relay whose index is behind or missing.
    if super::messages::gap(site, site.tail.recent().complete_after).is_none() {
        return Err(unknown(id));
    }
    match operator.find(id).await {
        Ok(Search::One(located)) if located.message.id == id => Ok(located.sequence),
        _ => Err(unknown(id)),
    }
}

/// Where in the log this id is, oldest first. The newest messages may not be in the index yet.
async fn occurrences(site: &Site, id: &str) -> Result<Vec<u64>, Problem> {
    let mut sequences = match &site.shared.index {
        Ok(index) => index.find(id.to_owned()).await?,
        Err(_) => Vec::new(),
    };
    let recent = site.tail.recent().entries;
    sequences.extend(recent.iter().filter(|entry| entry.message.id == id).map(|entry| entry.sequence));
    sequences.sort_unstable();
    sequences.dedup();
    Ok(sequences)
}

async fn entry(operator: &Operator, sequence: u64) -> Result<Option<Found>, Problem> {
    let log = operator.stream(&operator.names.ops_stream()).await?;
    let log = log.ok_or_else(|| Problem::unavailable("there is no log yet"))?;
    match log.direct_get(sequence).await {
        Ok(message) => Ok(Some(message.into())),
        Err(error) if error.kind() == DirectGetErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context("the log cannot be read").map_err(Problem::from),
    }
}

/// Its traces, by the index where there is one, else by reading all that came since. The engine takes an id from the
/// first that bears it: whatever comes later goes by its place in the log, or is a duplicate.
async fn fate(site: &Site, operator: &Operator, entry: &Entry, first: bool) -> Result<Fate, Problem> {
    let (sequence, at, mut message) = (entry.sequence, entry.at, entry.message.clone());
    let id = message.id.clone();
    if !first {
        message.id = format!("seq-{sequence}");
    }
    let mut ids = vec![message.id.clone(), id];
    ids.dedup();
    let located = Located { sequence, at, message };
    let mut fate = match &site.shared.index {
        Ok(index) => operator.fate_by(located, index.traces(ids).await?).await?,
        Err(_) => operator.fate(located).await?,
    };
    let own = fate.located.message.id.clone();
    let is_own = |delivery: &String| message_id(delivery) == own;
    fate.receipts.retain(|receipt| match receipt.outcome {
        Outcome::Duplicate => receipt.place.sequence == sequence,
        _ => receipt.ids.iter().any(is_own),
    });
    fate.dead.retain(|letter| is_own(&letter.id));
    fate.retries.retain(|retry| is_own(&retry.id));
    Ok(fate)
}

async fn tell(
    site: &Site,
    found: Found,
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
    let fresh = not_yet_folded || Timestamp::now().since(entry.at) < SLOW;
    let Told { mut rooms, notes, settled } = told(&fate, &expected, &now.rooms, fresh);
    let served = site.shared.rooms.borrow().clone();
    for room in &mut rooms {
        room.kind = served.open.get(&room.room).map(|open| open.kind);
    }
    let raw = Raw::of(&found);
    Ok(OneMessage { entry, raw, also, rules, rooms, notes, not_yet_folded, settled })
}

impl Raw {
    fn of(found: &Found) -> Raw {
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
