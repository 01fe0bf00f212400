//! The sizes of the relay's streams fit the server's storage, and their replicas are as configured.

#![expect(clippy::unwrap_used, reason = "in a test a failed step is a failed test")]

use std::time::Duration;

use async_nats::jetstream::Context;
use tests::wait::SOON;
use tests::{NatsCluster, NatsOptions, NatsServer, Relay, WebhookSink, wait_until};

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
    assert!(relay.log().contains("the number of replicas cannot be changed"), "{}", relay.log());
}
