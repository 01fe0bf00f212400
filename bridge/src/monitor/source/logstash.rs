//! Documents that logstash has written to Elasticsearch or OpenSearch: their number within a window, held against a threshold, or
//! each new one as a message. The time up to which documents were seen is kept with their ids, and each look goes back a little
//! further, since documents arrive late. An answer of which a shard is missing is an error and never a low number.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use service::config::{KeyProblem, PATH, duration};
use service::http::{Answer, Endpoint};
use service::secret::{Pair, Secret};
use service::text::{clean, cut, one_line};
use tellhal::Timestamp;
use tokio::time::sleep;

use super::{Opening, Settings, Source};
use crate::api::{Api, Question, refusal};
use crate::monitor::core::NoData;
use crate::monitor::observation::{Event, Level, Observation, Observed, Reading};
use crate::monitor::threshold::{Limits, Threshold};

const WINDOW: Duration = Duration::from_secs(300);
/// The most documents of one look that become messages.
const EVENTS: usize = 50;
/// The number of new documents in one look from which on the others are only counted.
const FLOOD: usize = 500;
/// The most ids that are remembered.
const SEEN: usize = 2000;
/// The longest text of one document, in bytes.
const TEXT: usize = 2048;
/// The number of times that a busy server is asked, and the pause between.
const TRIES: usize = 3;
const PAUSE: Duration = Duration::from_secs(1);

/// `[monitors.logstash]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[schemars(extend("additionalProperties" = false))]
pub(crate) struct Config {
    #[serde(flatten)]
    api: Api,
    /// An API key, as the server gives it: id and key in base64.
    #[serde(default)]
    api_key: Option<Secret>,
    /// A file with an API key.
    #[serde(default)]
    #[schemars(extend("format" = PATH))]
    api_key_file: Option<PathBuf>,
    /// The indexes or data streams; `logstash-*` when absent.
    #[serde(default)]
    index: Option<String>,
    /// The query, in the language of `query_string`, such as `level:ERROR AND service:shop`.
    #[serde(default)]
    query: Option<String>,
    /// The field with a document's time; `@timestamp` when absent.
    #[serde(default)]
    time_field: Option<String>,
    /// With a threshold: the time that is looked back. Else: how late a document may arrive. From a second to 5 days; `5m` when absent.
    #[serde(default)]
    window: Option<String>,
    /// Without a threshold: the text of a message, in which `{host.name}` stands for a field; `{message}` when absent.
    #[serde(default)]
    text: Option<String>,
    #[serde(flatten)]
    limits: Limits,
}

impl Config {
    fn key(&self) -> Pair<'_> {
        Pair::new("api_key", "api_key_file", &self.api_key, &self.api_key_file)
    }

    fn is_counted(&self) -> bool {
        self.limits.threshold(None).is_some()
    }
}

impl Settings for Config {
    fn problems(&self, clear: Option<f64>) -> Vec<KeyProblem> {
        let mut problems = self.api.problems();
        problems.extend(self.key().problem());
        if self.key().is_set() && self.api.secrets().iter().any(Pair::is_set) {
            problems.push(KeyProblem::new("api_key", "there are other credentials too", "write one kind"));
        }
        if self.query.as_deref().is_none_or(|query| query.trim().is_empty()) {
            problems.push(KeyProblem::new("query", "the query is missing", "query = \"level:ERROR\""));
        }
        if let Some(Err((what, hint))) = self.window.as_deref().map(duration) {
            problems.push(KeyProblem::new("window", what, hint));
        }
        match self.is_counted() {
            true if self.text.is_some() => {
                let what = "with a threshold documents are counted, and not shown";
                problems.push(KeyProblem::new("text", what, "leave out one of the two"));
            }
            true => problems.extend(self.limits.problems(clear)),
            false => problems.extend(clear.map(|_| super::no_threshold("query"))),
        }
        problems
    }

