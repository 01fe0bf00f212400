//! SIGTERM in the middle of work: open posts are finished, the exit status is 0 within the grace time, and after a new
//! start no message is missing or posted twice.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::time::Duration;

use tests::process::Signal;
use tests::wait::SOON;
use tests::{Answer, Bridge, NatsServer, Port, Relay, WebhookSink, wait_until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The time for the shutdown; systemd's unit allows more.
const GRACE: Duration = Duration::from_secs(15);

fn hook(sink: &WebhookSink, more: &str) -> String {
    let url = sink.url();
    format!("default_room = \"hook\"\n{more}\n[rooms.hook.webhook]\nurl = \"{url}\"\nallow_private = true\n")
}

async fn publish(nats: &NatsServer, tag: &str, numbers: std::ops::Range<u32>) {
    let js = nats.jetstream().await;
    for n in numbers {
        js.publish(format!("hal.ops.db1.{tag}"), n.to_string().into()).await.unwrap().await.unwrap();
    }
}

#[tokio::test]
async fn a_relay_finishes_its_present_post_and_the_next_relay_the_rest() {
    let (nats, sink) = (NatsServer::start().await, WebhookSink::start().await);
    let mut relay = Relay::start(&nats.url(), &hook(&sink, "")).await;
    // The room is slow with the first post: one is under way, others wait.
    sink.next([Answer::After(Duration::from_millis(1500))]);
    publish(&nats, "a", 0..10).await;
    wait_until("the first post is under way", SOON, async || !sink.requests().is_empty()).await;
    relay.process().signal(Signal::TERM);
    let status = relay.process().ended(GRACE).await;
    assert_eq!(status.code(), Some(0), "{}", relay.log());
    assert_eq!(sink.texts(), ["0"], "the post under way was finished, and no other begun");
    relay.restart().await;
    let want: Vec<String> = (0..10).map(|n| n.to_string()).collect();
    wait_until("all arrive in order, each once", SOON, async || sink.texts() == want).await;
    publish(&nats, "a", 10..11).await;
    wait_until("nothing comes again", SOON, async || sink.texts().last().is_some_and(|text| text == "10"))
        .await;
    assert_eq!(sink.texts().len(), 11, "{:?}", sink.texts());
}

#[tokio::test]
async fn a_relay_that_waits_for_a_room_that_is_down_ends_all_the_same() {
    let (nats, sink) = (NatsServer::start().await, WebhookSink::start().await);
    let mut relay = Relay::start(&nats.url(), &hook(&sink, "")).await;
    sink.always(Answer::retry_after("600"));
    publish(&nats, "a", 0..3).await;
    wait_until("the room was tried", SOON, async || !sink.requests().is_empty()).await;
    assert_eq!(relay.process().terminate(GRACE).await.code(), Some(0), "{}", relay.log());
    sink.always(Answer::Normal);
    relay.restart().await;
    wait_until("all arrive", SOON, async || sink.texts() == ["0", "1", "2"]).await;
}

#[tokio::test]
async fn an_open_throttle_is_summed_up_once_by_the_next_relay() {
    let (nats, sink) = (NatsServer::start().await, WebhookSink::start().await);
    let route = "routes = [{ name = \"disk\", tag = \"disk.>\", rooms = [\"hook\"], throttle = \"3s\" }]";
    let mut relay = Relay::start(&nats.url(), &hook(&sink, route)).await;
    publish(&nats, "disk.full", 0..5).await;
    wait_until("the first passes", SOON, async || sink.texts() == ["0"]).await;
    assert_eq!(relay.process().terminate(GRACE).await.code(), Some(0), "{}", relay.log());
    assert_eq!(sink.deliveries().len(), 1, "the window is still open: {:?}", sink.deliveries());
    relay.restart().await;
    wait_until("the summary comes", SOON, async || sink.deliveries().len() == 2).await;
    let summary = sink.deliveries()[1].body.to_string();
    assert!(summary.contains("\"count\":4"), "{summary}");
    publish(&nats, "other", 7..8).await;
    wait_until("the next passes", SOON, async || sink.texts().last().is_some_and(|text| text == "7")).await;
    assert_eq!(sink.deliveries().len(), 3, "{:?}", sink.deliveries());
}

#[tokio::test]
async fn a_bridge_loses_nothing_of_what_it_took() {
    let (nats, sink) = (NatsServer::start().await, WebhookSink::start().await);
    let _relay = Relay::start(&nats.url(), &hook(&sink, "")).await;
    let port = Port::free();
    let tcp = format!("[tcp]\nlisten = \"{}\"\n", port.addr());
    let mut bridge = Bridge::start(&nats.url(), &tcp).await;
    let mut talks = Vec::new();
    for n in 0..50 {
        let mut stream = TcpStream::connect(port.addr()).await.unwrap();
        stream.write_all(format!("job.{n}\nhalf of {n}").as_bytes()).await.unwrap();
        talks.push((n, stream));
    }
    // When a complete message after them is kept, they were accepted: the port accepts connections in turn.
    let mut whole = TcpStream::connect(port.addr()).await.unwrap();
    whole.write_all(b"job.whole\nwhole").await.unwrap();
    whole.shutdown().await.unwrap();
    tokio::time::timeout(SOON, whole.read_to_end(&mut Vec::new())).await.unwrap().unwrap();
    bridge.process().signal(Signal::TERM);
    for (n, stream) in &mut talks {
        stream.write_all(format!(" and the rest of {n}").as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
    }
    assert_eq!(bridge.process().ended(GRACE).await.code(), Some(0), "{}", bridge.log());
    let mut want: Vec<String> = (0..50).map(|n| format!("half of {n} and the rest of {n}")).collect();
    want.push("whole".into());
    want.sort();
    let all = async || {
        let mut texts = sink.texts();
        texts.sort();
        texts == want
    };
    wait_until("every message arrives, each once", SOON, all).await;
}
