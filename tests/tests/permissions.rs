//! Credentials that are revoked while services are connected, and hosts without the permission to publish: every message
//! is kept, the reason is reported, and all continues when it is permitted again.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::path::Path;
use std::process::Output;

use tests::wait::SOON;
use tests::{Bridge, NatsOptions, NatsServer, Port, Relay, WebhookSink, tellhal, wait_until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Users of a server: the relay with all permissions, the bridge with its own if `bridge`, and host db1 with its own.
fn users(bridge: bool) -> NatsOptions {
    let bridge = match bridge {
        true => "{ user: bridge, password: pw-bridge }",
        false => "",
    };
    let host = "{ user: db1, password: pw-db1, permissions: { publish: [\"hal.ops.db1.>\"], subscribe: [\"_INBOX.>\"] } }";
    let extra =
        format!("authorization {{ users = [ {{ user: relay, password: pw-relay }}\n{bridge}\n{host} ] }}\n");
    NatsOptions { extra, ..NatsOptions::default() }
}

/// `nats://user:pw-user@…`, as it may stand in a host's configuration.
fn url(nats: &NatsServer, user: &str) -> String {
    format!("nats://{user}:pw-{user}@127.0.0.1:{}", nats.port())
}

async fn relay(nats: &NatsServer, sink: &WebhookSink) -> Relay {
    let url = url(nats, "relay");
    let rooms = format!(
        "default_room = \"hook\"\n[rooms.hook.webhook]\nurl = \"{}\"\nallow_private = true\n",
        sink.url()
    );
    Relay::start(&url, &rooms).await
}

fn spooled(spool: &Path) -> usize {
    std::fs::read_dir(spool.join("new")).map_or(0, Iterator::count)
}

/// Sends a message to the bridge's port; when this returns, it is kept.
async fn send(port: &Port, text: &str) {
    let mut stream = TcpStream::connect(port.addr()).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    tokio::time::timeout(SOON, stream.read_to_end(&mut Vec::new())).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_bridge_whose_credentials_are_revoked_keeps_everything_until_they_are_back() {
    let (mut nats, sink) = (NatsServer::with(users(true)).await, WebhookSink::start().await);
    let _relay = relay(&nats, &sink).await;
    let port = Port::free();
    let tcp = format!("[tcp]\nlisten = \"{}\"\n", port.addr());
    let bridge = Bridge::start(&url(&nats, "bridge"), &tcp).await;
    send(&port, "backup.mysql\nbefore").await;
    wait_until("it arrives", SOON, async || sink.texts() == ["before"]).await;

    nats.reconfigure(&users(false));
    wait_until("the bridge notices", SOON, async || bridge.get("/readyz").await.0 == 503).await;
    send(&port, "backup.mysql\nmeanwhile").await;
    assert_eq!(spooled(&bridge.dir().join("spool")), 1, "{}", bridge.log());
    let named = async || {
        let log = bridge.log().to_lowercase();
        log.contains("authorization violation") || log.contains("not permitted")
    };
    wait_until("the reason is in its log", SOON, named).await;
    assert!(!bridge.log().contains("pw-bridge"), "{}", bridge.log());

    nats.reconfigure(&users(true));
    wait_until("both arrived, once", SOON, async || sink.texts() == ["before", "meanwhile"]).await;
    wait_until("the spool is empty", SOON, async || spooled(&bridge.dir().join("spool")) == 0).await;
}

#[tokio::test]
async fn a_relay_whose_credentials_are_revoked_goes_on_where_it_was() {
    let (mut nats, sink) = (NatsServer::with(users(true)).await, WebhookSink::start().await);
    let relay = relay(&nats, &sink).await;
    let home = tempfile::tempdir().unwrap();
    let tell = |text: &str| {
        let output =
            tellhal(&url(&nats, "db1"), home.path()).env("TELLHAL_SOURCE", "db1").args(["a", text]).output();
        let output = output.unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    };
    tell("one");
    wait_until("it arrives", SOON, async || sink.texts() == ["one"]).await;
    let mut without = users(true);
    without.extra = without.extra.replace("user: relay", "user: nobody");
    nats.reconfigure(&without);
    let named = async || relay.log().to_lowercase().contains("authorization violation");
    wait_until("the relay's log says why", SOON, named).await;
    let tell = |text: &str| {
        let output =
            tellhal(&url(&nats, "db1"), home.path()).env("TELLHAL_SOURCE", "db1").args(["a", text]).output();
        assert!(output.unwrap().status.success());
    };
    tell("two");
    assert!(!relay.log().contains("pw-relay"), "{}", relay.log());
    nats.reconfigure(&users(true));
    wait_until("it goes on", SOON, async || sink.texts() == ["one", "two"]).await;
}

#[tokio::test]
async fn a_host_may_not_publish_for_another_and_gets_the_reason_at_every_call() {
    let (nats, sink) = (NatsServer::with(users(true)).await, WebhookSink::start().await);
    let _relay = relay(&nats, &sink).await;
    let home = tempfile::tempdir().unwrap();
    let call = |source: &str, arguments: &[&str]| -> (Option<i32>, String) {
        let mut command = tellhal(&url(&nats, "db1"), home.path());
        let Output { status, stderr, .. } =
            command.env("TELLHAL_SOURCE", source).args(arguments).output().unwrap();
        (status.code(), String::from_utf8_lossy(&stderr).into_owned())
    };
    for count in 1..=3 {
        let (status, stderr) = call("web1", &["a", "as another"]);
        assert_eq!((status, spooled(&home.path().join("spool"))), (Some(0), count), "{stderr}");
        assert!(stderr.contains("not permitted") && stderr.lines().count() == 1, "{stderr}");
        assert!(!stderr.contains("pw-db1"), "{stderr}");
    }
    let (status, stderr) = call("web1", &["--require-ack", "a", "as another"]);
    assert_eq!(status, Some(77), "{stderr}");
    assert!(stderr.contains("not permitted"), "{stderr}");
    // The host's own message is not delayed by those that are not permitted.
    let (status, _) = call("db1", &["a", "its own"]);
    assert_eq!(status, Some(0));
    wait_until("only its own arrives", SOON, async || sink.texts() == ["its own"]).await;
    assert_eq!(spooled(&home.path().join("spool")), 4);
}
