//! The sizes of the relay's streams fit the server's storage, and their replicas are as configured.

#![expect(clippy::unwrap_used, reason = "in a test a failed step is a failed test")]

use std::time::Duration;

use async_nats::jetstream::Context;
use serde_json::Value;
use tests::wait::SOON;
use tests::{Bridge, NatsCluster, NatsOptions, NatsServer, Relay, WebhookSink, wait_until};

const STREAMS: [&str; 5] = ["HAL_OPS", "HAL_SENT", "HAL_DEAD", "KV_HAL_STATE", "OBJ_HAL_FILES"];

fn store(size: &str) -> NatsOptions {
    NatsOptions { max_store: Some(size.into()), ..NatsOptions::default() }
}

#[tokio::test]
async fn a_small_store_is_enough_and_one_that_is_too_small_says_what_to_set() {
    let (mut nats, sink) = (NatsServer::with(store("12MB")).await, WebhookSink::start().await);
    let hook = format!("[rooms.hook.webhook]\nurl = \"{}\"\nallow_private = true\n", sink.url());
    let mut relay = Relay::spawn(&nats.url(), &format!("default_room = \"hook\"\n{hook}"));
    let says = async || match tests::http::get(relay.http(), "/readyz").await {
        Ok((503, text)) => text.contains("set max_file_store of nats-server's jetstream"),
        _ => false,
    };
    wait_until("/readyz says what to set", SOON, says).await;
    let lines = relay.log().lines().filter(|line| line.contains("too little storage")).count();
    assert_eq!(lines, 1, "{}", relay.log());

    nats.reconfigure(&store("32MiB"));
    nats.restart().await;
    relay.ready().await;
    nats.jetstream().await.publish("hal.ops.db1.job", "text".into()).await.unwrap().await.unwrap();
    wait_until("the room has it", SOON, async || sink.texts() == ["text"]).await;
}

async fn replicas(js: &Context) -> Vec<usize> {
    let mut replicas = Vec::new();
    for stream in STREAMS {
        replicas.push(js.get_stream(stream).await.unwrap().cached_info().config.num_replicas);
    }
    replicas
}

#[tokio::test]
async fn replicas_are_applied_to_every_stream_also_to_those_that_exist() {
    let cluster = NatsCluster::start(3, &NatsOptions::default()).await;
    let (url, js) = (cluster.servers[0].url(), cluster.servers[0].jetstream().await);
    let configuration = |replicas: &str| format!("default_room = \"page\"\n{replicas}\n");
    for (setting, want) in [("", 1), ("replicas = 3", 3), ("", 3), ("replicas = 1", 1)] {
        let mut relay = Relay::start(&url, &configuration(setting)).await;
        assert_eq!(replicas(&js).await, [want; 5], "{setting}");
        relay.process().terminate(Duration::from_secs(20)).await;
    }
}

#[tokio::test]
async fn in_a_cluster_too_the_streams_fit_into_a_small_store() {
    let cluster = NatsCluster::start(3, &store("64MB")).await;
    let _relay = Relay::start(&cluster.servers[0].url(), "default_room = \"page\"\nreplicas = 3\n").await;
    assert_eq!(replicas(&cluster.servers[0].jetstream().await).await, [3; 5]);
}

#[tokio::test]
async fn replicas_that_a_single_server_cannot_give_are_told() {
    let nats = NatsServer::start().await;
    let relay = Relay::spawn(&nats.url(), "default_room = \"page\"\nreplicas = 3\n");
    let says = async || match tests::http::get(relay.http(), "/readyz").await {
        Ok((503, text)) => text.contains("replicas > 1 not supported in non-clustered mode"),
        _ => false,
    };
    wait_until("/readyz says so", SOON, says).await;
    drop(relay);

    drop(Relay::start(&nats.url(), "default_room = \"page\"\n").await);
    let relay = Relay::start(&nats.url(), "default_room = \"page\"\nreplicas = 3\n").await;
    assert!(relay.log().contains("cannot be changed from 1 to 3"), "{}", relay.log());
}

const MIB: i64 = 1 << 20;

async fn size(js: &Context, stream: &str) -> i64 {
    js.get_stream(stream).await.unwrap().cached_info().config.max_bytes / MIB
}

/// Publishes so many messages of about a mebibyte.
async fn fill(js: &Context, subject: &str, count: usize) {
    let payload = vec![b'x'; 1_000_000];
    for _ in 0..count {
        js.publish(subject.to_owned(), payload.clone().into()).await.unwrap().await.unwrap();
    }
}

