//! Plugins of Nagios on a host.

use tellhal::message::Status;
use tests::{Bridge, Served};

use super::scene::{Log, monitor};

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_on_a_host_is_a_monitor() {
    let mut log = Log::start().await;
    let text = monitor("disk", "", "[monitors.command]\ncommand = \"check_disk\"\nargs = [\"10%\"]");
    let bridge = Bridge::start(&log.server.url(), &text).await;
    let told = log.wait_for(1).await.remove(0);
    assert_eq!(told.text, "monitor disk cannot be observed: nobody answers check_disk now");
    let mut served = Served::default();
    let verdict = served.path("verdict").display().to_string();
    std::fs::write(&verdict, "0").unwrap();
    let plugin = served
        .program("check_disk", &format!("echo \"DISK at $1: 8% free | /=92%;90;95\"\nexit $(cat {verdict})"));
    served.serve(&log.server.url(), &bridge, &["check_disk", "--arg", "free", "--exec", &plugin]).await;
    log.wait_for(2).await;
    std::fs::write(&verdict, "2").unwrap();
    let told = log.wait_for(3).await.remove(2);
    assert_eq!((told.text.as_str(), told.status), ("disk: DISK at 10%: 8% free", Some(Status::Failed)));
    assert_eq!(told.fields["value"], "92");
    let mut tried = bridge.command(&["monitors", "test", "disk"]);
    let output = tried.env("STATE_DIRECTORY", bridge.dir().join("state")).output().unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains("wrong: DISK at 10%: 8% free"), "{shown}");
    std::fs::write(&verdict, "0").unwrap();
    assert_eq!(log.wait_for(4).await.remove(3).status, Some(Status::Resolved));
}