    fn secrets(&self) -> Vec<Pair<'_>> {
        self.api.secrets().into_iter().chain([self.key()]).collect()
    }

    fn api(&self) -> Option<&Api> {
        Some(&self.api)
    }

    fn no_data(&self) -> Option<NoData> {
        (!self.is_counted()).then_some(NoData::Ok)
    }

    fn open(&self, opening: &Opening) -> anyhow::Result<Box<dyn Source>> {
        let mut endpoint = self.api.endpoint()?;
        if let Some(key) = self.key().read()? {
            endpoint.header("Authorization", &Secret::new(format!("ApiKey {}", key.reveal())))?;
        }
        let or = |text: &Option<String>, default: &str| text.clone().unwrap_or_else(|| default.into());
        Ok(Box::new(Logstash {
            endpoint,
            index: or(&self.index, "logstash-*"),
            query: or(&self.query, "*"),
            time_field: or(&self.time_field, "@timestamp"),
            window: self.window.as_deref().and_then(|text| duration(text).ok()).unwrap_or(WINDOW),
            text: or(&self.text, "{message}"),
            threshold: self.limits.threshold(opening.clear),
        }))
    }
}

struct Logstash {
    endpoint: Endpoint,
    index: String,
    query: String,
    time_field: String,
    window: Duration,
    text: String,
    threshold: Option<Threshold>,
}

/// The documents that were seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Memory {
    /// The time from which on documents are asked for, in milliseconds since 1970.
    since: i64,
    /// The ids of those that were seen since then, with their times.
    #[serde(default)]
    seen: BTreeMap<String, i64>,
}

/// The parts of an answer that say whether it is whole.
#[derive(Deserialize)]
struct Whole {
    #[serde(default)]
    timed_out: bool,
    #[serde(rename = "_shards")]
    shards: Shards,
}

#[derive(Deserialize)]
struct Shards {
    total: u64,
    failed: u64,
}

#[derive(Deserialize)]
struct Count {
    count: u64,
}

#[derive(Deserialize)]
struct Search {
    hits: Hits,
}

#[derive(Deserialize)]
struct Hits {
    total: Total,
    hits: Vec<Hit>,
}

/// Servers before version 7 write a number alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum Total {
    Counted { value: usize },
    Plain(usize),
}

#[derive(Deserialize)]
struct Hit {
    #[serde(rename = "_id")]
    id: String,
    #[serde(rename = "_source", default)]
    source: Value,
    /// The document's time.
    sort: (i64,),
}

#[async_trait]
impl Source for Logstash {
    async fn observe(&self, memory: &Value, now: Timestamp) -> Observation {
        match &self.threshold {
            Some(threshold) => {
                let since = now.minus(self.window).0;
                let answer = self.ask("_count", &json!({ "query": self.filter(since, &[]) })).await?;
                let Count { count } = self.read(&answer)?;
                // No window has more documents than a float counts.
                #[allow(clippy::cast_precision_loss)]
                let readings = vec![threshold.reading(Some(count as f64))];
                Ok(Observed { readings, ..Observed::default() })
            }
            None => self.new_documents(memory, now).await,
        }
    }
}

impl Logstash {
    async fn new_documents(&self, memory: &Value, now: Timestamp) -> Observation {
        // Documents that were there before the monitor are not told.
        let armed = Memory { since: now.0, seen: BTreeMap::new() };
        let mut memory: Memory = match memory {
            Value::Null => armed,
            memory => serde_json::from_value(memory.clone()).map_err(|error| error.to_string())?,
        };
        let seen: Vec<&str> = memory.seen.keys().map(String::as_str).collect();
        let body = json!({
            "size": EVENTS,
            "track_total_hits": true,
            "sort": [{ &self.time_field: "asc" }],
            "query": self.filter(memory.since, &seen),
        });
        let answer = self.ask("_search", &body).await?;
        let Search { hits } = self.read(&answer)?;
        let events = self.events(&mut memory, hits, now);
        let memory = serde_json::to_value(&memory).map_err(|error| error.to_string())?;
        let readings = vec![Reading::new(Level::Good, format!("{} new documents", events.len()))];
        Ok(Observed { readings, events, memory })
    }

