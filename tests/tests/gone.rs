//! A server that is gone and a lease that nobody can take are said by page, readiness and log, and soon.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::time::{Duration, Instant};

use async_nats::jetstream::stream;
use serde_json::Value;
use tests::wait::SOON;
use tests::{Events, NatsServer, Relay, wait_until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const TOKEN: &str = "oncall-0123456789abcdef";
const CONFIG: &str = "default_room = \"page\"\n[[page.tokens]]\nname = \"oncall\"\nrole = \"operator\"\n\
                      token = \"oncall-0123456789abcdef\"\n";
/// Five seconds, and two more on a busy machine.
const WITHIN: Duration = Duration::from_secs(7);

async fn until_gone(relay: &Relay, address: &str) {
    let mut page = Events::open(relay.http(), "/api/stream").await.unwrap();
    let start = Instant::now();
    let is_said = async || {
        let (status, body) = relay.get("/readyz").await;
        status == 503 && body.contains("NATS has not answered since") && body.contains(address)
    };
    wait_until("/readyz says it", WITHIN, is_said).await;
    let on_page = async {
        loop {
            let event = page.next().await.unwrap();
            if event.kind == "state" && event.data.contains(address) {
                return;
            }
        }
    };
    let rest = WITHIN.saturating_sub(start.elapsed());
    tokio::time::timeout(rest, on_page).await.expect("the page says it");
    let is_logged =
        |line: &str| line.contains("ERROR") && line.contains("has not answered") && line.contains(address);
    assert!(relay.log().lines().any(is_logged), "{}", relay.log());
}

async fn until_leading(relay: &Relay) {
    wait_until("it leads", SOON, async || relay.get("/readyz").await == (200, "leading\n".into())).await;
}

/// Sends a message from the page. The answer may take longer than other requests.
async fn tell(relay: &Relay, body: &str) -> String {
    let mut stream = TcpStream::connect(relay.http()).await.unwrap();
    let request = format!(
        "POST /api/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(SOON, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

#[tokio::test]
async fn a_killed_server_is_named_and_its_return_too() {
    let mut nats = NatsServer::start().await;
    let relay = Relay::start(&nats.url(), CONFIG).await;
    until_leading(&relay).await;
    nats.kill();
    until_gone(&relay, &nats.url()).await;
    nats.restart().await;
    until_leading(&relay).await;
    assert!(relay.log().contains("the server answers, and a relay leads"));
}

#[tokio::test]
async fn a_message_without_an_acknowledgement_may_arrive_and_is_in_the_log_once_when_it_is_sent_again() {
    let mut nats = NatsServer::start().await;
    let relay = Relay::start(&nats.url(), CONFIG).await;
    until_leading(&relay).await;
    let body = r#"{"id":"0123456789abcdef0123456789abcdef","tag":"deploy.web","text":"once"}"#;
    nats.process().pause().await;
    let address = nats.url();
    let (answer, ()) = tokio::join!(tell(&relay, body), until_gone(&relay, &address));
    assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
    assert!(answer.contains("may still arrive") && answer.contains("0123456789abcdef"), "{answer}");
    nats.process().resume();
    until_leading(&relay).await;
    let again = tell(&relay, body).await;
    assert!(again.starts_with("HTTP/1.1 201"), "{again}");
    let found: Value = serde_json::from_str(&relay.get("/api/messages?text=once").await.1).unwrap();
    assert_eq!(found["messages"].as_array().unwrap().len(), 1, "{found}");
    assert_eq!(found["messages"][0]["message"]["user"], "oncall");
}

#[tokio::test]
async fn a_relay_does_not_stand_by_for_nobody() {
    let nats = NatsServer::start().await;
    let relay = Relay::start(&nats.url(), CONFIG).await;
    until_leading(&relay).await;
    let js = nats.jetstream().await;
    let bucket = js.get_stream("KV_HAL_STATE").await.unwrap();
    // As on a full disk: what is there can be read, and nothing can be written.
    let sealed = stream::Config { sealed: true, ..bucket.cached_info().config.clone() };
    js.update_stream(sealed).await.unwrap();
    let is_said = async || {
        let (status, body) = relay.get("/readyz").await;
        status == 503 && body.contains("no relay has led since") && body.contains("cannot be written")
    };
    wait_until("/readyz says that nobody leads, and why", SOON, is_said).await;
}
