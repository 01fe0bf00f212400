//! Documents of Elasticsearch.

use std::time::Duration;

use serde_json::{Value, json};
use tellhal::Timestamp;
use tests::wait::SOON;
use tests::{Answer, Bridge, WebhookSink, wait_until};

use super::scene::{Log, monitor};

/// An answer of Elasticsearch's search with one document, and the number of shards that have failed.
fn found(id: &str, failed: u32) -> Answer {
    let source = json!({ "message": format!("message {id}"), "host": { "name": "web1" } });
    // After the monitor was armed: one from before would not be found.
    let at = Timestamp::now().plus(Duration::from_secs(60)).0;
    let hit = json!({ "_index": "logstash-1", "_id": id, "_score": null, "_source": source, "sort": [at] });
    Answer::Refuse(tests::Reply::json(
        200,
        &json!({
            "took": 3, "timed_out": false,
            "_shards": { "total": 5, "successful": 5 - failed, "skipped": 0, "failed": failed },
            "hits": { "total": { "value": 1, "relation": "eq" }, "max_score": null, "hits": [hit] },
        }),
    ))
}

#[tokio::test]
async fn each_new_document_is_told_once_and_a_missing_shard_is_no_answer() {
    let (mut log, search) = (Log::start().await, WebhookSink::start().await);
    search.always(found("a", 0));
    let kind = format!(
        "[monitors.logstash]\nurl = \"http://{}\"\nquery = \"level:ERROR\"\napi_key = \"aWQ6a2V5\"\ntext = \"{{host.name}}: {{message}}\"",
        search.addr()
    );
    let mut bridge = Bridge::start(&log.server.url(), &monitor("errors", "misses = 1", &kind)).await;
    assert_eq!(log.wait_for(1).await[0].text, "web1: message a");
    bridge.restart().await;
    let looked = search.requests().len();
    wait_until("a look of the next bridge", SOON, async || search.requests().len() > looked + 1).await;
    let last = search.requests().pop().unwrap();
    assert_eq!(
        (last.path.as_str(), last.header("authorization")),
        ("/logstash-*/_search", Some("ApiKey aWQ6a2V5"))
    );
    let body: Value = serde_json::from_slice(&last.body).unwrap();
    assert_eq!(body["query"]["bool"]["must_not"][0]["ids"]["values"], json!(["a"]));
    search.always(found("b", 1));
    let told = log.wait_for(2).await.remove(1);
    assert!(told.text.contains("cannot be observed: 127.0.0.1: 1 of 5 shards have failed"), "{}", told.text);
    // A busy server is asked again within the same look.
    search.next([Answer::retry_after("0"), Answer::status(503)]);
    search.always(found("b", 0));
    let texts: Vec<String> =
        log.wait_for(4).await.split_off(2).into_iter().map(|message| message.text).collect();
    assert!(
        texts[0].starts_with("monitor errors is observed again") && texts[1] == "web1: message b",
        "{texts:?}"
    );
}
