//! Takeovers after a leader was killed, suspended, or stopped in order: every delivery is written once, in order, and
//! posted at most twice.

#![expect(clippy::unwrap_used, reason = "in a test a failed step is a failed test")]

use std::collections::BTreeMap;
use std::time::Duration;

use tests::wait::SOON;
use tests::{Answer, NatsServer, Relay, WebhookSink, wait_until};

const LONG: Duration = Duration::from_secs(40);

fn configuration(sinks: &[(&str, &WebhookSink)]) -> String {
    let names: Vec<&str> = sinks.iter().map(|(name, _)| *name).collect();
    let mut text = format!(
        "default_room = \"page\"\nroutes = [{{ name = \"all\", tag = \"job.>\", rooms = {names:?} }}]\n"
    );
    for (name, sink) in sinks {
        text += &format!("[rooms.{name}.webhook]\nurl = \"{}\"\nallow_private = true\n", sink.url());
    }
    text
}

async fn publish(nats: &NatsServer, numbers: std::ops::Range<u32>) {
    let js = nats.jetstream().await;
    for n in numbers {
        js.publish("hal.ops.db1.job.run", format!("{n}").into()).await.unwrap().await.unwrap();
    }
}

fn numbers(sink: &WebhookSink) -> Vec<u32> {
    sink.deliveries().iter().flat_map(|post| post.texts()).map(|text| text.parse().unwrap()).collect()
}

fn counts(sink: &WebhookSink) -> BTreeMap<u32, usize> {
    let mut counts = BTreeMap::new();
    numbers(sink).into_iter().for_each(|n| *counts.entry(n).or_default() += 1);
    counts
}

async fn role(relay: &Relay) -> String {
    relay.get("/readyz").await.1.trim().to_owned()
}

async fn until_role(relay: &Relay, want: &str) {
    wait_until(&format!("it is {want}"), LONG, async || role(relay).await == want).await;
}

/// Asserts that every number arrived, none more than twice, and the first arrivals in order.
fn check(sink: &WebhookSink, total: u32) {
    let counts = counts(sink);
    assert_eq!(counts.len() as u32, total, "{counts:?}");
    assert!(counts.values().all(|&count| count <= 2), "more than twice: {counts:?}");
    let mut first: Vec<u32> = Vec::new();
    for n in numbers(sink) {
        if !first.contains(&n) {
            first.push(n);
        }
    }
    assert!(first.is_sorted(), "out of order: {first:?}");
}

async fn all_arrived(sink: &WebhookSink, total: u32) {
    wait_until(&format!("{total} arrive"), LONG, async || counts(sink).len() as u32 == total).await;
}

#[tokio::test]
async fn a_killed_relay_goes_on_where_it_stopped() {
    let (nats, a, b) = (NatsServer::start().await, WebhookSink::start().await, WebhookSink::start().await);
    let c = WebhookSink::start().await;
    let mut relay = Relay::start(&nats.url(), &configuration(&[("a", &a), ("b", &b), ("c", &c)])).await;
    // The third room hangs while the first two get their posts, so that the kill is between deliveries of one message.
    c.next([Answer::Never]);
    publish(&nats, 0..1).await;
    all_arrived(&a, 1).await;
    all_arrived(&b, 1).await;
    wait_until("the third was asked", SOON, async || !c.requests().is_empty()).await;
    // A relay that is killed between a post and its receipt would rightly post again: the next test covers that.
    wait_until("the first two have receipts", SOON, async || nats.messages("HAL_SENT").await == 2).await;
    relay.restart().await;
    publish(&nats, 1..4).await;
    for sink in [&a, &b, &c] {
        all_arrived(sink, 4).await;
        check(sink, 4);
    }
    assert_eq!((numbers(&a).len(), numbers(&b).len()), (4, 4), "what had its receipt is not posted again");
}

#[tokio::test]
async fn a_relay_killed_in_the_middle_of_a_post_posts_at_most_twice() {
    let (nats, a) = (NatsServer::start().await, WebhookSink::start().await);
    let mut relay = Relay::start(&nats.url(), &configuration(&[("a", &a)])).await;
    a.next([Answer::Drip]);
    publish(&nats, 0..3).await;
    wait_until("it was taken", SOON, async || !a.deliveries().is_empty()).await;
    relay.restart().await;
    all_arrived(&a, 3).await;
    check(&a, 3);
    wait_until("the receipts are stored", SOON, async || nats.is_through("a").await).await;
    let sent = nats.jetstream().await.get_stream("HAL_SENT").await.unwrap();
    let first = sent.direct_get_first_for_subject("hal.sent.a").await.unwrap();
    let first: serde_json::Value = serde_json::from_slice(&first.payload).unwrap();
    assert_eq!(first["possible_duplicate"], true, "the second post of it says so: {first}");
}

