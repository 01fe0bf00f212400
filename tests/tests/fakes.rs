//! The fakes tested with independent programs: the official Slack SDK, the clients of Elasticsearch and OpenSearch, and the Standard
//! Webhooks library.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use service::platform::slack;
use service::secret::Secret;
use tests::http::{Request, post};
use tests::slack::{APP_TOKEN, Channel, FakeSlack, SIGNING_SECRET, TOKEN, Way, now, signature};
use tests::webhook::verify;
use tests::{Answer, FakeSearch, WebhookSink, find};

/// Runs a Python script with arguments and returns what it printed, as JSON.
async fn python(script: &str, arguments: &[&str]) -> Value {
    python_of(find::python(), script, arguments).await
}

/// The same with the Python of an environment.
async fn python_of(program: PathBuf, script: &str, arguments: &[&str]) -> Value {
    let mut command = Command::new(program);
    command.arg("-c").arg(script).args(arguments);
    // The fakes run on this test's thread, which must not be blocked.
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic");
    let output = output.expect("python starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("the script prints JSON")
}

const SLACK: &str = r#"
import json, sys
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from slack_sdk.webhook import WebhookClient

api, webhook, token = sys.argv[1:]
client = WebClient(token=token, base_url=api + "/")

def error(call):
    try:
        call()
    except SlackApiError as e:
        return [e.response.status_code, e.response.get("error") if isinstance(e.response.data, dict) else None,
                e.response.headers.get("Retry-After")]

section = {"type": "section", "text": {"type": "mrkdwn", "text": "hi"}}
posted = client.chat_postMessage(channel="C1", text="hello", blocks=[section])
edited = client.chat_update(channel="C1", ts=posted["ts"], text="hello again")
incoming = WebhookClient(webhook)
taken = incoming.send(text="through the webhook")
shared = client.files_upload_v2(channel="C1", thread_ts=posted["ts"], filename="a.png", content=b"\x89PNG", title="A graph")
empty = incoming.send_dict({"text": ""})
print(json.dumps({
    "team": client.auth_test()["team_id"],
    "posted": posted["ok"], "edited": edited["text"],
    "missing": error(lambda: client.chat_postMessage(channel="C404", text="x")),
    "archived": error(lambda: client.chat_postMessage(channel="C2", text="x")),
    "no_text": error(lambda: client.chat_postMessage(channel="C1", text="")),
    "blocks": error(lambda: client.chat_postMessage(channel="C1", text="x", blocks=[section] * 51)),
    "stranger": error(lambda: WebClient(token="xoxb-other", base_url=api + "/").auth_test()),
    "edit_missing": error(lambda: client.chat_update(channel="C1", ts="1.1", text="x")),
    "file": [shared["ok"], shared["file"]["title"]],
    "file_lost": error(lambda: client.files_completeUploadExternal(files=[{"id": "F404", "title": "x"}], channel_id="C1")),
    "file_nowhere": error(lambda: client.files_upload_v2(channel="C404", filename="a.png", content=b"x")),
    "file_empty": error(lambda: client.files_getUploadURLExternal(filename="a.png", length=0)),
    "webhook": [taken.status_code, taken.body], "webhook_empty": [empty.status_code, empty.body],
}))
"#;

const NO_FILES: &str = r#"
import json, sys
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError

api, token = sys.argv[1:]
try:
    WebClient(token=token, base_url=api + "/").files_upload_v2(channel="C1", filename="a.png", content=b"x")
except SlackApiError as e:
    print(json.dumps(e.response["error"]))
"#;

#[tokio::test]
async fn slack_is_what_the_official_sdk_expects() {
    let slack = FakeSlack::start(&["C1"]).await;
    slack.set_channel("C2", Channel::Archived);
    let got = python(SLACK, &[&slack.api_url(), &slack.webhook_url(), TOKEN]).await;
    let want = serde_json::json!({
        "team": "T0001", "posted": true, "edited": "hello again",
        "missing": [200, "channel_not_found", null],
        "archived": [200, "is_archived", null],
        "no_text": [200, "no_text", null],
        "blocks": [200, "invalid_blocks", null],
        "stranger": [200, "invalid_auth", null],
        "edit_missing": [200, "message_not_found", null],
        "file": [true, "A graph"],
        "file_lost": [200, "file_not_found", null],
        "file_nowhere": [200, "channel_not_found", null],
        "file_empty": [200, "invalid_arguments", null],
        "webhook": [200, "ok"], "webhook_empty": [400, "no_text"],
    });
    assert_eq!(got, want);
    let picture = slack.pictures().remove(0);
    assert_eq!(
        (picture.bytes.as_slice(), picture.thread),
        (&b"\x89PNG"[..], Some(slack.posts()[0].ts.clone()))
    );
    slack.permit_files(false);
    let got = python(NO_FILES, &[&slack.api_url(), TOKEN]).await;
    assert_eq!(got, json!("missing_scope"));
    let posts = slack.posts();
    assert_eq!(posts.len(), 2);
    assert_eq!((posts[0].channel.as_str(), posts[0].text.as_str()), ("C1", "hello again"));
    assert_eq!(posts[0].body["blocks"][0]["type"], "section");
}

#[tokio::test]
async fn slack_can_be_told_to_ask_for_patience() {
    let slack = FakeSlack::start(&["C1"]).await;
    slack.next([Answer::retry_after("30")]);
    let body = r#"{"channel":"C1","text":"x"}"#;
    let (status, _) = post(slack.addr(), "/api/chat.postMessage", body).await.unwrap();
    assert_eq!((status, slack.posts().len()), (429, 0));
    let (status, body) = post(slack.addr(), "/api/chat.postMessage", body).await.unwrap();
    assert_eq!((status, body.contains("not_authed")), (200, true));
}

const SOCKET: &str = r#"
import json, sys, threading
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from slack_sdk.socket_mode import SocketModeClient
from slack_sdk.socket_mode.response import SocketModeResponse

api, app_token, bot_token = sys.argv[1:]
web = WebClient(base_url=api + "/")
try:
    web.apps_connections_open(app_token=bot_token)
except SlackApiError as e:
    refused = e.response["error"]
client = SocketModeClient(app_token=app_token, web_client=web)
seen, done = [], threading.Event()

def hear(client, request):
    text = request.payload.get("event", request.payload)["text"]
    seen.append([request.type, text, request.retry_attempt])
    # The first delivery is left unacknowledged.
    if text != "!again" or request.retry_attempt > 0:
        payload = {"response_type": "in_channel"} if request.accepts_response_payload else None
        client.send_socket_mode_response(SocketModeResponse(envelope_id=request.envelope_id, payload=payload))
    if len(seen) == 3:
        done.set()

client.socket_mode_request_listeners.append(hear)
client.connect()
done.wait(20)
client.close()
print(json.dumps({"refused": refused, "seen": sorted(seen)}))
"#;

#[tokio::test]
async fn socket_mode_is_what_the_official_sdk_expects() {
    let slack = FakeSlack::start(&["C1"]).await;
    slack.envelope("events_api", &slack.message("U2", "C1", "!again"));
    slack.envelope("slash_commands", &slack.command("U2", "C1", "help"));
    let got = python(SOCKET, &[&slack.api_url(), APP_TOKEN, TOKEN]).await;
    let seen = [
        json!(["events_api", "!again", 0]),
        json!(["events_api", "!again", 1]),
        json!(["slash_commands", "help", 0]),
    ];
    assert_eq!(got, json!({ "refused": "not_allowed_token_type", "seen": seen }));
    let acknowledged = slack.acknowledged();
    assert_eq!(acknowledged.len(), 2, "{acknowledged:?}");
    assert_eq!(acknowledged[0]["payload"]["response_type"], "in_channel");
}

const SIGNATURES: &str = r#"
import json, sys
from slack_sdk.signature import SignatureVerifier

secret, at, body, signature = sys.argv[1:]
headers = {"X-Slack-Request-Timestamp": at, "X-Slack-Signature": signature}
verifier = SignatureVerifier(secret)
print(json.dumps([verifier.is_valid_request(body, headers), SignatureVerifier("other").is_valid_request(body, headers),
                  verifier.is_valid_request(body + " ", headers), verifier.generate_signature(timestamp=at, body=body)]))
"#;

#[tokio::test]
async fn requests_are_signed_as_the_official_sdk_signs_and_verifies_them() {
    let fake = FakeSlack::start(&["C1"]).await;
    let bodies = [
        Way::Event.body(&fake.message("U2", "C1", "café & “x”")),
        Way::Command.body(&fake.command("U2", "C1", "say 'a b'")),
    ];
    for body in bodies {
        let at = now();
        let (time, signed) = (at.to_string(), signature(SIGNING_SECRET, at, &body));
        let got = python(SIGNATURES, &[SIGNING_SECRET, &time, &body, &signed]).await;
        assert_eq!(got, json!([true, false, false, signed]));
        // The bridge's verifier agrees.
        let verified =
            |secret| slack::verify(&Secret::new(secret), Some(&time), got[3].as_str(), body.as_bytes(), at);
        assert!(verified(SIGNING_SECRET).is_ok() && verified("other").is_err());
    }
}

const SIGN: &str = r#"
import datetime, json, sys, urllib.request
from standardwebhooks import Webhook

url, secret = sys.argv[1:]
body = '{"v": 1, "room": "hook", "messages": [{"id": "m1", "text": "caf\u00e9"}]}'

def send(at, key, extra=""):
    signature = extra + Webhook(key).sign("msg_1", at, body)
    headers = {"webhook-id": "msg_1", "webhook-timestamp": str(int(at.timestamp())),
               "webhook-signature": signature, "content-type": "application/json"}
    request = urllib.request.Request(url, body.encode(), headers)
    try:
        return urllib.request.urlopen(request).status
    except urllib.error.HTTPError as e:
        return e.code

now = datetime.datetime.now(datetime.timezone.utc)
other = "whsec_" + "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB"
print(json.dumps([send(now, secret), send(now, secret, "v2,new v1,AAAA "), send(now, other),
                  send(now - datetime.timedelta(minutes=6), secret)]))
"#;

#[tokio::test]
async fn signatures_are_those_of_standard_webhooks() {
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let sink = WebhookSink::signed(secret).await;
    let got = python(SIGN, &[&sink.url(), secret]).await;
    assert_eq!(got, serde_json::json!([200, 200, 401, 401]));
    assert_eq!(sink.texts(), ["café", "café"]);
    assert_eq!(sink.deliveries()[0].id, "msg_1");
}

#[tokio::test]
async fn the_published_vector_verifies() {
    let sink = WebhookSink::start().await;
    let mut request: Request = {
        post(sink.addr(), "/in", r#"{"test": 2432232314}"#).await.unwrap();
        sink.requests().remove(0)
    };
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    request.headers = vec![
        header("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
        header("webhook-timestamp", "1614265330"),
        header("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
    ];
    let secret = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    assert_eq!(verify(secret, &request, 1_614_265_330), Ok(()));
    assert!(verify(secret, &request, 1_614_265_330 + 301).is_err());
    request.body.push(b' ');
    assert!(verify(secret, &request, 1_614_265_330).is_err());
}

/// The same questions by both clients, which check what they are answered in their own ways.
const SEARCH: &str = r#"
import json, sys
kind, url = sys.argv[1:]
if kind == "elasticsearch":
    import elasticsearch as library
    client = library.Elasticsearch(url, max_retries=0)
    error = lambda e: [e.status_code, e.error]
    search = lambda index, body: client.search(index=index, **body)
    count = lambda index, query: client.count(index=index, query=query)
else:
    import opensearchpy as library
    client = library.OpenSearch(url, max_retries=0)
    error = lambda e: [e.status_code, e.error]
    search = lambda index, body: client.search(index=index, body=body)
    count = lambda index, query: client.count(index=index, body={"query": query})

def refused(call):
    try:
        call()
    except (library.ApiError if kind == "elasticsearch" else library.TransportError) as e:
        return error(e)

words = {"query_string": {"query": "level:ERROR"}}
recent = {"range": {"@timestamp": {"gte": "now-5m", "lt": "now"}}}
body = {"size": 2, "track_total_hits": True, "sort": [{"@timestamp": "asc"}],
        "query": {"bool": {"filter": [words, recent], "must_not": [{"ids": {"values": ["d"]}}]}}}
found = search("logstash-*", body)
print(json.dumps({
    "ids": [hit["_id"] for hit in found["hits"]["hits"]], "total": found["hits"]["total"],
    "shards": found["_shards"], "timed_out": found["timed_out"],
    "count": count("logstash-*", words)["count"], "none": count("nothing-*", words)["count"],
    "no_index": refused(lambda: count("nothing", words)),
    "no_query": refused(lambda: search("logstash-*", {"query": {"nonsense": {}}})),
}))
"#;

#[tokio::test]
async fn a_search_is_what_the_official_clients_expect() {
    let search = FakeSearch::start().await;
    let url = format!("http://{}", search.addr());
    for (id, level) in [("a", "ERROR"), ("b", "ERROR"), ("c", "INFO"), ("d", "ERROR"), ("e", "ERROR")] {
        search.add(
            id,
            json!({ "level": level, "@timestamp": (now() - 60) * 1000 + u64::from(id.as_bytes()[0]) }),
        );
    }
    let ask = async |kind: &str| {
        let program = find::in_venv("search", "python3");
        python_of(program, SEARCH, &[kind, &url]).await
    };
    for kind in ["elasticsearch", "opensearch"] {
        search.fail_shards_of(&[]);
        let want = json!({
            "ids": ["a", "b"], "total": { "value": 3, "relation": "eq" },
            "shards": { "total": 5, "successful": 5, "skipped": 0, "failed": 0 }, "timed_out": false,
            "count": 4, "none": 0, "no_index": [404, "index_not_found_exception"],
            "no_query": [400, "parsing_exception"],
        });
        assert_eq!(ask(kind).await, want, "{kind}");
        // Status 200, and fewer hits.
        search.fail_shards_of(&["a"]);
        let partial = ask(kind).await;
        assert_eq!((&partial["ids"], &partial["count"]), (&json!(["b", "e"]), &json!(3)), "{kind}");
        assert_eq!(partial["shards"]["failures"][0]["reason"]["type"], "node_disconnected_exception");
        assert_eq!((&partial["shards"]["failed"], &partial["shards"]["successful"]), (&json!(1), &json!(4)));
    }
}
