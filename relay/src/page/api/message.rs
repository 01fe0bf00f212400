//! `GET /api/messages/{id}`: everything about one message, and its deliveries to each room.

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

use super::dead::operator;
use super::exchange::{Named, ok};
use super::fate::{History, RoomFate, Step, history};
use super::messages::Incomplete;
use super::rooms::leaders_rooms;
use super::stories::stories;
use crate::admin::Operator;
use crate::admin::explain::{Explanation, Verdicts, explain};
use crate::admin::trace::{Fate, Located, SHORTEST, Search};
use crate::bus::files;
use crate::bus::message::StreamMessage;
use crate::engine::Rules;
use crate::index::problems::Story;
use crate::page::Site;
use crate::page::event::Entry;
use crate::status::{Role, Snapshot};
use service::http::problem::Problem;

/// The longest id in a request, in bytes.
const LONGEST: usize = 200;

/// A message older than this is not expected to get further traces.
const SLOW: Duration = Duration::from_secs(60);

/// Headers that the server adds to a message when it is read.
const SERVERS: [&str; 4] = ["Nats-Stream", "Nats-Subject", "Nats-Sequence", "Nats-Time-Stamp"];

/// A message's id, or `seq-N` for the log entry with sequence N.
#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
pub(super) struct Id(#[schemars(length(min = 1, max = LONGEST))] String);

/// One message and its deliveries.
#[derive(Serialize, JsonSchema)]
pub(super) struct OneMessage {
    #[serde(flatten)]
    entry: Arc<Entry>,
    /// The rest of its story, if it says that something failed or started.
    #[serde(flatten)]
    story: Story,
    raw: Raw,
    /// Sequences of other log entries with this id, which were not delivered again.
    also: Vec<u64>,
    /// The decision of the rules that were in force when the message arrived, as for a first message; absent if those
    /// rules are no longer known.
    rules: Option<Verdicts>,
    /// Each room that the message was or is to be posted to.
    rooms: Vec<RoomFate>,
    /// Steps that concern no room: dropped by a route, known already.
    notes: Vec<Step>,
    /// The relay has not processed the message yet.
    not_yet_folded: bool,
    /// No further steps are expected, unless a person acts.
    settled: bool,
    /// The reason why this may be incomplete; absent if it is complete.
    incomplete: Option<Incomplete>,
}

/// The message as it was received.
#[derive(Serialize, JsonSchema)]
struct Raw {
    subject: String,
    headers: BTreeMap<String, Vec<String>>,
    /// The payload as text; invalid UTF-8 is replaced.
    payload: String,
}

pub(super) async fn one(State(site): State<Arc<Site>>, id: Named<Id>) -> Result<Response, Problem> {
    let Id(id) = id?.0;
    if id.is_empty() || id.len() > LONGEST {
        return Err(Problem::bad(format!("an id has 1 to {LONGEST} bytes")));
    }
    let operator = operator(&site);
    let sequence = locate(&site, &operator, &id).await?;
    let message = entry(&operator, sequence).await?.ok_or_else(|| unknown(&id))?;
    let entry = Arc::new(Entry::new(&operator.names, &message).ok_or_else(|| unknown(&id))?);
    let mut also = occurrences(&site, &entry.message.id).await?;
    let rules = rules_then(&site, entry.sequence).await;
    let fate = fate(&site, &operator, &entry, &also, rules.as_ref()).await?;
    let mut now = site.shared.status.get();
    if now.role != Role::Leading {
        now.rooms = leaders_rooms(&site).await.unwrap_or_default();
    }
    also.retain(|other| *other != sequence);
    let newest = site.tail.recent().await?.entries;
    let (mut stories, _) = stories(&site, std::slice::from_ref(&entry), &newest).await?;
    let story = stories.pop().unwrap_or_default();
    Ok(ok(&describe(&site, &now, message, (entry, story), rules, fate, also)))
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
    // For a relay whose index is behind or missing, the log itself is read, as by `hal-relay trace`.
    if id.len() < SHORTEST || super::messages::gap(site, site.tail.recent().await?.complete_after).is_none() {
        return Err(unknown(id));
    }
    match operator.find(id).await? {
        Search::One(located) if located.message.id == id => Ok(located.sequence),
        _ => Err(unknown(id)),
    }
}

/// The sequences of the log entries with this id, oldest first. The newest may not be in the index yet.
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
    let message = StreamMessage::at(&operator.jetstream, &operator.names.ops_stream(), sequence).await;
    message.context("the log cannot be read").map_err(Problem::from)
}

/// The message's traces: from the index if there is one, else by reading the streams from its time on.
async fn fate(
    site: &Site,
    operator: &Operator,
    entry: &Entry,
    entries: &[u64],
    rules: Option<&Arc<Rules>>,
) -> Result<Fate, Problem> {
    let located = Located { sequence: entry.sequence, at: entry.at, message: entry.message.clone() };
    let mut fate = match &site.shared.index {
        Ok(index) => {
            let by_sequence = entries.iter().chain([&entry.sequence]).map(|entry| format!("seq-{entry}"));
            let mut ids: Vec<String> = by_sequence.chain([entry.message.id.clone()]).collect();
            ids.sort_unstable();
            ids.dedup();
            operator.fate_by(located, rules, index, ids).await?
        }
        Err(_) => operator.fate(located, rules).await?,
    };
    fate.keep_own(entries);
    Ok(fate)
}

fn describe(
    site: &Site,
    now: &Snapshot,
    message: StreamMessage,
    (entry, story): (Arc<Entry>, Story),
    rules: Option<Arc<Rules>>,
    fate: Fate,
    also: Vec<u64>,
) -> OneMessage {
    let (rules, expected) = match rules.map(|rules| explain(&rules, entry.message.clone(), entry.at)) {
        Some(Explanation { verdicts, deliveries, .. }) => (Some(verdicts), deliveries),
        None => (None, Vec::new()),
    };
    let not_yet_folded = now.role == Role::Leading && now.folded < entry.sequence;
    let young = not_yet_folded || Timestamp::now().since(entry.at) < SLOW;
    let fresh = young || !fate.complete;
    let incomplete = (!young && !fate.complete)
        .then(|| Incomplete::passing("the index does not have all steps of this message yet"));
    let History { mut rooms, notes, settled } = history(&fate, &expected, &now.rooms, fresh);
    let served = site.shared.rooms.borrow().clone();
    for room in &mut rooms {
        room.kind = served.open.get(&room.room).map(|open| open.kind);
    }
    let raw = Raw::of(&message);
    OneMessage { entry, story, raw, also, rules, rooms, notes, not_yet_folded, settled, incomplete }
}

impl Raw {
    fn of(message: &StreamMessage) -> Raw {
        let payload = String::from_utf8_lossy(&message.payload).into_owned();
        let headers = message.headers.iter().flat_map(|headers| headers.iter());
        let headers = headers.filter(|(name, _)| !SERVERS.contains(&name.as_ref()));
        let texts = |values: &[HeaderValue]| values.iter().map(ToString::to_string).collect();
        let headers = headers.map(|(name, values)| (name.to_string(), texts(values))).collect();
        Raw { subject: message.subject.to_string(), headers, payload }
    }
}

/// The rules that were in force when the message arrived.
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