    fn events(&self, memory: &mut Memory, hits: Hits, now: Timestamp) -> Vec<Event> {
        let (Total::Counted { value: total } | Total::Plain(total)) = hits.total;
        let more = total.saturating_sub(hits.hits.len());
        let mut events = Vec::new();
        for Hit { id, source, sort: (at,) } in hits.hits {
            let text = cut(&clean(&fill(&self.text, &source)), TEXT);
            if memory.seen.insert(id.clone(), at).is_none() {
                events.push(Event { text, id });
            }
        }
        if more > FLOOD {
            // They would still be told when nobody needs them any more.
            let text = format!("{more} further documents of {} are not told one by one", self.query);
            events.push(Event { text, id: format!("{}-{more}", now.0) });
            *memory = Memory { since: now.0, seen: BTreeMap::new() };
        }
        memory.forget(self.window);
        events
    }

    fn filter(&self, since: i64, seen: &[&str]) -> Value {
        json!({ "bool": {
            "filter": [
                { "range": { &self.time_field: { "gte": since, "format": "epoch_millis" } } },
                { "query_string": { "query": self.query } },
            ],
            "must_not": [{ "ids": { "values": seen } }],
        }})
    }

    /// The answer to a question; a busy server is asked again.
    async fn ask(&self, what: &str, body: &Value) -> Result<Answer, String> {
        for _ in 1..TRIES {
            let answer = self.ask_once(what, body).await?;
            if !matches!(answer.status.as_u16(), 429 | 503) {
                return Ok(answer);
            }
            sleep(answer.wait.unwrap_or(PAUSE).min(PAUSE * 5)).await;
        }
        self.ask_once(what, body).await
    }

    async fn ask_once(&self, what: &str, body: &Value) -> Result<Answer, String> {
        let path = vec![self.index.as_str(), what];
        let body = body.to_string().into_bytes();
        Question { method: Method::POST, path, query: vec![], body }.ask(&self.endpoint).await
    }

    fn read<T: for<'de> Deserialize<'de>>(&self, answer: &Answer) -> Result<T, String> {
        let wrong = |what: String| self.endpoint.reason(&what);
        if !answer.status.is_success() {
            let value: Value = serde_json::from_str(&answer.body).unwrap_or_default();
            let error = &value["error"];
            return Err(match (error["type"].as_str(), error["reason"].as_str()) {
                (Some(kind), Some(reason)) => wrong(format!("{kind}: {}", one_line(reason))),
                _ => refusal(&self.endpoint, answer),
            });
        }
        let unread = |error| wrong(format!("the answer is not Elasticsearch's: {error}"));
        let whole: Whole = serde_json::from_str(&answer.body).map_err(unread)?;
        if whole.timed_out {
            return Err(wrong("the search has timed out, and is not whole".into()));
        }
        let Shards { total, failed } = whole.shards;
        if failed > 0 {
            return Err(wrong(format!("{failed} of {total} shards have failed: the result is not whole")));
        }
        serde_json::from_str(&answer.body).map_err(unread)
    }
}

impl Memory {
    /// Lets go what is older than a document may be late, and what is too much.
    fn forget(&mut self, late: Duration) {
        let latest = self.seen.values().copied().max().unwrap_or(i64::MIN);
        self.since = self.since.max(Timestamp(latest).minus(late).0);
        if self.seen.len() > SEEN {
            let mut times: Vec<i64> = self.seen.values().copied().collect();
            times.sort_unstable();
            self.since = self.since.max(times[times.len() - SEEN]);
        }
        let since = self.since;
        self.seen.retain(|_, at| *at >= since);
    }
}

/// A text with the values of a document's fields. Braces that are no pair stay as they are.
fn fill(text: &str, document: &Value) -> String {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, behind)) = after.split_once('}') else { break };
        filled.push_str(before);
        filled.push_str(&field(document, name));
        rest = behind;
    }
    filled + rest
}