#[tokio::test]
async fn sizes_are_applied_to_streams_that_exist_and_none_is_made_smaller_than_what_it_holds() {
    let (nats, sink) = (NatsServer::start().await, WebhookSink::start().await);
    let js = nats.jetstream().await;
    let hook = format!("[rooms.hook.webhook]\nurl = \"{}\"\nallow_private = true\n", sink.url());
    let configuration = |sizes: &str| format!("default_room = \"hook\"\n{sizes}\n{hook}");
    let mut relay = Relay::start(&nats.url(), &configuration("")).await;
    let sizes =
        async || [size(&js, "HAL_OPS").await, size(&js, "HAL_SENT").await, size(&js, "HAL_DEAD").await];
    assert_eq!(sizes().await, [2048, 512, 512]);
    fill(&js, "hal.dead.other", 6).await;
    relay.process().terminate(Duration::from_secs(20)).await;

    let smaller = "[streams]\nlog = \"6MiB\"\nreceipts = \"64MiB\"\ndead_letters = \"5MiB\"";
    let relay = Relay::start(&nats.url(), &configuration(smaller)).await;
    assert_eq!(sizes().await, [6, 64, 512]);
    assert!(relay.log().contains("stream HAL_DEAD holds 5.7 MiB"), "{}", relay.log());
    let output = relay.command(&["streams", "--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let streams: Value = serde_json::from_slice(&output.stdout).unwrap();
    let dead = &streams[2];
    assert_eq!((&dead["stream"], &dead["differs"][0]), (&"HAL_DEAD".into(), &"5.0 MiB".into()));
    assert_eq!((&dead["messages"], &dead["max_bytes"]), (&6.into(), &(512 * MIB).into()));

    // Without settings in the configuration no stream differs from it.
    let other = Relay::spawn(&nats.url(), &configuration(""));
    let output = other.command(&["streams"]).output().unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && table.contains("receipts of posts"), "{table}");
}

#[tokio::test]
async fn a_log_that_is_made_smaller_than_what_it_holds_gives_way() {
    let (nats, sink) = (NatsServer::start().await, WebhookSink::start().await);
    let js = nats.jetstream().await;
    let hook = format!("[rooms.hook.webhook]\nurl = \"{}\"\nallow_private = true\n", sink.url());
    let configuration = |sizes: &str| {
        format!(
            "default_room = \"page\"\n{sizes}\n[[routes]]\nname = \"hook\"\ntag = \"job\"\nrooms = \"hook\"\n{hook}"
        )
    };
    let mut relay = Relay::start(&nats.url(), &configuration("")).await;
    fill(&js, "hal.ops.db1.large", 12).await;
    relay.process().terminate(Duration::from_secs(20)).await;

    let _relay = Relay::start(&nats.url(), &configuration("[streams]\nlog = \"8MiB\"")).await;
    assert_eq!(size(&js, "HAL_OPS").await, 8);
    let sent = async || js.publish("hal.ops.db1.job", "text".into()).await.unwrap().await.is_ok();
    wait_until("the log takes messages again", SOON, sent).await;
    wait_until("the room has it", SOON, async || sink.texts().contains(&"text".to_owned())).await;
}

#[tokio::test]
async fn the_bridges_streams_have_their_configured_sizes_and_replicas_too() {
    const BRIDGE: [&str; 3] = ["HAL_AUDIT", "KV_HAL_CLAIMS", "KV_HAL_BRIDGE"];
    let cluster = NatsCluster::start(3, &NatsOptions::default()).await;
    let (url, js) = (cluster.servers[0].url(), cluster.servers[0].jetstream().await);
    let _relay = Relay::start(&url, "default_room = \"page\"\n").await;
    let settings = "replicas = 3\n[streams]\naudit = \"32MiB\"\nclaims = \"16MiB\"\nmemory = \"8MiB\"\n";
    for (setting, replicas, sizes) in [("", 1, [256, 64, 64]), (settings, 3, [32, 16, 8])] {
        let mut bridge = Bridge::start(&url, &format!("{setting}[tcp]\nlisten = \"127.0.0.1:0\"\n")).await;
        for (stream, want) in BRIDGE.into_iter().zip(sizes) {
            let is_so = async || {
                let stream = js.get_stream(stream).await;
                stream.is_ok_and(|stream| {
                    let config = &stream.cached_info().config;
                    (config.num_replicas, config.max_bytes) == (replicas, want * MIB)
                })
            };
            wait_until(&format!("{stream} is as configured"), SOON, is_so).await;
        }
        bridge.process().terminate(Duration::from_secs(20)).await;
    }
}

#[tokio::test]
async fn the_command_streams_sets_replicas_and_says_what_was_refused() {
    let cluster = NatsCluster::start(3, &NatsOptions::default()).await;
    let (url, js) = (cluster.servers[0].url(), cluster.servers[0].jetstream().await);
    let relay = Relay::start(&url, "default_room = \"page\"\n").await;
    let run = |relay: &Relay, arguments: &[&str]| {
        let output = relay.command(arguments).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (status, table, said) = run(&relay, &["streams", "--replicas", "3"]);
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("not there yet: HAL_AUDIT"), "{said}");
    assert_eq!(table.lines().count(), 6, "{table}");
    assert_eq!(replicas(&js).await, [3; 5]);

    let fixed = Relay::spawn(&url, "default_room = \"page\"\nreplicas = 3\n");
    let (status, _, said) = run(&fixed, &["streams", "--replicas", "1"]);
    assert!(status == Some(64) && said.contains("replicas = 3: change it there"), "{said}");
    assert_eq!(run(&fixed, &["streams", "--apply"]).0, Some(0));

    let alone = NatsServer::start().await;
    let relay = Relay::start(&alone.url(), "default_room = \"page\"\n").await;
    let (status, _, said) = run(&relay, &["streams", "--replicas", "3"]);
    assert!(status == Some(1) && said.contains("cannot be changed from 1 to 3"), "{said}");
}
