//! The operator's commands: where a message would go (`explain`), where it went (`trace`), the deliveries that a room
//! refused (`dead`), a test of a room (`rooms test`), and the configurations of this repository (`check`).
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::path::Path;
use std::process::{Command, Output};

use tests::wait::SOON;
use tests::{Answer, NatsServer, Relay, WebhookSink, find, tellhal, wait_until};

struct Ran {
    status: Option<i32>,
    out: String,
    err: String,
}

/// Runs a command without blocking the fakes, which are in this process.
async fn run(mut command: Command) -> Ran {
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
    let Output { status, stdout, stderr } = output.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { status: status.code(), out: text(stdout), err: text(stderr) }
}

async fn relay(arguments: &[&str], config: &Path) -> Ran {
    let mut command = Command::new(find::ours("hal-relay"));
    // The variable is set as by `deploy/up`.
    command.args(arguments).arg("--config").arg(config).env("HAL_OPERATOR_TOKEN", "5e".repeat(24));
    run(command).await
}

/// `deploy/relay.toml` without the comment signs before its examples.
fn with_examples() -> String {
    let text = std::fs::read_to_string(find::repository().join("deploy/relay.toml")).unwrap();
    let is_key = |line: &str| {
        line.split_once(" = ").is_some_and(|(key, _)| key.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
    };
    let example = |line: &str| {
        line.strip_prefix("# ").filter(|rest| rest.starts_with('[') || is_key(rest)).map(str::to_owned)
    };
    text.lines().map(|line| example(line).unwrap_or_else(|| line.to_owned()) + "\n").collect()
}

#[tokio::test]
async fn the_configurations_in_deploy_are_valid_with_their_examples_too() {
    let dir = tempfile::tempdir().unwrap();
    let (deploy, keys) = (dir.path().join("deploy"), dir.path().join(".tellhal/users/keys"));
    let (file, token) = (deploy.join("examples.toml"), dir.path().join("token"));
    // The keys that deploy/up makes.
    for folder in [&deploy, &keys] {
        std::fs::create_dir_all(folder).unwrap();
    }
    for name in ["relay", "bridge", "commands"] {
        std::fs::copy(tests::users::key(name), keys.join(format!("{name}-main.nk"))).unwrap();
    }
    for name in ["relay.toml", "bridge.toml"] {
        std::fs::copy(find::repository().join("deploy").join(name), deploy.join(name)).unwrap();
    }
    std::fs::write(&token, "xoxb-1-example").unwrap();
    let text = with_examples();
    assert!(
        text.contains("\n[rooms.ops.irc]\n") && text.contains("\nname = \"database-errors\"\n"),
        "{text}"
    );
    let named = |text: String, secret: &str| {
        text.replace(&format!("/run/credentials/hal-relay.service/{secret}"), token.to_str().unwrap())
    };
    std::fs::write(&file, ["slack", "xmpp"].into_iter().fold(text, named)).unwrap();
    for (path, want) in [(&deploy.join("relay.toml"), "1 route,"), (&file, "4 rooms, 2 routes,")] {
        let ran = relay(&["check"], path).await;
        assert_eq!((ran.status, ran.err.as_str()), (Some(0), ""));
        assert!(ran.out.contains(want), "{}", ran.out);
    }
    let mut bridge = Command::new(find::ours("hal-bridge"));
    bridge.args(["check", "--config"]).arg(deploy.join("bridge.toml"));
    let ran = run(bridge).await;
    assert_eq!((ran.status, ran.err.as_str()), (Some(0), ""));
}

#[tokio::test]
async fn explain_says_which_routes_why_and_what_each_room_shows() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("relay.toml");
    std::fs::write(&file, with_examples().replace("rooms = [\"page\"]", "rooms = [\"page\", \"ops\"]"))
        .unwrap();
    let ran = relay(&["explain", "backup.mysql", "--severity", "error", "no space left"], &file).await;
    assert_eq!(ran.status, Some(0), "{}", ran.err);
    let lines: Vec<&str> = ran.out.lines().map(str::trim).collect();
    for want in [
        "error backup.mysql from host",
        "✓ backups → page, ops",
        "tag backup.mysql is covered by backup.>",
        "✓ database-errors → dba",
        "tag backup.mysql is covered by *.mysql",
        "page (page, by backups)",
        "ops (irc, by backups)",
        "dba (slack, by database-errors)",
    ] {
        assert!(lines.contains(&want), "{want:?} in\n{}", ran.out);
    }
    let shown = lines.iter().filter(|line| **line == "│ ERROR [backup.mysql] host: no space left").count();
    assert_eq!(shown, 3, "each room shows it:\n{}", ran.out);
    assert!(ran.out.contains("severity error is error or above"), "why:\n{}", ran.out);
    assert!(ran.out.contains("repeats within 10m are counted"), "{}", ran.out);
    // Without the token, the room's own format is not known, and the text says so.
    assert!(ran.out.contains("not as slack would show it") && ran.out.contains("token_file"), "{}", ran.out);

    let ran = relay(&["explain", "backup.mysql", "all is well"], &file).await;
    assert!(ran.out.contains("✗ database-errors: "), "{}", ran.out);
    assert!(!ran.out.contains("dba (slack"), "{}", ran.out);
    let ran = relay(&["explain", "deploy.web", "out"], &file).await;
    assert!(ran.out.contains("the default room, because no route takes it"), "{}", ran.out);
    let ran = relay(&["explain", "backup.mysql", "--severity", "error", "--json"], &file).await;
    let report: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let rooms: Vec<_> = report["rooms"].as_array().unwrap().iter().map(|room| room["room"].clone()).collect();
    assert!(["page", "ops", "dba"].iter().all(|name| rooms.contains(&(*name).into())), "{report}");
    let ran = relay(&["explain", "bad tag"], &file).await;
    assert_eq!(ran.status, Some(64), "{}", ran.err);
}

