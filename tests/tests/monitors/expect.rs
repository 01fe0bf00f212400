//! Messages that should have come.

use tellhal::message::Status;
use tests::Bridge;
use tests::wait::SOON;

use super::scene::{Log, monitor};

#[tokio::test]
async fn a_message_that_does_not_come_is_missed_from_the_start_and_over_a_restart() {
    let mut log = Log::start().await;
    let home = tempfile::tempdir().unwrap();
    let url = log.server.url();
    let publish = async |arguments: &[&str]| {
        let mut command = tests::tellhal(&url, home.path());
        command.env("TELLHAL_SOURCE", "db1").args(arguments);
        let sent = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert!(sent.status.success() && sent.stderr.is_empty(), "{sent:?}");
    };
    // Before it is armed.
    publish(&["backup.mysql", "early"]).await;
    let backup = "[monitors.expect]\nseen = \"backup.>\"\nwithin = \"6s\"";
    let runs = "[monitors.expect]\nseen = \"job.>\"\nwithin = \"1s\"\nfinished = true";
    let text = monitor("backup", "", backup) + &monitor("runs", "", runs);
    let mut bridge = Bridge::start(&log.server.url(), &text).await;
    let told = log.wait_for(1).await.remove(0);
    assert!(told.text.starts_with("backup: backup.> has not come within 6s since "), "{}", told.text);
    // The bridge is down while they come: they are read afterwards.
    bridge.process().terminate(SOON).await;
    publish(&["backup.mysql", "done"]).await;
    publish(&["-t", "job.nightly", "--key", "nightly", "--status", "started", "begins"]).await;
    bridge.respawn();
    log.wait_for_one("monitor/backup", Status::Resolved).await;
    let told = log.wait_for_one("monitor/runs/db1/nightly", Status::Failed).await;
    assert!(told.text.contains("has not ended within 1s"), "{}", told.text);
    publish(&["-t", "job.nightly", "--key", "nightly", "--status", "failed", "ends"]).await;
    let told = log.wait_for_one("monitor/runs/db1/nightly", Status::Resolved).await;
    assert!(told.text.starts_with("runs db1/nightly: failed"), "{}", told.text);
}
