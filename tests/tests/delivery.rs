//! Deliveries from the log into the rooms: routing, throttling, retries, dead letters, a room that is down or slow.

#![expect(clippy::unwrap_used, reason = "in a test a failed step is a failed test")]

use std::time::Duration;

use serde_json::{Value, json};
use tests::wait::SOON;
use tests::{Answer, NatsServer, Relay, WebhookSink, largest_message, wait_until};

/// A relay with rooms `ops` and `dba` (webhooks) and the built-in `page` as the default.
fn configuration(ops: &WebhookSink, dba: &WebhookSink, more: &str) -> String {
    format!(
        r#"
default_room = "page"
{more}
[rooms.ops.webhook]
url = "{}"
allow_private = true

[rooms.dba.webhook]
url = "{}"
allow_private = true
"#,
        ops.url(),
        dba.url()
    )
}

const BACKUPS: &str = r#"
routes = [{ name = "backups", tag = "backup.>", rooms = ["ops", "dba"] }]
"#;

struct Scene {
    nats: NatsServer,
    ops: WebhookSink,
    dba: WebhookSink,
    relay: Relay,
}

impl Scene {
    async fn start(more: &str) -> Scene {
        let (nats, ops, dba) =
            (NatsServer::start().await, WebhookSink::start().await, WebhookSink::start().await);
        let relay = Relay::start(&nats.url(), &configuration(&ops, &dba, more)).await;
        Scene { nats, ops, dba, relay }
    }

    /// Publishes a plain text, as any client can.
    async fn publish(&self, tag: &str, text: &str) {
        let js = self.nats.jetstream().await;
        js.publish(format!("hal.ops.db1.{tag}"), text.to_owned().into()).await.unwrap().await.unwrap();
    }

    async fn dead(&self) -> Vec<Value> {
        let output = self.relay.command(&["dead", "list", "--json"]).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
    }
}

fn texts(sink: &WebhookSink) -> Vec<String> {
    sink.deliveries().iter().flat_map(tests::webhook::Delivery::texts).collect()
}

async fn until_texts(sink: &WebhookSink, want: &[&str]) {
    wait_until(&format!("{want:?} arrive"), SOON, async || texts(sink) == want).await;
}

#[tokio::test]
async fn every_matching_route_posts_to_its_rooms_in_the_logs_order() {
    let scene = Scene::start(BACKUPS).await;
    for n in 0..5 {
        scene.publish("backup.mysql", &format!("number {n}")).await;
    }
    scene.publish("deploy", "not for them").await;
    let want = ["number 0", "number 1", "number 2", "number 3", "number 4"];
    until_texts(&scene.ops, &want).await;
    until_texts(&scene.dba, &want).await;
}

#[tokio::test]
async fn a_room_that_is_down_is_retried_and_delays_nobody_else() {
    let scene = Scene::start(BACKUPS).await;
    scene.ops.next([500, 502, 503, 500, 500].map(Answer::status));
    scene.publish("backup.mysql", "hello").await;
    until_texts(&scene.dba, &["hello"]).await;
    until_texts(&scene.ops, &["hello"]).await;
    assert_eq!(scene.ops.requests().len(), 6, "five refusals and one post");
    let ids: Vec<_> =
        scene.ops.requests().iter().map(|r| r.header("webhook-id").map(str::to_owned)).collect();
    assert!(ids.iter().all(|id| id.is_some() && *id == ids[0]), "one id at every try: {ids:?}");
}

#[tokio::test]
async fn retry_after_is_honoured_and_garbage_does_no_harm() {
    let scene = Scene::start(BACKUPS).await;
    scene.ops.next(["0", "1", "garbage", "Mon, 23 Nov 2020 00:00:00 GMT"].map(Answer::retry_after));
    let start = std::time::Instant::now();
    scene.publish("backup.mysql", "limited").await;
    until_texts(&scene.dba, &["limited"]).await;
    until_texts(&scene.ops, &["limited"]).await;
    assert!(start.elapsed() >= Duration::from_secs(1), "one answer asked for a second");
    scene.dba.next([Answer::retry_after("99999")]);
    scene.publish("backup.mysql", "for long").await;
    until_texts(&scene.ops, &["limited", "for long"]).await;
    let log = async || scene.relay.log().contains("3600");
    wait_until("the wish is capped at an hour", SOON, log).await;
}

