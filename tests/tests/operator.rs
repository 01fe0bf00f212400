//! An operator's commands beside the page: the same facts, and the operator's name in what they leave behind.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::process::Output;

use serde_json::Value;
use tests::http::post_as;
use tests::wait::SOON;
use tests::{Answer, NatsServer, Relay, WebhookSink, wait_until};

const TOKEN: &str = "oncall-0123456789abcdef";
const ID: &str = "0193a5b0-7c00-7000-8000-000000000001";

fn text(output: &Output) -> String {
    assert!(!output.stdout.contains(&0x1b), "there are no colours in a pipe");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

struct Scene {
    nats: NatsServer,
    sink: WebhookSink,
    relay: Relay,
}

impl Scene {
    async fn start(answer: u16) -> Scene {
        let (nats, sink) = (NatsServer::start().await, WebhookSink::start().await);
        sink.always(Answer::status(answer));
        let config = format!(
            "default_room = \"hook\"\n[rooms.hook.webhook]\nurl = \"{}\"\nallow_private = true\n\
             [[page.tokens]]\nname = \"oncall\"\nrole = \"operator\"\ntoken = \"{TOKEN}\"\n",
            sink.url()
        );
        let relay = Relay::start(&nats.url(), &config).await;
        let scene = Scene { nats, sink, relay };
        let js = scene.nats.jetstream().await;
        let body = format!(r#"{{"v":1,"id":"{ID}","text":"backup failed","severity":"error"}}"#);
        js.publish("hal.ops.db1.backup.mysql", body.into()).await.unwrap().await.unwrap();
        scene
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.relay.command(arguments);
        command.env_remove("SUDO_USER").env("LOGNAME", "alice").output().unwrap()
    }

    async fn message(&self) -> Value {
        let (status, body) = self.relay.get(&format!("/api/messages/{ID}")).await;
        if status == 200 { serde_json::from_str(&body).unwrap() } else { Value::Null }
    }

    async fn until_dead(&self) -> Value {
        let mut letters = Value::Null;
        wait_until("there is a dead letter", SOON, async || {
            letters = serde_json::from_str(&self.relay.get("/api/dead").await.1).unwrap();
            letters["letters"].as_array().is_some_and(|letters| letters.len() == 1)
        })
        .await;
        letters["letters"][0].clone()
    }
}

#[tokio::test]
async fn page_and_trace_say_why_a_message_waits() {
    let scene = Scene::start(503).await;
    let mut waits = Value::Null;
    wait_until("the page says it", SOON, async || {
        let steps = scene.message().await["rooms"][0]["steps"].clone();
        waits = steps[0]["waits"].clone();
        waits["next_try"].is_string() && waits["pending"] == 1
    })
    .await;
    assert!(waits["answer"].as_str().unwrap().contains("503"), "{waits}");
    assert!(waits["failing_since"].is_string() && waits["answered_at"].is_string(), "{waits}");
    // The command reads what the leader tells every two seconds.
    let is_traced = async || {
        let trace = text(&scene.run(&["trace", ID]));
        trace.contains("waiting") && trace.contains("the room has failed since") && trace.contains("503")
    };
    wait_until("trace says it", SOON, is_traced).await;
    let status = scene.run(&["status"]);
    assert_eq!(status.status.code(), Some(1));
    assert!(text(&status).contains("✗ rooms    hook: the room has failed since"), "{}", text(&status));
}

#[tokio::test]
async fn commands_say_what_the_page_says_and_who_acted() {
    let scene = Scene::start(404).await;
    let letter = scene.until_dead().await;
    assert_eq!(letter["headline"], "backup failed");
    let list = text(&scene.run(&["dead", "list"]));
    assert!(list.contains("hook  error backup.mysql: backup failed\n    ✗ "), "{list}");
    let room = async || {
        let rooms = text(&scene.run(&["rooms"]));
        let row = rooms.lines().find(|line| line.starts_with("hook ")).unwrap_or_default().to_owned();
        row.contains("broken") && row.contains("  0        1     ") && rooms.contains("last error at 20")
    };
    wait_until("the table of rooms has the dead letter and the error", SOON, room).await;
    let status = scene.run(&["status"]);
    let lines = text(&status);
    assert!(status.status.code() == Some(1) && lines.lines().count() <= 10, "{lines}");
    assert!(lines.contains("✗ dead     1 of hook") && lines.contains("✓ leader   a relay leads"), "{lines}");

    let retry = format!("/api/dead/{}/retry", letter["sequence"]);
    assert_eq!(post_as(scene.relay.http(), TOKEN, &retry, "").await.unwrap().0, 204);
    let again = async || text(&scene.run(&["trace", ID])).contains("tried again by oncall; before: ");
    wait_until("the trace has the name", SOON, again).await;
    let letter = scene.until_dead().await;

    // The beginning of the message's id names its letter.
    let retried = scene.run(&["dead", "retry", &ID[..10]]);
    assert!(text(&retried).contains("will be tried again"), "{retried:?}");
    assert!(text(&scene.run(&["trace", ID])).contains("tried again by alice; before: "));
    wait_until("the next letter is there", SOON, async || {
        scene.until_dead().await["sequence"] != letter["sequence"]
    })
    .await;
    scene.sink.always(Answer::status(200));
    scene.run(&["dead", "retry", &ID[..10]]);
    wait_until("it is posted", SOON, async || scene.message().await["rooms"][0]["state"] == "posted").await;
    let page = scene.message().await.to_string();
    assert!(page.contains("tried again by oncall") && page.contains("tried again by alice"), "{page}");
    let trace = text(&scene.run(&["trace", ID]));
    assert!(trace.trim_end().ends_with("hook: posted"), "{trace}");
    let is_well = async || {
        let status = scene.run(&["status"]);
        status.status.success() && text(&status).contains("all is well")
    };
    wait_until("all is well", SOON, is_well).await;
    let none = scene.run(&["dead", "retry", &ID[..10]]);
    assert!(!none.status.success());
}
