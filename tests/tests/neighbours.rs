//! Programs that use only a NATS client: the examples in `neighbours/`, with the official clients.

use std::path::PathBuf;
use std::process::Command;

use tellhal::{Message, Names};
use tests::wait::SOON;
use tests::{NatsServer, Process, Relay, WebhookSink, find, wait_until};

fn example(name: &str) -> PathBuf {
    find::repository().join("tests/neighbours").join(name)
}

/// Starts an example at `url` and waits until it listens; its output is in the log.
async fn listener(command: &mut Command, log: &tempfile::TempDir, url: &str) -> Process {
    let mut process = Process::start("a neighbour", command.arg(url), &log.path().join("log"));
    let file = log.path().join("log");
    process
        .ready("it listens", async || {
            std::fs::read_to_string(&file).is_ok_and(|text| text.contains("listening"))
        })
        .await;
    process
}

/// Publishes plain text with `nats-py`, and returns the example's output.
async fn publish(url: &str, tag: &str, text: &str) -> String {
    let mut command = Command::new(find::python());
    command.arg(example("publish.py")).args([url, "web1", tag, text]);
    let output =
        tokio::task::spawn_blocking(move || command.output()).await.expect("no panic").expect("python");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn python_and_node_print_tag_and_contents() {
    let server = NatsServer::start().await;
    let config = async_nats::jetstream::stream::Config {
        name: "HAL_OPS".into(),
        subjects: vec!["hal.ops.>".into()],
        ..Default::default()
    };
    let jetstream = server.jetstream().await;
    jetstream.create_stream(config).await.unwrap();

    let (python_log, node_log) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut python = Command::new(find::python());
    let python = listener(python.arg(example("subscribe.py")), &python_log, &server.url_as("listener")).await;
    // Node looks for packages beside the script, so both are put into one folder.
    let script = node_log.path().join("subscribe.mjs");
    std::fs::copy(example("subscribe.mjs"), &script).unwrap();
    std::os::unix::fs::symlink(find::node_packages("node"), node_log.path().join("node_modules")).unwrap();
    let mut node = Command::new("node");
    node.arg(&script).env("NATS_USER", "listener").env("NATS_PASSWORD", "listener");
    let node = listener(&mut node, &node_log, &server.url()).await;

    assert_eq!(publish(&server.url(), "deploy.web", "version 7 is out").await, "HAL_OPS 1\n");
    let message = Message::new("db1", "backup.mysql".parse().unwrap(), "Nightly backup finished");
    let subject = Names::default().ops("db1", &message.tag);
    let payload = serde_json::to_vec(&message).unwrap();
    jetstream.publish(subject, payload.into()).await.unwrap().await.unwrap();
    for neighbour in [python, node] {
        for line in ["deploy.web: version 7 is out", "backup.mysql: Nightly backup finished"] {
            wait_until(line, SOON, async || neighbour.log().lines().any(|printed| printed == line)).await;
        }
    }
}

#[tokio::test]
async fn plain_text_from_nats_py_is_relayed() {
    let server = NatsServer::start().await;
    let sink = WebhookSink::start().await;
    let rooms = format!(
        "default_room = \"hook\"\n[rooms.hook.webhook]\nurl = \"{}\"\nallow_private = true\n",
        sink.url()
    );
    let _relay = Relay::start(&server.url(), &rooms).await;
    publish(&server.url(), "deploy.web", "version 7 is out").await;
    wait_until("the room has it", SOON, async || sink.texts() == ["version 7 is out"]).await;
    let delivery = &sink.deliveries()[0].body;
    assert_eq!(delivery["messages"][0]["tag"], "deploy.web", "{delivery}");
}
