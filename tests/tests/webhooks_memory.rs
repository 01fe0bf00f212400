//! The memory that large webhooks take while their messages cannot be kept yet.

use futures_util::future::join_all;
use tests::http::post_with;
use tests::process::memory;
use tests::wait::SOON;
use tests::{Bridge, NatsServer, wait_until};

use crate::webhooks::TOKEN;

/// As many requests as the bridge takes at once, but for some that ask for its health.
const REQUESTS: usize = 60;
const MIB: u64 = 1 << 20;

/// A group of about a mebibyte, the most that is taken.
fn alerts() -> String {
    let filling = "x".repeat(940);
    let alert = |number| {
        format!(
            r#"{{"status":"firing","labels":{{"alertname":"a","number":"{number}"}},"annotations":{{"description":"{filling}"}}}}"#
        )
    };
    let alerts: Vec<String> = (0..1000).map(alert).collect();
    format!(r#"{{"alerts":[{}]}}"#, alerts.join(","))
}

#[tokio::test(flavor = "multi_thread")]
async fn large_requests_take_a_limited_amount_of_memory_while_the_bus_hangs() {
    let mut nats = NatsServer::start().await;
    nats.create_log().await;
    let text = format!("[webhooks.alertmanager]\nsecret = \"{TOKEN}\"\n");
    let mut bridge = Bridge::start(&nats.url(), &text).await;
    let (addr, pid) = (bridge.http(), bridge.process().pid());
    let before = memory(pid);
    nats.process().pause().await;
    let (path, body) = (format!("/in/alertmanager/{TOKEN}"), alerts());
    // Senders that wait in vain are gone after five seconds.
    let mut posts = std::pin::pin!(join_all((0..REQUESTS).map(|_| post_with(addr, &path, &[], &body))));
    let mut most = 0;
    let answers = loop {
        tokio::select! {
            answers = &mut posts => break answers,
            () = tokio::time::sleep(std::time::Duration::from_millis(5)) => most = most.max(memory(pid)),
        }
    };
    nats.process().resume();
    assert!(answers.iter().flatten().all(|(status, _)| *status == 200), "{answers:?}");
    wait_until("some are kept", SOON, async || nats.messages("HAL_OPS").await > 0).await;
    let more = most.saturating_sub(before) / MIB;
    println!("{more} MiB more");
    assert!(more < 40, "{more} MiB for {REQUESTS} requests of 1 MiB");
}