#[tokio::test]
async fn a_standby_takes_over_at_once_when_the_leader_stops_in_order() {
    let (nats, a) = (NatsServer::start().await, WebhookSink::start().await);
    let configuration = configuration(&[("a", &a)]);
    let mut first = Relay::start(&nats.url(), &configuration).await;
    until_role(&first, "leading").await;
    let second = Relay::start(&nats.url(), &configuration).await;
    assert_eq!(role(&second).await, "standing by");
    publish(&nats, 0..20).await;
    all_arrived(&a, 20).await;
    let status = first.process().terminate(SOON).await;
    assert!(status.success(), "{status}");
    publish(&nats, 20..40).await;
    until_role(&second, "leading").await;
    all_arrived(&a, 40).await;
    wait_until("nothing comes twice", SOON, async || numbers(&a).len() == 40).await;
    check(&a, 40);
}

#[tokio::test]
async fn a_leader_that_slept_past_its_lease_writes_nothing_more() {
    let (nats, a) = (NatsServer::start().await, WebhookSink::start().await);
    let configuration = configuration(&[("a", &a)]);
    let mut first = Relay::start(&nats.url(), &configuration).await;
    until_role(&first, "leading").await;
    let second = Relay::start(&nats.url(), &configuration).await;
    publish(&nats, 0..5).await;
    all_arrived(&a, 5).await;
    first.process().pause().await;
    publish(&nats, 5..10).await;
    until_role(&second, "leading").await;
    all_arrived(&a, 10).await;
    first.process().resume();
    until_role(&first, "standing by").await;
    publish(&nats, 10..15).await;
    all_arrived(&a, 15).await;
    check(&a, 15);
    assert_eq!(role(&second).await, "leading");
    let written = nats.messages("HAL_SENT").await;
    assert!(written <= 15, "{written} receipts for 15 messages: some were written twice");
}

#[tokio::test]
async fn relays_that_were_paused_alone_deliver_again() {
    let mut relays = Vec::new();
    for _ in 0..6 {
        let (nats, a) = (NatsServer::start().await, WebhookSink::start().await);
        let relay = Relay::start(&nats.url(), &configuration(&[("a", &a)])).await;
        until_role(&relay, "leading").await;
        relays.push((nats, relay, a));
    }
    for (round, milliseconds) in [(1, 6000), (2, 4700)] {
        for (_, relay, _) in &mut relays {
            relay.process().pause().await;
        }
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        relays.iter_mut().for_each(|(_, relay, _)| relay.process().resume());
        for (nats, relay, a) in &relays {
            publish(nats, round - 1..round).await;
            all_arrived(a, round).await;
            until_role(relay, "leading").await;
        }
    }
}

#[tokio::test]
async fn a_server_that_is_killed_and_comes_back_loses_nothing() {
    let (mut nats, a) = (NatsServer::start().await, WebhookSink::start().await);
    let relay = Relay::start(&nats.url(), &configuration(&[("a", &a)])).await;
    publish(&nats, 0..10).await;
    all_arrived(&a, 10).await;
    nats.restart().await;
    publish(&nats, 10..20).await;
    all_arrived(&a, 20).await;
    nats.process().pause().await;
    tokio::time::sleep(Duration::from_secs(7)).await;
    nats.process().resume();
    publish(&nats, 20..30).await;
    all_arrived(&a, 30).await;
    until_role(&relay, "leading").await;
    check(&a, 30);
}

#[tokio::test]
async fn a_server_that_is_away_for_longer_than_the_lease_repeats_nothing() {
    let (mut nats, a) = (NatsServer::start().await, WebhookSink::start().await);
    let relay = Relay::start(&nats.url(), &configuration(&[("a", &a)])).await;
    publish(&nats, 0..1).await;
    all_arrived(&a, 1).await;
    for round in 0..3 {
        // The post is made while the server is away, so that its receipt waits.
        a.next([Answer::After(Duration::from_millis(700))]);
        publish(&nats, 1 + round..2 + round).await;
        wait_until("it is asked", SOON, async || a.requests().len() as u32 == 2 + round).await;
        nats.process().pause().await;
        tokio::time::sleep(Duration::from_secs(6)).await;
        nats.process().resume();
        until_role(&relay, "leading").await;
    }
    publish(&nats, 4..5).await;
    all_arrived(&a, 5).await;
    assert_eq!(numbers(&a), [0, 1, 2, 3, 4], "nothing twice: {}", relay.log());
}

