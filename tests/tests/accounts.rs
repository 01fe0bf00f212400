//! A server on which everybody may do only their part: hosts, listeners and handlers in accounts of their own. A command
//! is answered across them, and nobody but the bridge can make a handler do anything.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::time::Duration;

use async_nats::{Client, ConnectOptions};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tests::wait::SOON;
use tests::{Bridge, NatsOptions, NatsServer, Port, Relay, Served, tellhal, wait_until};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

const ACCOUNTS: &str = include_str!("accounts.conf");

fn url(nats: &NatsServer, user: &str) -> String {
    format!("nats://{user}:pw-{user}@127.0.0.1:{}", nats.port())
}

async fn client(nats: &NatsServer, user: &str) -> Client {
    let options = ConnectOptions::with_user_and_password(user.into(), format!("pw-{user}"));
    options.connect(format!("127.0.0.1:{}", nats.port())).await.unwrap()
}

async fn ask(client: &Client, line: &str) -> String {
    let inbox = client.new_inbox();
    let mut replies = client.subscribe(inbox.clone()).await.unwrap();
    let line = json!({ "v": 1, "id": format!("{:x}", fastrand::u64(..)), "token": "ann", "line": line });
    client.publish_with_reply("hal.ask.page", inbox, line.to_string().into()).await.unwrap();
    loop {
        let reply =
            timeout(SOON, replies.next()).await.unwrap_or_else(|_| panic!("no answer to {line}")).unwrap();
        let reply: Value = serde_json::from_slice(&reply.payload).unwrap();
        if let Some(answer) = reply["answer"].as_str() {
            return answer.to_owned();
        }
    }
}

#[tokio::test]
async fn nobody_but_the_bridge_makes_a_handler_do_anything() {
    let nats = NatsServer::with(NatsOptions { extra: ACCOUNTS.into(), ..NatsOptions::default() }).await;
    let port = Port::free();
    let people = format!(
        "[[people]]\nname = \"ann\"\nroles = [\"operator\"]\npage = \"ann\"\n[[commands]]\nname = \"*\"\nallow = [\"operator\"]\n\
         [handlers.nats]\nurl = \"{}\"\n[tcp]\nlisten = \"{}\"\n",
        url(&nats, "bridge-cmd"),
        port.addr()
    );
    let _relay = Relay::start(&url(&nats, "relay"), "default_room = \"page\"\n").await;
    let bridge = Bridge::start(&url(&nats, "bridge"), &people).await;
    let mut served = Served::default();
    let ran = served.path("ran");
    let deploy = served.program("deploy", &format!("echo x >> {}; echo deployed", ran.display()));
    served.serve(&url(&nats, "handler"), &bridge, &["deploy", "--exec", &deploy]).await;
    let runs = || std::fs::read_to_string(&ran).map_or(0, |text| text.lines().count());
    let main = client(&nats, "relay").await;
    assert_eq!(ask(&main, "deploy").await, "deployed");
    assert_eq!(ask(&main, "deploy --each").await.split(": ").nth(1), Some("deployed"));
    assert_eq!(runs(), 2);
    // The relay's own answers come out of another account than those of handlers.
    assert!(ask(&main, "rooms").await.starts_with("page  page"));
    let help = ask(&main, "help").await;
    assert!(help.contains("deploy") && help.contains("trace ID"), "{help}");

    // A handler serves no other's command.
    let other = tellhal(&url(&nats, "handler"), served.dir())
        .args(["serve", "reboot", "--exec", "true", "--bridge-key", &bridge.key()])
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&other.stderr).into_owned();
    assert_eq!(other.status.code(), Some(77), "{stderr}");
    assert!(
        stderr.contains("serving needs a handler's credentials") && !stderr.contains("pw-handler"),
        "{stderr}"
    );

    // Everything that others can put on a command's subject.
    let request = json!({
        "v": 1, "id": "x1", "subject": "hal.cmd.deploy", "command": "deploy", "room": "main/#ops", "timeout_ms": 5000,
        "expires": "2099-01-01T00:00:00Z", "person": "ann",
    })
    .to_string();
    for user in ["db1", "listener", "handler"] {
        let client = client(&nats, user).await;
        for subject in ["hal.cmd.deploy", "hal.cmd._each.deploy", "hal.ask.page", "hal.audit.done.deploy"] {
            client.publish_with_reply(subject, "_INBOX.x", request.clone().into()).await.unwrap();
        }
        client.flush().await.unwrap();
    }
    // An acknowledgement of the log, and a pulled message, that are steered onto the command.
    let host = client(&nats, "db1").await;
    host.publish_with_reply("hal.ops.db1.deploy", "hal.cmd.deploy", request.clone().into()).await.unwrap();
    host.flush().await.unwrap();
    let listener = client(&nats, "listener").await;
    let create = json!({
        "stream_name": "HAL_OPS",
        "config": { "durable_name": "listen-listener-x", "ack_policy": "none", "deliver_policy": "all" }
    });
    let created = listener
        .request("$JS.API.CONSUMER.CREATE.HAL_OPS.listen-listener-x", create.to_string().into())
        .await
        .unwrap();
    assert!(!String::from_utf8_lossy(&created.payload).contains("error"), "{created:?}");
    let pull = "$JS.API.CONSUMER.MSG.NEXT.HAL_OPS.listen-listener-x";
    listener
        .publish_with_reply(pull, "hal.cmd.deploy", json!({ "batch": 10 }).to_string().into())
        .await
        .unwrap();
    listener.flush().await.unwrap();
    // A tag that looks like an entry of the audit is a message like others, of the port's own source.
    let mut stream = TcpStream::connect(port.addr()).await.unwrap();
    stream.write_all(b"audit.deploy\nann deployed").await.unwrap();
    drop(stream);
    let js = async_nats::jetstream::new(main.clone());
    let log = js.get_stream("HAL_OPS").await.unwrap();
    let sent = async || log.get_last_raw_message_by_subject("hal.ops.in-tcp.audit.deploy").await.is_ok();
    wait_until("the message is in the log", SOON, sent).await;
    assert_eq!(ask(&main, "deploy").await, "deployed");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(runs(), 3, "only what the bridge asked has run: {}", served.log(0));
    let audit = js.get_stream("HAL_AUDIT").await.unwrap();
    let forged = audit.get_last_raw_message_by_subject("hal.audit.done.deploy").await.unwrap();
    let entry: Value = serde_json::from_slice(&forged.payload).unwrap();
    assert!(entry["kind"] == "done" && entry["text"] == "deployed", "{entry}");
}