#[tokio::test]
async fn a_refusal_for_good_makes_a_dead_letter_at_once_and_one_is_no_state_of_the_room() {
    for status in [400, 401, 404, 410] {
        let scene = Scene::start(&format!("failing_after = \"1s\"\n{BACKUPS}")).await;
        scene.ops.next([Answer::status(status)]);
        scene.publish("backup.mysql", "refused").await;
        scene.publish("backup.mysql", "next").await;
        until_texts(&scene.dba, &["refused", "next"]).await;
        until_texts(&scene.ops, &["next"]).await;
        let dead = scene.dead().await;
        assert_eq!(dead.len(), 1, "{dead:?}");
        assert_eq!(dead[0]["room"], json!("ops"), "{dead:?}");
        assert!(dead[0]["id"].as_str().unwrap().ends_with("/ops"), "{dead:?}");
        assert!(dead[0]["reason"].as_str().unwrap().contains(&status.to_string()), "{dead:?}");
        // A message would come after a second, and its absence leaves no trace to wait for.
        tokio::time::sleep(Duration::from_millis(2500)).await;
        assert_eq!(told(&scene).await, Vec::<String>::new());
        let rooms = scene.relay.get("/api/rooms").await.1;
        assert!(!rooms.contains("\"broken\""), "{rooms}");
    }
}

/// The relay's own messages about the room `ops`.
async fn told(scene: &Scene) -> Vec<String> {
    let stream = scene.nats.jetstream().await.get_stream("HAL_OPS").await.unwrap();
    let mut told = Vec::new();
    for sequence in 1..=stream.cached_info().state.last_sequence {
        let Ok(message) = stream.get_raw_message(sequence).await else { continue };
        if message.subject.as_str() == "hal.ops.relay.room.ops" {
            let message: Value = serde_json::from_slice(&message.payload).unwrap();
            assert_eq!(message["key"], "ops");
            told.push(format!(
                "{} {}",
                message["status"].as_str().unwrap(),
                message["severity"].as_str().unwrap()
            ));
        }
    }
    told
}

#[tokio::test]
async fn a_room_that_fails_is_told_elsewhere_once_and_when_it_takes_posts_again() {
    // Every error goes to the pager alone, also that the pager fails.
    let routes = r#"
failing_after = "1s"
default_room = "dba"
[[routes]]
name = "pager"
severity = "error"
rooms = ["ops"]
stop = true
"#;
    let (nats, ops, dba) =
        (NatsServer::start().await, WebhookSink::start().await, WebhookSink::start().await);
    ops.always(Answer::status(502));
    let configuration = configuration(&ops, &dba, "").replace("default_room = \"page\"", "");
    let relay = Relay::start(&nats.url(), &format!("{routes}{configuration}")).await;
    let mut scene = Scene { nats, ops, dba, relay };
    let js = scene.nats.jetstream().await;
    let payload = r#"{"v":1,"text":"the shop is down","severity":"critical"}"#;
    js.publish("hal.ops.db1.shop", payload.into()).await.unwrap().await.unwrap();
    let failed =
        async || texts(&scene.dba).iter().any(|text| text.starts_with("room ops has taken no message for "));
    wait_until("the default room has it", SOON, failed).await;
    let text = texts(&scene.dba).remove(0);
    assert!(text.contains("messages wait for it: ") || text.contains("message waits for it: "), "{text}");
    assert!(text.contains("127.0.0.1: answered 502 Bad Gateway"), "{text}");

    // A relay that is killed between a post and its receipt would post again.
    wait_until("the post has its receipt", SOON, async || scene.nats.is_through("dba").await).await;
    // The next leader knows that it was told.
    scene.relay.kill();
    scene.relay.restart().await;
    scene.relay.ready().await;
    let asked = scene.ops.requests().len();
    wait_until("the room is tried again", SOON, async || scene.ops.requests().len() > asked + 2).await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(told(&scene).await, ["failed critical"]);
    let rooms = scene.relay.get("/api/rooms").await.1;
    assert!(rooms.contains("\"retrying\"") || rooms.contains("\"broken\""), "{rooms}");

    scene.ops.always(Answer::Normal);
    let over = async || texts(&scene.dba).iter().any(|text| text == "room ops takes messages again");
    wait_until("the default room has that it is over", Duration::from_secs(90), over).await;
    assert_eq!(told(&scene).await, ["failed critical", "resolved notice"]);
    assert_eq!(texts(&scene.dba).len(), 2, "{:?}", texts(&scene.dba));
    assert_eq!(texts(&scene.ops)[0], "the shop is down");
}

