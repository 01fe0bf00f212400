//! Monitors that are removed from the configuration while something of them is wrong.

use tellhal::message::Status;
use tests::wait::SOON;
use tests::{Bridge, FakeGraphite, wait_until};

use super::scene::{Log, graphite, looks, monitor};

const REMOVED: &str = "the monitor was removed from the configuration while this was wrong";

#[tokio::test]
async fn a_monitor_that_is_gone_leaves_no_key_open() {
    let (mut log, server) = (Log::start().await, FakeGraphite::start().await);
    for (name, value) in [("db.a.lag", 60.0), ("db.b.lag", 70.0), ("db.c.lag", 1.0), ("disk", 80.0)] {
        server.set(name, &[Some(value)]);
    }
    let lag = monitor("lag", "", &graphite(&server, "db.*.lag", ""));
    let disk = monitor("disk", "severity = \"error\"", &graphite(&server, "disk", ""));
    let url = log.server.url();
    let mut bridges =
        [Bridge::start(&url, &(lag.clone() + &disk)).await, Bridge::start(&url, &(lag + &disk)).await];
    log.wait_for(3).await;

    // In a rollout the other bridge still has the monitor: it is not resolved under its eyes.
    bridges[0].reload(&url, &disk);
    let waits = async || bridges[0].log().contains("another bridge has other monitors");
    wait_until("the first bridge waits", SOON, waits).await;
    log.wait_for(3).await;
    bridges[1].reload(&url, &disk);
    let mut told: Vec<_> = log.wait_for(5).await.split_off(3);
    told.sort_by_key(|message| message.key.clone());
    for (message, series) in told.iter().zip(["db.a.lag", "db.b.lag"]) {
        assert_eq!(message.key.as_deref(), Some(format!("monitor/lag/{series}").as_str()));
        assert_eq!(message.text, format!("lag {series}: {REMOVED}"));
        assert_eq!((message.status, message.tag.as_str()), (Some(Status::Resolved), "monitor.lag"));
    }

    // The last one of all.
    for bridge in &mut bridges {
        bridge.reload(&url, "");
    }
    let told = log.wait_for(6).await.remove(5);
    assert_eq!((told.key.as_deref(), told.status), (Some("monitor/disk"), Some(Status::Resolved)));
    assert_eq!(told.severity, tellhal::Severity::Error);

    // It returns, and is wrong as if for the first time.
    bridges[0].reload(&url, &disk);
    assert_eq!(log.wait_for(7).await[6].status, Some(Status::Failed));
    looks(&server, 2).await;
    log.wait_for(7).await;
}