struct Scene {
    nats: NatsServer,
    hook: WebhookSink,
    relay: Relay,
    home: tempfile::TempDir,
}

impl Scene {
    async fn start() -> Scene {
        let (nats, hook) = (NatsServer::start().await, WebhookSink::start().await);
        let rooms = format!(
            "default_room = \"page\"\n[[routes]]\nname = \"backups\"\ntag = \"backup.>\"\nrooms = [\"hook\"]\n\
             [rooms.hook.webhook]\nurl = \"{}\"\nallow_private = true\n",
            hook.url()
        );
        let relay = Relay::start(&nats.url(), &rooms).await;
        Scene { nats, hook, relay, home: tempfile::tempdir().unwrap() }
    }

    async fn send(&self, text: &str) {
        let mut command = tellhal(&self.nats.url(), self.home.path());
        command.env("TELLHAL_SOURCE", "db1").args(["backup.mysql", text]);
        assert_eq!(run(command).await.status, Some(0));
    }

    async fn ask(&self, arguments: &[&str]) -> Ran {
        run(self.relay.command(arguments)).await
    }

    /// The dead letters' ids and texts, once there are `count`.
    async fn dead(&self, count: usize) -> Vec<(String, String)> {
        let list = async || {
            let ran = self.ask(&["dead", "list", "--json"]).await;
            let letters: Vec<serde_json::Value> = serde_json::from_str(&ran.out).unwrap();
            let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
            letters
                .iter()
                .map(|letter| (text(&letter["id"]), text(&letter["message"]["text"])))
                .collect::<Vec<_>>()
        };
        wait_until(&format!("{count} dead letters"), SOON, async || list().await.len() == count).await;
        list().await
    }
}

#[tokio::test]
async fn trace_says_where_a_message_went() {
    let scene = Scene::start().await;
    scene.hook.next([Answer::status(503)]);
    scene.send("Nightly backup finished").await;
    wait_until("it is posted", SOON, async || scene.hook.texts().len() == 1).await;
    let id = scene.hook.deliveries()[0].message_ids()[0].clone();
    let posted = async || scene.ask(&["trace", &id]).await.out.contains("hook: posted at try 2");
    wait_until("its receipt is there", SOON, posted).await;
    let ran = scene.ask(&["trace", &id]).await;
    let first = ran.out.lines().next().unwrap();
    assert!(first.starts_with(&format!("{id}  backup.mysql info from db1")), "{}", ran.out);
    assert!(first.ends_with(": Nightly backup finished"), "{}", ran.out);
    assert!(ran.out.contains("in the log at sequence "), "{}", ran.out);
    let ran = scene.ask(&["trace", "01234567"]).await;
    assert_eq!(ran.status, Some(1), "{}", ran.err);
    assert!(ran.err.contains("no message 01234567 in HAL_OPS"), "{}", ran.err);
}

#[tokio::test]
async fn dead_letters_are_listed_tried_again_or_given_up() {
    let scene = Scene::start().await;
    scene.hook.next([Answer::status(400), Answer::status(413)]);
    scene.send("wanted").await;
    scene.dead(1).await;
    scene.send("not wanted").await;
    let dead = scene.dead(2).await;
    assert_eq!((dead[0].1.as_str(), dead[1].1.as_str()), ("wanted", "not wanted"));
    let ran = scene.ask(&["dead", "list", "hook"]).await;
    for (letter, status) in dead.iter().zip(["400", "413"]) {
        let lines: Vec<&str> = ran.out.lines().collect();
        let id = lines.iter().position(|line| line.contains(&letter.0)).unwrap();
        assert!(lines[id - 1].contains(&format!("127.0.0.1: answered {status}")), "{}", ran.out);
    }
    let ran = scene.ask(&["dead", "retry", "nobody/hook"]).await;
    assert_eq!(ran.status, Some(1));
    assert!(ran.err.contains("there is no dead letter nobody/hook"), "{}", ran.err);

    let ran = scene.ask(&["dead", "retry", &dead[0].0]).await;
    assert_eq!(ran.status, Some(0), "{}", ran.err);
    wait_until("it arrives after all", SOON, async || scene.hook.texts() == ["wanted"]).await;
    let ran = scene.ask(&["dead", "drop", &dead[1].0]).await;
    assert_eq!(ran.status, Some(0), "{}", ran.err);
    scene.dead(0).await;
    scene.send("the next").await;
    wait_until("the next arrives", SOON, async || scene.hook.texts() == ["wanted", "the next"]).await;
}

#[tokio::test]
async fn a_room_is_tested_with_a_real_message() {
    let scene = Scene::start().await;
    let ran = scene.ask(&["rooms", "test", "hook"]).await;
    assert_eq!((ran.status, scene.hook.texts().len()), (Some(0), 1), "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("hook"), "{}", ran.out);
    scene.hook.always(Answer::status(401));
    let ran = scene.ask(&["rooms", "test"]).await;
    assert_eq!(ran.status, Some(1), "{}{}", ran.out, ran.err);
    assert!(format!("{}{}", ran.out, ran.err).contains("answered 401"), "{}{}", ran.out, ran.err);
    let ran = scene.ask(&["rooms", "test", "nowhere"]).await;
    assert!(ran.status != Some(0) && ran.err.contains("nowhere"), "{}", ran.err);
}
