//! Each change is told once, whatever is killed, restarted or reconfigured.

use std::time::Duration;

use futures_util::TryStreamExt as _;
use serde_json::{Value, json};
use tellhal::message::{Severity, Status};
use tests::wait::SOON;
use tests::{Bridge, FakeGraphite, wait_until};

use super::scene::{Log, graphite, looks, monitor};

#[tokio::test]
async fn a_state_outlives_a_restart_and_a_changed_configuration() {
    let (mut log, graphite_server) = (Log::start().await, FakeGraphite::start().await);
    graphite_server.set("a.b", &[Some(61.0)]);
    let kind = graphite(&graphite_server, "a.b", "");
    let mut bridge = Bridge::start(&log.server.url(), &monitor("ab", "", &kind)).await;
    log.wait_for(1).await;
    bridge.restart().await;
    looks(&graphite_server, 2).await;
    log.wait_for(1).await;
    bridge.reload(&log.server.url(), &monitor("ab", "severity = \"critical\"", &kind));
    looks(&graphite_server, 3).await;
    log.wait_for(1).await;
    graphite_server.set("a.b", &[Some(1.0)]);
    let told = log.wait_for(2).await.remove(1);
    assert_eq!((told.status, told.severity), (Some(Status::Resolved), Severity::Critical));
    // Without monitors nothing is looked at.
    bridge.reload(&log.server.url(), "");
    wait_until("the bridge looks no more", SOON, async || {
        let before = graphite_server.requests().len();
        tokio::time::sleep(Duration::from_millis(1200)).await;
        graphite_server.requests().len() == before
    })
    .await;
}

/// Kills the bridge that has the lease at many points between an observation and the end of what it leads to.

#[tokio::test]
async fn each_change_is_told_once_whatever_is_killed() {
    let (mut log, graphite_server) = (Log::start().await, FakeGraphite::start().await);
    let kind = graphite(&graphite_server, "a.b", "");
    let text = monitor("ab", "", &kind);
    let mut bridges =
        [Bridge::start(&log.server.url(), &text).await, Bridge::start(&log.server.url(), &text).await];
    // Odd rounds are wrong, even ones good; each of them changes once.
    let rounds = 3;
    for round in 1..=rounds {
        let value = if round % 2 == 1 { 60.0 } else { 1.0 };
        let asked = graphite_server.requests().len();
        graphite_server.set("a.b", &[Some(value)]);
        let mut asked_since = 0;
        wait_until("a look at the new value", SOON, async || {
            asked_since = graphite_server.requests().len() - asked;
            asked_since > 0
        })
        .await;
        // The answer is on its way, the state is stored, the message is published: which of these is so is up to chance.
        tokio::time::sleep(Duration::from_micros(fastrand::u64(0..4000))).await;
        let taken = |bridge: &Bridge| {
            let log = bridge.log();
            log.lines().rfind(|line| line.contains("this bridge looks at the monitors")).map(str::to_owned)
        };
        // A line begins with its time.
        let holder = bridges.iter_mut().max_by_key(|bridge| taken(bridge)).unwrap();
        holder.kill();
        holder.respawn();
        holder.ready().await;
        let told = log.wait_for(round).await;
        let status = if round % 2 == 1 { Status::Failed } else { Status::Resolved };
        assert_eq!(told.last().unwrap().status, Some(status), "{told:#?}");
    }
    looks(&graphite_server, 2).await;
    log.wait_for(rounds).await;
}

#[tokio::test]
async fn a_message_that_the_log_has_and_the_state_does_not_know_of_is_not_told_again() {
    let (mut log, graphite_server) = (Log::start().await, FakeGraphite::start().await);
    graphite_server.set("a.b", &[Some(60.0)]);
    let text = monitor("ab", "", &graphite(&graphite_server, "a.b", ""));
    let mut bridge = Bridge::start(&log.server.url(), &text).await;
    let told = log.wait_for(1).await.remove(0);
    bridge.kill();
    // The state is as if the bridge had been killed between the log's answer and the note of it.
    let memory = log.server.jetstream().await.get_key_value("HAL_BRIDGE").await.unwrap();
    let key = memory.keys().await.unwrap().try_next().await.unwrap().unwrap();
    let state =
        async || -> Value { serde_json::from_slice(&memory.get(&key).await.unwrap().unwrap()).unwrap() };
    let mut left = state().await;
    assert_eq!(left["pending"], Value::Null, "{left}");
    left["pending"] = json!([told]);
    memory.put(&key, left.to_string().into()).await.unwrap();
    bridge.respawn();
    wait_until("it is noted", SOON, async || state().await.get("pending").is_none()).await;
    looks(&graphite_server, 2).await;
    log.wait_for(1).await;
}
