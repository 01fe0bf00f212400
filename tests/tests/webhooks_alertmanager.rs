//! A real Alertmanager with Debian's own configuration, whose first receiver is the bridge.

use std::process::Command;

use serde_json::json;
use tellhal::Timestamp;
use tellhal::message::{Severity, Status};
use tests::http::{get, post};
use tests::{Bridge, NatsServer, Port, Process, find};

use crate::webhooks::{TOKEN, messages};

/// Debian's configuration, with `url` as the receiver of all that no route is for, and without its waits of half a minute and more.
fn configuration(url: &str) -> String {
    let debian = std::fs::read_to_string("/etc/prometheus/alertmanager.yml").expect("Debian's configuration");
    let [root, wait, interval] = ["receiver: team-X-mails", "group_wait: 30s", "group_interval: 5m"];
    assert!([root, wait, interval].iter().all(|line| debian.contains(line)), "{debian}");
    let ours = debian.replacen(root, "receiver: hal", 1);
    let ours = ours.replacen(wait, "group_wait: 0s", 1).replacen(interval, "group_interval: 1s", 1);
    format!("{}\n- name: hal\n  webhook_configs:\n  - url: {url}\n", ours.trim_end())
}

fn start(dir: &std::path::Path, port: &Port, bridge: &Bridge) -> Process {
    let file = dir.join("alertmanager.yml");
    let url = format!("http://{}/in/alertmanager/{TOKEN}", bridge.http());
    std::fs::write(&file, configuration(&url)).expect("its configuration");
    let mut command = Command::new(find::theirs("prometheus-alertmanager"));
    command.arg("--config.file").arg(file).arg("--storage.path").arg(dir.join("data"));
    command.arg("--web.listen-address").arg(port.addr().to_string()).arg("--cluster.listen-address=");
    Process::start("alertmanager", &mut command, &dir.join("log"))
}

#[tokio::test]
async fn an_alert_of_a_real_alertmanager_fires_and_is_resolved_under_one_key() {
    let nats = NatsServer::start().await;
    nats.create_log().await;
    let text = format!("[webhooks.alertmanager]\nsecret = \"{TOKEN}\"\n");
    let mut bridge = Bridge::start(&nats.url(), &text).await;
    let (dir, port) = (tempfile::tempdir().expect("a folder"), Port::free());
    let mut alertmanager = start(dir.path(), &port, &bridge);
    let is_ready = async || matches!(get(port.addr(), "/-/ready").await, Ok((200, _)));
    alertmanager.ready("/-/ready answers 200", is_ready).await;

    let begun = Timestamp::now();
    let alert = async |ends: Option<Timestamp>| {
        let mut alert = json!({
            "labels": { "alertname": "DiskFull", "instance": "db1:9100", "job": "node", "severity": "critical" },
            "annotations": { "summary": "/var is at 99 > 95 %", "description": "Clean up.", "runbook_url": "https://r.example/disk" },
            "startsAt": begun.to_string(),
            "generatorURL": "http://prometheus.example/graph?g0.expr=a&g0.tab=1",
        });
        if let Some(ends) = ends {
            alert["endsAt"] = ends.to_string().into();
        }
        let answer =
            post(port.addr(), "/api/v2/alerts", &json!([alert]).to_string()).await.expect("an answer");
        assert_eq!(answer.0, 200, "{}", answer.1);
    };
    alert(None).await;
    let (subject, firing) = messages(&nats, 1).await.remove(0);
    assert_eq!(subject, "hal.ops.in-alertmanager.alertmanager.DiskFull");
    assert_eq!(firing.title.as_deref(), Some("DiskFull: /var is at 99 > 95 %"));
    assert_eq!((firing.severity, firing.status), (Severity::Critical, Some(Status::Failed)));
    assert_eq!((firing.text.as_str(), firing.fields["instance"].as_str()), ("Clean up.", "db1:9100"));
    let links: Vec<&str> = firing.links.iter().map(|link| link.url.as_str()).collect();
    assert_eq!(links, ["http://prometheus.example/graph?g0.expr=a&g0.tab=1", "https://r.example/disk"]);

    // Alertmanager repeats what no bridge has taken.
    bridge.kill();
    alert(Some(Timestamp::now())).await;
    let is_repeated = async || {
        let metrics = get(port.addr(), "/metrics").await.map_or_else(|_| String::new(), |(_, text)| text);
        let failed = "alertmanager_notification_requests_failed_total{integration=\"webhook\"} ";
        metrics.lines().any(|line| line.strip_prefix(failed).is_some_and(|count| count != "0"))
    };
    tests::wait_until("Alertmanager has found no bridge", tests::wait::SOON, is_repeated).await;
    bridge.restart().await;
    let both = messages(&nats, 2).await;
    let resolved = &both[1].1;
    assert_eq!((resolved.status, &resolved.key), (Some(Status::Resolved), &firing.key));
    assert!(firing.key.is_some() && both.len() == 2, "{both:?}");
}
