//! Elasticsearch and OpenSearch, as far as a monitor asks them: `_search` and `_count` with range, query string and ids; shards that fail,
//! whose documents are missing in an answer with status 200; and their errors. Checked with both official Python clients.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use crate::http::{Reply, Request, Server};

/// The shards of the index. A document is in the one that its id gives.
const SHARDS: usize = 5;
/// The number up to which hits are counted, unless all are wanted.
const COUNTED: usize = 10_000;
/// The hits of an answer, unless another number is wanted.
const SIZE: u64 = 10;

#[derive(Clone, Debug)]
struct Document {
    index: String,
    id: String,
    source: Value,
}

#[derive(Debug, Default)]
struct State {
    documents: Vec<Document>,
    failed: BTreeSet<usize>,
    timed_out: bool,
}

/// A server in the test's own process; gone when dropped.
#[derive(Debug)]
pub struct FakeSearch {
    server: Server,
    state: Arc<Mutex<State>>,
}

/// The script of its answers, and its requests.
impl Deref for FakeSearch {
    type Target = Server;
    fn deref(&self) -> &Server {
        &self.server
    }
}

impl FakeSearch {
    pub async fn start() -> FakeSearch {
        let state = Arc::<Mutex<State>>::default();
        let own = state.clone();
        let server = Server::start(Arc::new(move |request| {
            let reply = answer(&own.lock().expect("no panic here"), request);
            // The client of Elasticsearch speaks to no other product.
            reply.with("X-Elastic-Product", "Elasticsearch")
        }));
        FakeSearch { server: server.await, state }
    }

    /// Adds a document of now, unless `source` has an `@timestamp`, in milliseconds since 1970.
    pub fn add(&self, id: &str, mut source: Value) {
        if source["@timestamp"].is_null() {
            source["@timestamp"] = now().into();
        }
        let document = Document { index: "logstash-2026.11.28".into(), id: id.into(), source };
        self.state.lock().expect("no panic here").documents.push(document);
    }

    /// Lets the shards of these documents fail, and no others.
    pub fn fail_shards_of(&self, ids: &[&str]) {
        self.state.lock().expect("no panic here").failed = ids.iter().map(|id| shard(id)).collect();
    }

    /// Lets all shards fail.
    pub fn fail_all(&self) {
        self.state.lock().expect("no panic here").failed = (0..SHARDS).collect();
    }

    /// Lets each search say that it ended before its time.
    pub fn time_out(&self, timed_out: bool) {
        self.state.lock().expect("no panic here").timed_out = timed_out;
    }
}

fn now() -> i64 {
    let age = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(age.as_millis()).unwrap_or(i64::MAX)
}

fn shard(id: &str) -> usize {
    id.bytes().fold(0, |sum, byte| sum + usize::from(byte)) % SHARDS
}

