//! `GET /api/messages` searches the log; `POST /api/messages` sends a message.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;
use axum::extract::{Extension, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use futures_util::stream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tellhal::message::{Link, Message, Severity, Status};
use tellhal::tag::Tag;
use tellhal::timestamp::Timestamp;

use super::exchange::{Given, Json, answer, ok};
use super::stories::stories;
use crate::bus::message::StreamMessage;
use crate::index::Origin;
use crate::index::filter::Filter;
use crate::index::problems::Story;
use crate::page::Site;
use crate::page::access::Caller;
use crate::page::event::Entry;
use crate::page::params::{FILTER, PAGED, Params};
use crate::page::tail::Recent;
use crate::status::notice::SOURCE;
use service::http::problem::Problem;

/// Number of messages requested from the log at the same time.
const AT_ONCE: usize = 64;
/// The longest title, key or field of a sent message, in characters, and the longest address.
const SHORT: usize = 256;
const ADDRESS: usize = 1000;
/// The largest number of its fields and links.
const FIELDS: usize = 50;
const LINKS: usize = 20;

/// A page of search results.
#[derive(Serialize, JsonSchema)]
pub(super) struct Messages {
    /// Newest first.
    pub(super) messages: Vec<Listed>,
    /// The start of the next page; absent on the last page.
    pub(super) cursor: Option<String>,
    /// The last sequence of the log that the search covers: a stream that begins after it misses no message.
    through: u64,
    /// The reason why results may be missing; absent if none are.
    pub(super) incomplete: Option<Incomplete>,
}

/// A message of the log, and the rest of its story if it says that something failed or started.
#[derive(Serialize, JsonSchema)]
pub(super) struct Listed {
    #[serde(flatten)]
    pub(super) entry: Arc<Entry>,
    #[serde(flatten)]
    story: Story,
}

/// The reason why an answer may be incomplete.
#[derive(Serialize, JsonSchema)]
pub(super) struct Incomplete {
    /// The reason in words.
    pub(super) reason: String,
    /// The search ran out of time: messages before this time are missing. The cursor continues there.
    pub(super) before: Option<Timestamp>,
    /// True if a later request will have a more complete answer.
    pub(super) passing: bool,
}

impl Incomplete {
    /// The search ended early.
    pub(super) fn late(before: Timestamp) -> Self {
        let reason = "the search took too long and left out older messages".into();
        Incomplete { reason, before: Some(before), passing: false }
    }

    /// There was no time to look for all messages that may have ended something.
    pub(super) fn without_ends() -> Self {
        Incomplete::passing("there was no time to look for everything that is over")
    }

    fn because(reason: impl Into<String>) -> Self {
        Incomplete { reason: reason.into(), before: None, passing: false }
    }

    pub(super) fn passing(reason: impl Into<String>) -> Self {
        Incomplete { passing: true, ..Incomplete::because(reason) }
    }
}

pub(super) async fn list(State(site): State<Arc<Site>>, query: Given) -> Result<Response, Problem> {
    let params = Params::new(query?.0, &[FILTER, PAGED])?;
    let (filter, limit, before) = (params.filter()?, params.limit()?, params.before()?);
    Ok(ok(&search(&site, filter, before, limit).await?))
}

/// Searches the newest messages in memory; older ones are searched in the index and read from the log.
pub(super) async fn search(
    site: &Arc<Site>,
    filter: Filter,
    before: Option<u64>,
    limit: usize,
) -> Result<Messages, Problem> {
    let before = before.unwrap_or(u64::MAX);
    let recent = site.tail.recent().await?;
    let matching = recent
        .entries
        .iter()
        .filter(|entry| entry.sequence < before && filter.matches(&entry.message, entry.at));
    let mut entries: Vec<Arc<Entry>> = matching.take(limit).cloned().collect();
    if entries.len() == limit {
        let cursor = entries.last().map(|last| last.sequence);
        return listed(site, &recent, entries, cursor, None).await;
    }
    let mut incomplete = gap(site, recent.complete_after);
    let Ok(index) = &site.shared.index else {
        return listed(site, &recent, entries, None, incomplete).await;
    };
    let older = before.min(recent.complete_after.saturating_add(1));
    let hits = index.search(filter, older, limit - entries.len()).await?;
    entries.extend(read(site, &hits.sequences).await?);
    if let Some(at) = hits.until {
        incomplete = Some(Incomplete::late(at));
    }
    listed(site, &recent, entries, hits.before, incomplete).await
}

/// The answer with these entries and the rest of their stories.
async fn listed(
    site: &Site,
    recent: &Recent,
    entries: Vec<Arc<Entry>>,
    before: Option<u64>,
    incomplete: Option<Incomplete>,
) -> Result<Messages, Problem> {
    let (stories, known) = stories(site, &entries, &recent.entries).await?;
    let messages = entries.into_iter().zip(stories).map(|(entry, story)| Listed { entry, story }).collect();
    let incomplete = incomplete.or_else(|| (!known).then(Incomplete::without_ends));
    let cursor = before.map(|before| before.to_string());
    Ok(Messages { messages, cursor, through: recent.last, incomplete })
}

/// The reason why messages that are not in memory may be missing from the index.
pub(super) fn gap(site: &Site, complete_after: u64) -> Option<Incomplete> {
    match &site.shared.index {
        Err(reason) => Some(Incomplete::because(format!(
            "only the latest messages can be shown: there is no index: {reason}"
        ))),
        Ok(index) => {
            let reached = index.progress(Origin::Log);
            (!site.tail.is_placed() || reached.sequence < complete_after).then(|| {
                if let Some(problem) = index.problem() {
                    return Incomplete::because(format!("the index cannot be written: {problem}"));
                }
                let behind =
                    if reached.known { format!("; entries left: {}", reached.behind) } else { String::new() };
                Incomplete::passing(format!("the index is still reading the log{behind}"))
            })
        }
    }
}

/// Reads messages from the log. Messages that the log no longer has are left out.
async fn read(site: &Arc<Site>, sequences: &[u64]) -> Result<Vec<Arc<Entry>>, Problem> {
    let (bus, log) = (&site.shared.bus, &site.shared.bus.names.ops_stream());
    let messages = stream::iter(sequences.to_vec())
        .map(async |sequence| StreamMessage::at(&bus.js, log, sequence).await)
        .buffered(AT_ONCE);
    let mut entries = Vec::with_capacity(sequences.len());
    let mut messages = std::pin::pin!(messages);
    while let Some(message) = messages.next().await {
        let message = message.context("the log cannot be read")?;
        entries.extend(message.and_then(|message| Entry::new(&bus.names, &message)).map(Arc::new));
    }
    Ok(entries)
}

/// A message to be sent; it needs a text or a title.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = needs_something)]
pub(super) struct Tell {
    /// The topic.
    tag: Tag,
    /// The body. A text over 64 KiB keeps its first 16 and its last 48 KiB.
    #[serde(default)]
    text: String,
    #[serde(default)]
    severity: Severity,
    /// A headline of one line.
    #[serde(default)]
    #[schemars(length(max = SHORT))]
    title: Option<String>,
    /// Names the thing the message is about.
    #[serde(default)]
    #[schemars(length(max = SHORT))]
    key: Option<String>,
    #[serde(default)]
    status: Option<Status>,
    #[serde(default)]
    #[schemars(extend("maxProperties" = FIELDS, "propertyNames" = {"maxLength": SHORT},
        "additionalProperties" = {"type": "string", "maxLength": SHORT}))]
    fields: BTreeMap<String, String>,
    #[serde(default)]
    #[schemars(length(max = LINKS))]
    links: Vec<TellLink>,
}