#[tokio::test]
async fn a_dead_letter_is_delivered_after_all_when_an_operator_says_so() {
    let scene = Scene::start(BACKUPS).await;
    scene.ops.next([Answer::status(400)]);
    scene.publish("backup.mysql", "second chance").await;
    wait_until("it is dead", SOON, async || scene.dead().await.len() == 1).await;
    let output = scene.relay.command(&["dead", "retry", "--all"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    until_texts(&scene.ops, &["second chance"]).await;
    assert_eq!(scene.dead().await.len(), 0);
}

#[tokio::test]
async fn a_lost_answer_is_retried_and_counted_as_a_possible_duplicate() {
    let scene = Scene::start(BACKUPS).await;
    scene.ops.next([Answer::TakeThenReset]);
    scene.publish("backup.mysql", "perhaps twice").await;
    until_texts(&scene.ops, &["perhaps twice", "perhaps twice"]).await;
    let receipt = async || {
        last(&scene, "HAL_SENT", "hal.sent.ops")
            .await
            .is_some_and(|receipt| receipt["possible_duplicate"] == true)
    };
    wait_until("the receipt says so", SOON, receipt).await;
    until_texts(&scene.dba, &["perhaps twice"]).await;
}

#[tokio::test]
async fn slow_and_endless_answers_are_bounded_and_hold_up_nobody() {
    let scene = Scene::start(BACKUPS).await;
    scene.ops.next([Answer::Never]);
    scene.publish("backup.mysql", "one").await;
    until_texts(&scene.dba, &["one"]).await;
    scene.dba.next([Answer::Endless]);
    scene.publish("backup.mysql", "two").await;
    let all = async |sink: &WebhookSink| {
        let texts = texts(sink);
        texts.iter().any(|text| text == "one") && texts.iter().any(|text| text == "two")
    };
    wait_until("both arrive at dba", SOON, async || all(&scene.dba).await).await;
    wait_until("both arrive at ops", Duration::from_secs(40), async || all(&scene.ops).await).await;
}

#[tokio::test]
async fn a_backlog_goes_out_as_a_handful_of_posts() {
    let scene = Scene::start(BACKUPS).await;
    scene.ops.always(Answer::status(503));
    let js = scene.nats.jetstream().await;
    for batch in 0..10 {
        let mut acks = Vec::new();
        for n in 0..1000 {
            acks.push(js.publish("hal.ops.db1.backup.mysql", format!("n {batch} {n}").into()).await.unwrap());
        }
        for ack in acks {
            ack.await.unwrap();
        }
    }
    let waiting = async || {
        let page = scene.relay.get("/metrics").await.1;
        page.lines()
            .any(|line| line.starts_with("hal_relay_pending{room=\"ops\"} 9") || line.ends_with(" 10000"))
    };
    wait_until("all wait", Duration::from_secs(60), waiting).await;
    scene.ops.always(Answer::Normal);
    wait_until("all are posted", Duration::from_secs(90), async || scene.nats.is_through("ops").await).await;
    let posts = scene.ops.deliveries();
    assert!(posts.len() <= 30, "{} posts", posts.len());
    let listed: usize = posts.iter().map(|post| post.message_ids().len()).sum();
    let counted: u64 = posts.iter().filter_map(|post| post.body["counted"]["count"].as_u64()).sum();
    assert_eq!(listed as u64 + counted, 10_000, "every message is listed or counted once");
}

#[tokio::test]
async fn a_throttle_sums_up_what_it_held() {
    let throttled = r#"
routes = [{ name = "disk", tag = "disk.>", rooms = ["ops"], throttle = "2s" }]
"#;
    let scene = Scene::start(throttled).await;
    for n in 0..5 {
        scene.publish("disk.full", &format!("n {n}")).await;
    }
    wait_until("a summary comes", SOON, async || scene.ops.deliveries().len() == 2).await;
    assert_eq!(scene.ops.deliveries()[0].texts(), ["n 0"]);
    let summary = scene.ops.deliveries()[1].body.to_string();
    assert!(summary.contains("\"count\":4"), "{summary}");
}

#[tokio::test]
async fn in_dev_nothing_leaves_for_the_main_rooms() {
    let scene = Scene::start(&format!("environment = \"dev\"\ndev_room = \"dba\"\n{BACKUPS}")).await;
    scene.publish("backup.mysql", "a").await;
    scene.publish("deploy", "b").await;
    until_texts(&scene.dba, &["a", "b"]).await;
    assert_eq!(scene.ops.requests().len(), 0);
}

#[tokio::test]
async fn a_removed_rooms_deliveries_go_to_the_default_room_marked() {
    let (nats, ops, dba) =
        (NatsServer::start().await, WebhookSink::start().await, WebhookSink::start().await);
    let with = configuration(&ops, &dba, &format!("stranded_after = \"1s\"\n{BACKUPS}"));
    let mut relay = Relay::start(&nats.url(), &with).await;
    ops.always(Answer::status(503));
    let js = nats.jetstream().await;
    // The entry that moves it would be larger than the server takes: it is shortened.
    js.publish("hal.ops.db1.backup.mysql", largest_message("left behind").into())
        .await
        .unwrap()
        .await
        .unwrap();
    wait_until("ops was tried", SOON, async || !ops.requests().is_empty()).await;
    let without = format!(
        "default_room = \"dba\"\nstranded_after = \"1s\"\n[rooms.dba.webhook]\nurl = \"{}\"\nallow_private = true\n",
        dba.url()
    );
    relay.reload(&nats.url(), &without);
    let moved = async || dba.deliveries().iter().any(|post| post.body.to_string().contains("for room ops"));
    wait_until("it comes to the default room", SOON, moved).await;
}

#[tokio::test]
async fn a_bad_reload_leaves_the_old_configuration_in_force() {
    let mut scene = Scene::start(BACKUPS).await;
    let url = scene.nats.url();
    scene.relay.reload(&url, "default_room = \"nowhere\"\n[rooms.ops.webhoook]\nurl = 1\n");
    let refused = async || {
        scene.relay.get("/metrics").await.1.contains("\nhal_relay_config_last_reload_successful 0\n")
    };
    wait_until("it is refused", SOON, refused).await;
    assert!(scene.relay.log().contains("config.toml:"), "{}", scene.relay.log());
    scene.publish("backup.mysql", "still").await;
    until_texts(&scene.ops, &["still"]).await;
}

async fn last(scene: &Scene, stream: &str, subject: &str) -> Option<Value> {
    let stream = scene.nats.jetstream().await.get_stream(stream).await.unwrap();
    let message = stream.direct_get_last_for_subject(subject).await.ok()?;
    serde_json::from_slice(&message.payload).ok()
}

#[tokio::test]
async fn a_failing_room_gives_up_its_oldest_deliveries_and_holds_up_nobody() {
    let (nats, ops, dba) =
        (NatsServer::start().await, WebhookSink::start().await, WebhookSink::start().await);
    ops.always(Answer::status(503));
    let relay =
        Relay::start(&nats.url(), &configuration(&ops, &dba, &format!("max_waiting = 5\n{BACKUPS}"))).await;
    let scene = Scene { nats, ops, dba, relay };
    for n in 0..20 {
        scene.publish("backup.mysql", &format!("n {n}")).await;
        wait_until("dba has it", SOON, async || texts(&scene.dba).len() == n + 1).await;
    }
    wait_until("the rest is dead", SOON, async || scene.dead().await.len() == 15).await;
    assert!(scene.dead().await.iter().all(|letter| letter["room"] == "ops"));
    scene.ops.always(Answer::Normal);
    until_texts(&scene.ops, &["n 15", "n 16", "n 17", "n 18", "n 19"]).await;
}

#[tokio::test]
async fn a_receipt_that_is_refused_is_written_again() {
    let scene = Scene::start(BACKUPS).await;
    let js = scene.nats.jetstream().await;
    let total = 300;
    for n in 0..total {
        if n % 10 == 0 {
            // As from a deposed leader, whose receipt comes late: the server refuses the relay's next one.
            let receipt = r#"{"room":"ops","outcome":"posted","ids":["x/ops"],"place":{"sequence":0,"number":0},"at":"2026-01-01T00:00:00Z","tries":1}"#;
            js.publish("hal.sent.ops", receipt.into()).await.unwrap().await.unwrap();
        }
        scene.publish("backup.mysql", &format!("n {n}")).await;
    }
    let whole = async |sink: &WebhookSink| {
        let texts = texts(sink);
        (0..total).all(|n| texts.contains(&format!("n {n}")))
    };
    wait_until("ops has all", SOON, async || whole(&scene.ops).await).await;
    wait_until("dba has all", SOON, async || whole(&scene.dba).await).await;
    assert_eq!((texts(&scene.ops).len(), texts(&scene.dba).len()), (total, total), "none twice");
    wait_until("its receipts are kept", SOON, async || scene.nats.is_through("ops").await).await;
}

/// Each of them cost a consumer and a request, so that a room was silent for minutes after a purge.
#[tokio::test]
async fn entries_that_were_purged_while_they_waited_delay_nobody() {
    let (nats, ops) = (NatsServer::start().await, WebhookSink::start().await);
    ops.always(Answer::status(503));
    let configuration = format!(
        "default_room = \"ops\"\n[rooms.ops.webhook]\nurl = \"{}\"\nallow_private = true\nbatch = 500\n",
        ops.url()
    );
    let relay = Relay::start(&nats.url(), &configuration).await;
    let js = nats.jetstream().await;
    let acks: Vec<_> = futures_util::future::join_all(
        (0..4000).map(|n| js.publish("hal.ops.db1.job", format!("number {n}").into())),
    )
    .await;
    for ack in acks {
        ack.unwrap().await.unwrap();
    }
    let folded = async || relay.get("/metrics").await.1.contains("hal_relay_pending{room=\"ops\"} 4000");
    wait_until("all wait", SOON, folded).await;
    js.get_stream("HAL_OPS").await.unwrap().purge().await.unwrap();
    js.publish("hal.ops.db1.job", "after the purge".into()).await.unwrap().await.unwrap();
    ops.always(Answer::Normal);
    wait_until("the next one is posted", SOON, async || {
        texts(&ops).iter().any(|text| text == "after the purge")
    })
    .await;
}