/// Status, kind and reason of an error.
type Wrong = (u16, &'static str, String);

fn answer(state: &State, request: &Request) -> Reply {
    match found(state, request) {
        Ok(value) => Reply::json(200, &value),
        Err((status, kind, reason)) => {
            let cause = json!({ "type": kind, "reason": reason });
            let error = json!({ "root_cause": [cause], "type": kind, "reason": reason });
            Reply::json(status, &json!({ "error": error, "status": status }))
        }
    }
}

fn found(state: &State, request: &Request) -> Result<Value, Wrong> {
    let (path, parameters) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let [index, what @ ("_search" | "_count")] = parts[..] else {
        return Err((400, "illegal_argument_exception", format!("no handler found for uri [{path}]")));
    };
    let index = index.replace("%2A", "*");
    let mut body = match request.body.is_empty() {
        true => Map::new(),
        false => serde_json::from_slice(&request.body).map_err(|error| parsing(&error.to_string()))?,
    };
    // A client may say in the address what others say in the body.
    let more: Vec<(String, String)> = serde_urlencoded::from_str(parameters).unwrap_or_default();
    body.extend(more.into_iter().map(|(name, value)| (name, Value::String(value))));
    let known = ["query", "size", "sort", "track_total_hits"];
    if let Some(key) = body.keys().find(|key| !known.contains(&key.as_str())) {
        return Err(parsing(&format!("Unknown key for a START_OBJECT in [{key}].")));
    }
    let is_here = |document: &&Document| match index.strip_suffix('*') {
        Some(prefix) => document.index.starts_with(prefix),
        None => document.index == index,
    };
    let mut documents: Vec<&Document> = state.documents.iter().filter(is_here).collect();
    if documents.is_empty() && !index.contains('*') {
        return Err((404, "index_not_found_exception", format!("no such index [{index}]")));
    }
    let all = json!({ "match_all": {} });
    let query = body.get("query").unwrap_or(&all);
    let mut hits = Vec::new();
    documents.retain(|document| !state.failed.contains(&shard(&document.id)));
    for document in documents {
        if matches(document, query)? {
            hits.push(document);
        }
    }
    if state.failed.len() == SHARDS {
        return Err((503, "search_phase_execution_exception", "all shards failed".into()));
    }
    let shards = shards(state);
    if what == "_count" {
        return Ok(json!({ "count": hits.len(), "_shards": shards }));
    }
    sort(&mut hits, &body)?;
    let is_counted = body.get("track_total_hits").is_some_and(|all| all == true || all == "true");
    let total = match hits.len() > COUNTED && !is_counted {
        true => json!({ "value": COUNTED, "relation": "gte" }),
        false => json!({ "value": hits.len(), "relation": "eq" }),
    };
    let size = body.get("size").and_then(|size| size.as_u64().or_else(|| size.as_str()?.parse().ok()));
    hits.truncate(usize::try_from(size.unwrap_or(SIZE)).unwrap_or(usize::MAX));
    let shown = hits.iter().map(|document| {
        json!({ "_index": document.index, "_id": document.id, "_score": null, "_source": document.source,
            "sort": [document.source["@timestamp"]] })
    });
    Ok(json!({ "took": 3, "timed_out": state.timed_out, "_shards": shards,
        "hits": { "total": total, "max_score": null, "hits": shown.collect::<Vec<_>>() } }))
}

fn shards(state: &State) -> Value {
    let failed = state.failed.len();
    let mut shards =
        json!({ "total": SHARDS, "successful": SHARDS - failed, "skipped": 0, "failed": failed });
    if failed > 0 {
        let reason = json!({ "type": "node_disconnected_exception", "reason": "node left" });
        let failure =
            |shard: &usize| json!({ "shard": shard, "index": "logstash-2026.11.28", "reason": reason });
        shards["failures"] = state.failed.iter().map(failure).collect();
    }
    shards
}

fn parsing(reason: &str) -> Wrong {
    (400, "parsing_exception", reason.to_owned())
}

/// Documents by their times.
fn sort(hits: &mut [&Document], body: &Map<String, Value>) -> Result<(), Wrong> {
    let Some(sort) = body.get("sort") else { return Ok(()) };
    let order = &sort[0]["@timestamp"];
    let order = order.as_str().or_else(|| order["order"].as_str());
    hits.sort_by_key(|document| document.source["@timestamp"].as_i64());
    match order {
        Some("asc") => {}
        Some("desc") => hits.reverse(),
        _ => {
            return Err((
                400,
                "query_shard_exception",
                format!("No mapping found for {sort} in order to sort on"),
            ));
        }
    }
    Ok(())
}

/// True if a document is of a query.
fn matches(document: &Document, query: &Value) -> Result<bool, Wrong> {
    let Some((kind, inner)) = query.as_object().and_then(|query| query.iter().next()) else {
        return Err(parsing("query malformed, empty clause found"));
    };
    let all = |queries: &Value, wanted: bool| -> Result<bool, Wrong> {
        let one = std::slice::from_ref(queries);
        let queries = queries.as_array().map_or(one, Vec::as_slice);
        for query in queries.iter().filter(|query| !query.is_null()) {
            if matches(document, query)? != wanted {
                return Ok(false);
            }
        }
        Ok(true)
    };
    match kind.as_str() {
        "match_all" => Ok(true),
        "bool" => {
            Ok(all(&inner["filter"], true)? && all(&inner["must"], true)? && all(&inner["must_not"], false)?)
        }
        "ids" => Ok(inner["values"].as_array().is_some_and(|ids| ids.contains(&document.id.as_str().into()))),
        "range" => range(document, inner),
        "query_string" => Ok(of_words(document, inner["query"].as_str().unwrap_or_default())),
        kind => Err(parsing(&format!("unknown query [{kind}]"))),
    }
}

/// A range of times, in milliseconds or as `now-5m`.
fn range(document: &Document, range: &Value) -> Result<bool, Wrong> {
    let Some((field, bounds)) = range.as_object().and_then(|range| range.iter().next()) else {
        return Err(parsing("[range] query malformed"));
    };
    let at = document.source[field].as_i64().unwrap_or_default();
    let mut is_in = true;
    for (name, value) in bounds.as_object().into_iter().flatten() {
        let bound = || value.as_i64().or_else(|| ago(value.as_str()?));
        let bound = match name.as_str() {
            "format" => continue,
            _ => bound()
                .ok_or_else(|| (400, "parse_exception", format!("failed to parse date field [{value}]")))?,
        };
        is_in &= match name.as_str() {
            "gte" => at >= bound,
            "gt" => at > bound,
            "lte" => at <= bound,
            "lt" => at < bound,
            name => return Err(parsing(&format!("[range] query does not support [{name}]"))),
        };
    }
    Ok(is_in)
}

fn ago(text: &str) -> Option<i64> {
    let rest = text.strip_prefix("now")?;
    if rest.is_empty() {
        return Some(now());
    }
    let (number, unit) = rest.strip_prefix('-')?.split_at_checked(rest.len() - 2)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    Some(now() - number.parse::<i64>().ok()? * seconds * 1000)
}

/// Lucene's words, as far as `field:value AND field:value` goes.
fn of_words(document: &Document, words: &str) -> bool {
    words.split(" AND ").all(|word| match word.split_once(':') {
        None => word == "*",
        Some((field, value)) => {
            field.split('.').fold(&document.source, |source, part| &source[part]) == value
        }
    })
}