/// A link to more information.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TellLink {
    #[schemars(regex(pattern = "^https?://"), length(max = ADDRESS))]
    url: String,
    /// The link's text.
    #[serde(default)]
    #[schemars(length(max = SHORT))]
    title: Option<String>,
}

fn needs_something(schema: &mut schemars::Schema) {
    let has = |name: &str| serde_json::json!({"required": [name], "properties": {name: {"type": "string", "minLength": 1}}});
    schema.insert("anyOf".into(), serde_json::json!([has("text"), has("title")]));
}

/// The id and sequence of a sent message.
#[derive(Serialize, JsonSchema)]
pub(super) struct Told {
    id: String,
    /// Its sequence in the log.
    sequence: u64,
}

pub(super) async fn tell(
    State(site): State<Arc<Site>>,
    Extension(caller): Extension<Caller>,
    Json(tell): Json<Tell>,
) -> Result<Response, Problem> {
    let message = message(tell, caller.name)?;
    let bus = &site.shared.bus;
    let subject = bus.names.ops(SOURCE, &message.tag);
    let payload = serde_json::to_vec(&message).map_err(anyhow::Error::from)?;
    let sequence = bus.append(subject, &message.id, payload).await?;
    // The caller's next request shall find the message.
    site.tail.reached(sequence).await;
    let location: [(HeaderName, String); 1] = [(header::LOCATION, format!("/api/messages/{}", message.id))];
    let sent = Told { id: message.id, sequence };
    Ok((location, answer(StatusCode::CREATED, &sent)).into_response())
}

fn message(tell: Tell, user: Option<String>) -> Result<Message, Problem> {
    let Tell { tag, text, severity, title, key, status, fields, links } = tell;
    let wrong = |what: String| Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, what));
    let title = title.filter(|title| !title.is_empty());
    if title.is_none() && text.is_empty() {
        return wrong("the message has neither a title nor a text".into());
    }
    if fields.len() > FIELDS || links.len() > LINKS {
        return wrong(format!("a message has at most {FIELDS} fields and {LINKS} links"));
    }
    let titles = links.iter().filter_map(|link| link.title.as_ref()).map(|title| ("a link's title", title));
    let fields_short = fields.iter().flat_map(|(name, value)| [("a field's name", name), ("a field", value)]);
    let shorts = title.iter().map(|title| ("the title", title)).chain(key.iter().map(|key| ("the key", key)));
    if let Some((what, _)) =
        shorts.chain(fields_short).chain(titles).find(|(_, text)| text.chars().count() > SHORT)
    {
        return wrong(format!("{what} is longer than {SHORT} characters"));
    }
    let web = |url: &str| url.starts_with("https://") || url.starts_with("http://");
    if let Some(link) = links.iter().find(|link| !web(&link.url) || link.url.chars().count() > ADDRESS) {
        let url: String = link.url.chars().take(40).collect();
        return wrong(format!("link {url:?} is not a web address of at most {ADDRESS} characters"));
    }
    let mut message = Message::new(SOURCE, tag, text);
    message.severity = severity;
    message.title = title;
    message.key = key.filter(|key| !key.is_empty());
    message.status = status;
    message.user = user;
    message.fields = fields;
    message.links = links.into_iter().map(|TellLink { url, title }| Link { url, title }).collect();
    Ok(message)
}