#[tokio::test]
async fn streams_deleted_underneath_are_noticed_and_made_again() {
    let (nats, a) = (NatsServer::start().await, WebhookSink::start().await);
    let relay = Relay::start(&nats.url(), &configuration(&[("a", &a)])).await;
    publish(&nats, 0..5).await;
    all_arrived(&a, 5).await;
    let js = nats.jetstream().await;
    let mut total = 5;
    for stream in ["HAL_SENT", "HAL_DEAD", "HAL_OPS", "KV_HAL_STATE", "OBJ_HAL_FILES"] {
        js.delete_stream(stream).await.unwrap();
        if stream != "OBJ_HAL_FILES" {
            let back = async || js.get_stream(stream).await.is_ok() && role(&relay).await == "leading";
            wait_until(&format!("{stream} is back"), LONG, back).await;
        }
        publish(&nats, total..total + 5).await;
        total += 5;
        all_arrived(&a, total).await;
    }
    assert_eq!(numbers(&a), (0..total).collect::<Vec<_>>(), "in order, and nothing twice");
    for stream in ["HAL_OPS", "HAL_SENT", "HAL_DEAD"] {
        assert!(relay.log().contains(&format!("stream {stream} is gone")), "{}", relay.log());
    }
}

/// Makes a stream anew as somebody does by hand, again if the relay was quicker to make it.
async fn make_by_hand(js: &async_nats::jetstream::Context, config: async_nats::jetstream::stream::Config) {
    loop {
        js.delete_stream(&config.name).await.unwrap();
        if js.create_stream(config.clone()).await.is_ok() {
            return;
        }
    }
}

/// A configuration with which somebody makes the log anew by hand.
fn log_by_hand() -> async_nats::jetstream::stream::Config {
    async_nats::jetstream::stream::Config {
        name: "HAL_OPS".into(),
        subjects: vec!["hal.ops.>".into(), "hal.ctl.>".into()],
        ..Default::default()
    }
}

#[tokio::test]
async fn a_log_made_anew_by_hand_is_read_and_what_waits_is_posted() {
    log_made_anew(false).await;
}

/// The relay meets the new log when it has more messages than the old one had.
#[tokio::test]
async fn a_log_made_anew_before_a_paused_relay_is_read_from_its_first_message() {
    log_made_anew(true).await;
}

async fn log_made_anew(while_paused: bool) {
    let (nats, a, b) = (NatsServer::start().await, WebhookSink::start().await, WebhookSink::start().await);
    let mut relay = Relay::start(&nats.url(), &configuration(&[("a", &a), ("b", &b)])).await;
    publish(&nats, 0..5).await;
    all_arrived(&a, 5).await;
    all_arrived(&b, 5).await;
    b.always(Answer::status(503));
    publish(&nats, 5..10).await;
    all_arrived(&a, 10).await;
    let js = nats.jetstream().await;
    if while_paused {
        relay.process().pause().await;
    }
    make_by_hand(&js, log_by_hand()).await;
    // With ids and without, while the relay has not seen anything yet, and more than the old log had.
    publish(&nats, 10..15).await;
    for n in 15..30 {
        let publish = async_nats::jetstream::message::PublishMessage::build()
            .payload(format!("{n}").into())
            .message_id(format!("id-{n}"));
        js.send_publish("hal.ops.db1.job.run", publish).await.unwrap().await.unwrap();
    }
    if while_paused {
        relay.process().resume();
    }
    b.always(Answer::Normal);
    for sink in [&a, &b] {
        all_arrived(sink, 30).await;
        check(sink, 30);
    }
    wait_until("it says so", SOON, async || relay.log().contains("have their new numbers")).await;
    until_role(&relay, "leading").await;
    let log = js.get_stream("HAL_OPS").await.unwrap();
    assert!(log.cached_info().state.first_sequence > 10_000_000, "{:?}", log.cached_info().state);
    assert!(js.get_stream("HAL_OPS_ANEW").await.is_err());
    publish(&nats, 30..31).await;
    all_arrived(&a, 31).await;
    assert_eq!(numbers(&a).len(), 31, "nothing twice");
}