/// A field by its path, which may also be one name with dots.
fn field(document: &Value, path: &str) -> String {
    let value =
        document.get(path).or_else(|| path.split('.').try_fold(document, |value, name| value.get(name)));
    match value {
        None | Some(Value::Null) => "?".into(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;

    use super::*;

    fn logstash(more: &str) -> Logstash {
        let config: Config =
            toml::from_str(&format!("url = 'http://127.0.0.1:9200'\nquery = 'level:ERROR'\n{more}")).unwrap();
        assert_eq!(config.problems(None), []);
        Logstash {
            endpoint: config.api.endpoint().unwrap(),
            index: "logstash-*".into(),
            query: "level:ERROR".into(),
            time_field: "@timestamp".into(),
            window: WINDOW,
            text: config.text.clone().unwrap_or_else(|| "{message}".into()),
            threshold: config.limits.threshold(None),
        }
    }

    fn answer(status: u16, body: &str) -> Answer {
        let status = StatusCode::from_u16(status).unwrap();
        Answer { status, body: body.into(), complete: true, wait: None, certificate: None }
    }

    #[test]
    fn a_partial_answer_is_an_error_and_never_a_low_number() {
        let logstash = logstash("above = 5");
        let count = |body: &str| logstash.read::<Count>(&answer(200, body)).map(|count| count.count);
        let shards = |failed: u32| {
            format!("\"_shards\":{{\"total\":5,\"successful\":5,\"skipped\":0,\"failed\":{failed}}}")
        };
        assert_eq!(count(&format!("{{\"count\":634,{}}}", shards(0))), Ok(634));
        let partial = count(&format!("{{\"count\":2,{}}}", shards(1))).unwrap_err();
        assert_eq!(partial, "127.0.0.1: 1 of 5 shards have failed: the result is not whole");
        let late = count(&format!("{{\"count\":2,\"timed_out\":true,{}}}", shards(0))).unwrap_err();
        assert!(late.contains("timed out"), "{late}");
        assert!(count("{\"count\":2}").is_err() && count("[]").is_err());
    }

    #[test]
    fn errors_are_named() {
        let gone = r#"{"error":{"root_cause":[{"type":"index_not_found_exception","reason":"no such index [x]","index":"x"}],"type":"index_not_found_exception","reason":"no such index [x]"},"status":404}"#;
        let logstash = logstash("");
        let error = |status, body| logstash.read::<Count>(&answer(status, body)).err().unwrap();
        assert_eq!(error(404, gone), "127.0.0.1: index_not_found_exception: no such index [x]");
        assert_eq!(error(502, "<h1>Bad gateway</h1>"), "127.0.0.1: answered 502 Bad Gateway: Bad gateway");
    }

    fn hits(total: &str, ids: &[(&str, i64)]) -> Hits {
        let hits: Vec<Value> = ids
            .iter()
            .map(|(id, at)| json!({ "_index": "logstash-2026.11.28", "_id": id, "_score": null, "sort": [at],
                "_source": { "message": format!("m {id}"), "host": { "name": "web1" }, "log.level": "ERROR" } }))
            .collect();
        let total: Value = serde_json::from_str(total).unwrap();
        serde_json::from_value(json!({ "total": total, "max_score": null, "hits": hits })).unwrap()
    }

    #[test]
    fn each_document_is_told_once_though_each_look_goes_back() {
        let logstash = logstash("text = '{host.name} {log.level}: {message} {gone} {'");
        let minute = 60_000;
        let mut memory = Memory { since: 0, seen: BTreeMap::new() };
        let now = Timestamp(10 * minute);
        let events = logstash.events(
            &mut memory,
            hits(r#"{"value":2,"relation":"eq"}"#, &[("a", 1000), ("b", minute)]),
            now,
        );
        assert_eq!(events[0].text, "web1 ERROR: m a ? {");
        assert_eq!(events.len(), 2);
        // The server is asked without them; an answer that has one all the same tells it no second time.
        let events = logstash.events(&mut memory, hits("2", &[("b", minute), ("c", 9 * minute)]), now);
        assert_eq!(events.iter().map(|event| event.id.as_str()).collect::<Vec<_>>(), ["c"]);
        assert_eq!((memory.since, memory.seen.len()), (4 * minute, 1), "five minutes before the newest");
    }

    #[test]
    fn a_flood_is_counted() {
        let logstash = logstash("");
        let mut memory = Memory { since: 0, seen: BTreeMap::new() };
        let events = logstash.events(
            &mut memory,
            hits(r#"{"value":9000,"relation":"eq"}"#, &[("a", 1)]),
            Timestamp(77),
        );
        assert_eq!(events[1].text, "8999 further documents of level:ERROR are not told one by one");
        assert_eq!((memory.since, memory.seen.len()), (77, 0));
    }
}
