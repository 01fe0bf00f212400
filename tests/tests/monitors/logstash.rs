//! Documents of Elasticsearch. The fake is one that the official clients of Elasticsearch and OpenSearch take for theirs (`fakes.rs`).

use serde_json::{Value, json};
use tellhal::message::Status;
use tests::wait::SOON;
use tests::{Answer, Bridge, FakeSearch, wait_until};

use super::scene::{Log, monitor};

fn logstash(search: &FakeSearch, more: &str) -> String {
    format!("[monitors.logstash]\nurl = \"http://{}\"\nquery = \"level:ERROR\"\n{more}", search.addr())
}

fn document(id: &str, level: &str) -> Value {
    json!({ "level": level, "message": format!("message {id}"), "host": { "name": "web1" } })
}

/// Waits until the monitors have asked so often again.
async fn asked(search: &FakeSearch, count: usize) {
    let before = search.requests().len();
    wait_until("further questions", SOON, async || search.requests().len() >= before + count).await;
}

#[tokio::test]
async fn each_new_document_is_told_once_and_a_missing_shard_is_no_answer() {
    let (mut log, search) = (Log::start().await, FakeSearch::start().await);
    search.add("before", document("before", "ERROR"));
    let more = "api_key = \"aWQ6a2V5\"\ntext = \"{host.name}: {message}\"";
    let text = monitor("errors", "misses = 1", &logstash(&search, more));
    let mut bridge = Bridge::start(&log.server.url(), &text).await;
    asked(&search, 2).await;
    search.add("a", document("a", "ERROR"));
    search.add("quiet", document("quiet", "INFO"));
    assert_eq!(log.wait_for(1).await[0].text, "web1: message a");
    bridge.restart().await;
    asked(&search, 2).await;
    let last = search.requests().pop().unwrap();
    assert_eq!(
        (last.path.as_str(), last.header("authorization")),
        ("/logstash-*/_search", Some("ApiKey aWQ6a2V5"))
    );
    let body: Value = serde_json::from_slice(&last.body).unwrap();
    assert_eq!(body["query"]["bool"]["must_not"][0]["ids"]["values"], json!(["a"]));
    // The answer of the other shards has status 200, and no hit.
    search.fail_shards_of(&["b"]);
    search.add("b", document("b", "ERROR"));
    let told = log.wait_for(2).await.remove(1);
    assert!(told.text.contains("cannot be observed: 127.0.0.1: 1 of 5 shards have failed"), "{}", told.text);
    asked(&search, 2).await;
    // A busy server is asked again within the same look.
    search.next([Answer::retry_after("0"), Answer::status(503)]);
    search.fail_shards_of(&[]);
    let texts: Vec<String> =
        log.wait_for(4).await.split_off(2).into_iter().map(|message| message.text).collect();
    assert!(
        texts[0].starts_with("monitor errors is observed again") && texts[1] == "web1: message b",
        "{texts:?}"
    );
}

#[tokio::test]
async fn a_count_of_some_shards_is_no_count() {
    let (mut log, search) = (Log::start().await, FakeSearch::start().await);
    for id in ["a", "b", "c"] {
        search.add(id, document(id, "ERROR"));
    }
    let text = monitor("errors", "misses = 1", &logstash(&search, "at_least = 3"));
    let _bridge = Bridge::start(&log.server.url(), &text).await;
    assert_eq!(log.wait_for(1).await[0].text, "errors: 3, at least 3");
    search.fail_shards_of(&["a"]);
    let told = log.wait_for(2).await.remove(1);
    assert_eq!(told.key.as_deref(), Some("monitor/errors observed"), "it is not good: {told:?}");
    search.fail_all();
    asked(&search, 2).await;
    search.fail_shards_of(&[]);
    let told = log.wait_for(3).await.remove(2);
    assert_eq!((told.key.as_deref(), told.status), (Some("monitor/errors observed"), Some(Status::Resolved)));
    asked(&search, 2).await;
    log.wait_for(3).await;
}