#[tokio::test]
async fn receipts_made_anew_by_hand_repeat_nothing() {
    let (nats, a) = (NatsServer::start().await, WebhookSink::start().await);
    let mut relay = Relay::start(&nats.url(), &configuration(&[("a", &a)])).await;
    publish(&nats, 0..5).await;
    all_arrived(&a, 5).await;
    wait_until("they have receipts", SOON, async || nats.is_through("a").await).await;
    let js = nats.jetstream().await;
    for (stream, subject) in [("HAL_SENT", "hal.sent.*"), ("HAL_DEAD", "hal.dead.*")] {
        let by_hand = async_nats::jetstream::stream::Config {
            name: stream.into(),
            subjects: vec![subject.into()],
            ..Default::default()
        };
        make_by_hand(&js, by_hand).await;
        // The relay may look at it between the two.
        let said = [format!("stream {stream} was deleted and made anew"), format!("stream {stream} is gone")];
        let is_said = async || said.iter().any(|words| relay.log().contains(words));
        wait_until(&said[0], SOON, is_said).await;
        let mended = async || js.get_stream(stream).await.unwrap().cached_info().config.allow_direct;
        wait_until("its settings are right again", SOON, mended).await;
        // The relay looks at all streams then: the next one is to go after that.
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    relay.restart().await;
    publish(&nats, 5..8).await;
    all_arrived(&a, 8).await;
    assert_eq!(numbers(&a).len(), 8, "nothing twice");
}

#[tokio::test]
async fn the_outbox_of_an_early_relay_is_left_alone_and_named_once() {
    let (nats, a) = (NatsServer::start().await, WebhookSink::start().await);
    let js = nats.jetstream().await;
    let outbox = async_nats::jetstream::stream::Config {
        name: "HAL_OUT".into(),
        subjects: vec!["hal.out.*".into()],
        ..Default::default()
    };
    js.create_stream(outbox).await.unwrap();
    js.publish("hal.out.a", "{}".into()).await.unwrap().await.unwrap();
    let relay = Relay::start(&nats.url(), &configuration(&[("a", &a)])).await;
    publish(&nats, 0..2).await;
    all_arrived(&a, 2).await;
    assert_eq!(relay.log().matches("HAL_OUT").count(), 1, "{}", relay.log());
    assert_eq!(nats.messages("HAL_OUT").await, 1);
}

#[tokio::test]
async fn a_standby_and_the_command_line_know_what_waits() {
    let (nats, a) = (NatsServer::start().await, WebhookSink::start().await);
    a.always(Answer::status(503));
    let configuration = configuration(&[("a", &a)]);
    let leader = Relay::start(&nats.url(), &configuration).await;
    until_role(&leader, "leading").await;
    let standby = Relay::start(&nats.url(), &configuration).await;
    publish(&nats, 0..3).await;
    let knows = async || {
        let rooms: serde_json::Value = serde_json::from_str(&standby.get("/api/rooms").await.1).unwrap();
        let room =
            rooms["rooms"].as_array().unwrap().iter().find(|room| room["name"] == "a").unwrap().clone();
        room["pending"] == 3 && room["state"] == "retrying" && room["oldest"].is_string()
    };
    wait_until("the standby knows what waits", SOON, knows).await;
    assert_eq!(role(&standby).await, "standing by");
    let output = standby.command(&["rooms"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("retrying, try") && text.contains("3 since 20") && text.contains("503"), "{text}");
}

#[tokio::test]
async fn a_waiting_message_that_the_log_has_lost_is_posted_with_a_word_about_its_text() {
    let (nats, a) = (NatsServer::start().await, WebhookSink::start().await);
    a.always(Answer::status(503));
    let mut relay = Relay::start(&nats.url(), &configuration(&[("a", &a)])).await;
    publish(&nats, 0..2).await;
    wait_until("it was tried", SOON, async || !a.requests().is_empty()).await;
    relay.process().terminate(SOON).await;
    nats.jetstream().await.get_stream("HAL_OPS").await.unwrap().purge().await.unwrap();
    a.always(Answer::Normal);
    relay.restart().await;
    let texts = async || a.deliveries().iter().flat_map(|post| post.texts()).collect::<Vec<_>>();
    wait_until("both are posted", SOON, async || texts().await.len() == 2).await;
    assert!(texts().await.iter().all(|text| text.contains("is lost")), "{:?}", texts().await);
}
