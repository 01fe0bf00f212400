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

use super::exchange::{Given, Json, answer, ok, unacknowledged};
use super::stories::stories;
use crate::bus::message::StreamMessage;
use crate::index::Origin;
use crate::index::filter::Filter;
use crate::index::problems::Story;
use crate::page::Site;
use crate::page::access::Caller;
use crate::page::answers::PAGE;
use crate::page::event::Entry;
use crate::page::params::{FILTER, PAGED, Params};
use crate::page::tail::Recent;
use crate::status::notice::SOURCE;
use service::http::problem::Problem;

/// Number of messages requested from the log at the same time.
const AT_ONCE: usize = 8;
/// The longest title, key or field of a sent message, in characters, and the longest address.
const SHORT: usize = 256;
const ADDRESS: usize = 1000;
const ID: &str = "^[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}$";
/// The largest number of its fields and links.
const FIELDS: usize = 50;
const LINKS: usize = 20;

/// A page of search results.
#[derive(Serialize, JsonSchema)]
pub(in crate::page) struct Messages {
    /// Newest first.
    pub(super) messages: Vec<Listed>,
    /// The start of the next page; absent on the last page.
    pub(super) cursor: Option<String>,
    /// The last sequence of the log that the search covers: a stream that begins after it misses no message.
    through: u64,
    /// The reason why results may be missing; absent if none are.
    pub(super) incomplete: Option<Incomplete>,
}

impl Messages {
    pub(in crate::page) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.messages.iter().map(|listed| &*listed.entry)
    }
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
    let _turn = site.answers.turn().await;
    Ok(ok(&search(&site, filter, before, limit).await?))
}

/// The messages of one page of results.
#[derive(Default)]
struct Page {
    messages: Vec<Arc<Entry>>,
    bytes: usize,
}

impl Page {
    fn push(&mut self, entry: Arc<Entry>) {
        self.bytes += entry.bytes;
        self.messages.push(entry);
    }

    fn is_full(&self, limit: usize) -> bool {
        self.messages.len() >= limit || self.bytes >= PAGE
    }

    fn cursor(&self) -> Option<String> {
        self.messages.last().map(|last| last.sequence.to_string())
    }
}

/// Searches the newest messages in memory; older ones are searched in the index and read from the log.
pub(in crate::page) async fn search(
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
    let mut page = Page::default();
    for entry in matching {
        page.push(entry.clone());
        if page.is_full(limit) {
            return listed(site, &recent, page.cursor(), page.messages, None).await;
        }
    }
    let mut incomplete = gap(site, recent.complete_after);
    let Ok(index) = &site.shared.index else {
        return listed(site, &recent, None, page.messages, incomplete).await;
    };
    let older = before.min(recent.complete_after.saturating_add(1));
    let hits = index.search(filter, older, limit - page.messages.len()).await?;
    let cursor = match read(site, &hits.sequences, &mut page).await? {
        Read::All => hits.before.map(|before| before.to_string()),
        Read::UntilFull => page.cursor(),
    };
    if let Some(at) = hits.until {
        incomplete = Some(Incomplete::late(at));
    }
    listed(site, &recent, cursor, page.messages, incomplete).await
}

/// The answer with these entries and the rest of their stories.
async fn listed(
    site: &Site,
    recent: &Recent,
    cursor: Option<String>,
    entries: Vec<Arc<Entry>>,
    incomplete: Option<Incomplete>,
) -> Result<Messages, Problem> {
    let (stories, known) = stories(site, &entries, &recent.entries).await?;
    let messages = entries.into_iter().zip(stories).map(|(entry, story)| Listed { entry, story }).collect();
    let incomplete = incomplete.or_else(|| (!known).then(Incomplete::without_ends));
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
                // More may have come since the index last counted.
                let left = reached.behind.max(complete_after.saturating_sub(reached.sequence));
                let left = if reached.known { format!("; entries left: {left}") } else { String::new() };
                Incomplete::passing(format!("the index is still reading the log{left}"))
            })
        }
    }
}

/// The end of reading the messages of a page.
enum Read {
    All,
    /// The page has as many bytes as it may.
    UntilFull,
}

/// Reads messages from the log into the page. Messages that the log no longer has are left out.
async fn read(site: &Arc<Site>, sequences: &[u64], page: &mut Page) -> Result<Read, Problem> {
    let (bus, log) = (&site.shared.bus, &site.shared.bus.names.ops_stream());
    let messages = stream::iter(sequences.to_vec())
        .map(async |sequence| StreamMessage::at(&bus.js, log, sequence).await)
        .buffered(AT_ONCE);
    let mut messages = std::pin::pin!(messages);
    while let Some(message) = messages.next().await {
        if page.bytes >= PAGE {
            return Ok(Read::UntilFull);
        }
        let message = message.context("the log cannot be read")?;
        if let Some(entry) = message.and_then(|message| Entry::new(&bus.names, &message)) {
            page.push(Arc::new(entry));
        }
    }
    Ok(Read::All)
}

/// A message to be sent; it needs a text or a title.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = needs_something)]
pub(super) struct Tell {
    /// The message's id: 128 random bits as a UUID or 32 hexadecimal digits; a new one when absent. Sent again with the
    /// same id, a message is in the log once.
    #[serde(default)]
    #[schemars(regex(pattern = ID))]
    id: Option<String>,
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
    let by = caller.name.clone();
    let message = message(tell, caller.name)?;
    let bus = &site.shared.bus;
    let subject = bus.names.ops(SOURCE, &message.tag);
    let payload = serde_json::to_vec(&message).map_err(anyhow::Error::from)?;
    let appended = bus.append(subject, &message.id, payload).await;
    let sequence = appended.map_err(|error| {
        let server = bus.server();
        unacknowledged(
            error,
            &server,
            &format!("sent again with its id {}, it is in the log once", message.id),
        )
    })?;
    tracing::info!(id = message.id, tag = %message.tag, by, "message sent");
    // The caller's next request shall find the message.
    site.tail.reached(sequence).await;
    let location: [(HeaderName, String); 1] = [(header::LOCATION, format!("/api/messages/{}", message.id))];
    let sent = Told { id: message.id, sequence };
    Ok((location, answer(StatusCode::CREATED, &sent)).into_response())
}

fn message(tell: Tell, user: Option<String>) -> Result<Message, Problem> {
    let Tell { id, tag, text, severity, title, key, status, fields, links } = tell;
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
    if let Some(id) = id {
        let digits: String = id.chars().filter(|c| *c != '-').collect();
        if digits.len() != 32 || id.len() > 36 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return wrong(format!("id {id:.40?} is not a UUID"));
        }
        message.id = id;
    }
    message.severity = severity;
    message.title = title;
    message.key = key.filter(|key| !key.is_empty());
    message.status = status;
    message.user = user;
    message.fields = fields;
    message.links = links.into_iter().map(|TellLink { url, title }| Link { url, title }).collect();
    Ok(message)
}
