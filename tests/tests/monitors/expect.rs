//! Messages that should have come.

use tellhal::Message;
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

#[tokio::test]
async fn a_message_that_has_not_come_by_its_time_is_missed_and_told_when_it_comes() {
    let mut log = Log::start().await;
    // The clock of a zone is far from that of UTC, so that the zone for all counts.
    let zone = jiff::tz::TimeZoneDatabase::bundled().get("Asia/Tokyo").unwrap();
    let due = jiff::Zoned::now().with_time_zone(zone) + jiff::Span::new().seconds(4);
    let expect = format!(
        "[monitors.expect]\nseen = \"backup.>\"\nat = \"{}\"\nwithin = \"2s\"\ngrace = \"1s\"",
        due.strftime("%H:%M:%S")
    );
    let text = format!("zone = \"Asia/Tokyo\"\n{}", monitor("backup", "", &expect));
    let _bridge = Bridge::start(&log.server.url(), &text).await;
    let told = log.wait_for(1).await.remove(0);
    let late = format!("backup: backup.> has not come by {} JST", due.strftime("%Y-%m-%d %H:%M:%S"));
    assert_eq!(told.text.lines().next(), Some(late.as_str()));
    let message = Message::new("db1", "backup.mysql".parse().unwrap(), "done");
    let payload = serde_json::to_vec(&message).unwrap().into();
    log.server.jetstream().await.publish("hal.ops.db1.backup.mysql", payload).await.unwrap().await.unwrap();
    assert_eq!(log.wait_for(2).await[1].status, Some(Status::Resolved));
}
