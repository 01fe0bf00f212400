//! Thresholds on the values of a real Prometheus.

use tests::{Bridge, Port, find};

use super::scene::{Log, monitor};

#[tokio::test]
async fn a_real_prometheus_is_read() {
    let (mut log, port, gone) = (Log::start().await, Port::free(), Port::free());
    let dir = tempfile::tempdir().unwrap();
    let config = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs: [{{job_name: both, static_configs: [{{targets: ['{}', '{}']}}]}}]\n",
        port.addr(),
        gone.addr()
    );
    std::fs::write(dir.path().join("prom.yml"), config).unwrap();
    let mut command = std::process::Command::new(find::theirs("prometheus"));
    command.arg("--config.file").arg(dir.path().join("prom.yml"));
    command.arg("--storage.tsdb.path").arg(dir.path().join("data"));
    command.arg("--web.listen-address").arg(port.addr().to_string());
    let _prometheus = tests::Process::start("prometheus", &mut command, &dir.path().join("log"));
    let of = |query: &str, bound: &str| {
        format!("[monitors.prometheus]\nurl = \"http://{}\"\nquery = \"{query}\"\n{bound}", port.addr())
    };
    let text = monitor("down", "no_data = \"ok\"", &of("up", "below = 1"))
        + &monitor("wrong", "misses = 10", &of("up[", "above = 1"));
    let _bridge = Bridge::start(&log.server.url(), &text).await;
    let mut told = log.wait_for(2).await;
    told.sort_by_key(|message| message.key.clone());
    let series = format!("up{{instance=\"{}\",job=\"both\"}}", gone.addr());
    assert_eq!(told[0].key, Some(format!("monitor/down/{series}")));
    assert_eq!(told[0].text, format!("down {series}: 0, below 1"));
    assert!(
        told[1].text.contains("cannot be observed: 127.0.0.1: bad_data: invalid parameter"),
        "{}",
        told[1].text
    );
}
