//! `deploy/monitoring`: a real Prometheus with these files scrapes a relay with a dead room and a bridge. The alert fires, every query of
//! the dashboard gives a series, and `promtool` finds no fault with the metrics.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use tests::http::{get, post_with};
use tests::wait::SOON;
use tests::{Answer, Bridge, NatsServer, Port, Process, Relay, WebhookSink, ask, find, tellhal, wait_until};

const TOKEN: &str = "kZ3pQ9vX2mB7nR4tY8wL1c";

fn file(name: &str) -> String {
    std::fs::read_to_string(find::repository().join("deploy/monitoring").join(name)).unwrap()
}

/// Runs `promtool` in the folder, with `input`; the end must be good and silent on standard error.
fn promtool(arguments: &[&str], input: &str) {
    let mut command = Command::new(find::theirs("promtool"));
    command.args(arguments).current_dir(find::repository().join("deploy/monitoring"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !words.contains("FAILED"), "{arguments:?}: {words}\n{input}");
}

/// The names of alerts, from the lines that begin with `- alert: `.
fn alerts() -> Vec<String> {
    let text = file("alerts.yml");
    text.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).map(str::to_owned).collect()
}

#[test]
fn the_rules_are_good_and_each_alert_is_tested() {
    promtool(&["check", "config", "prometheus.yml"], "");
    promtool(&["test", "rules", "alerts.test.yml"], "");
    let (rules, tests) = (file("alerts.yml"), file("alerts.test.yml"));
    for alert in alerts() {
        assert!(tests.contains(&format!("alertname=\"{alert}\"")), "{alert} has no test");
        let rule =
            rules.split(&format!("- alert: {alert}\n")).nth(1).unwrap().split("- alert: ").next().unwrap();
        for part in ["severity: ", "summary: \"", "description: \""] {
            assert!(rule.contains(part), "{alert} has no {part}");
        }
    }
}

/// The panels of the dashboard that show something.
fn panels() -> Vec<Value> {
    let dashboard: Value = serde_json::from_str(&file("dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    panels.filter(|panel| panel["type"] != "row").cloned().collect()
}

#[test]
fn the_dashboard_is_one_that_grafana_reads() {
    let dashboard: Value = serde_json::from_str(&file("dashboard.json")).unwrap();
    assert!(dashboard["title"].is_string() && dashboard["uid"].is_string());
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 36 && dashboard["id"].is_null());
    let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id is another panel's");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|name| panel["gridPos"][name].as_u64().unwrap());
        assert!(x + w <= 24, "{title} is wider than the page");
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(cell), "{title} lies over another panel");
        }
    }
    for panel in panels() {
        assert!(matches!(panel["type"].as_str(), Some("stat" | "timeseries")), "{panel}");
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string() && panel["options"].is_object());
        let targets = panel["targets"].as_array().unwrap();
        let refs: BTreeSet<&str> = targets.iter().map(|target| target["refId"].as_str().unwrap()).collect();
        assert_eq!(refs.len(), targets.len(), "{}", panel["title"]);
        for target in targets {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
            assert!(target["legendFormat"].is_string());
        }
    }
}

fn queries() -> Vec<String> {
    let targets = panels().into_iter().flat_map(|panel| panel["targets"].as_array().unwrap().clone());
    let queries: Vec<String> = targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect();
    assert!(queries.len() > 20);
    queries.iter().map(|query| query.replace("$__rate_interval", "1m")).collect()
}

/// The names of our metrics in a text, without the suffixes of a histogram's series.
fn metrics(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let ours = words.filter(|word| word.starts_with("hal_relay_") || word.starts_with("hal_bridge_"));
    ours.map(|word| word.trim_end_matches("_bucket").to_owned()).collect()
}

async fn prometheus(dir: &Path, relay: SocketAddr, bridge: SocketAddr) -> (Process, SocketAddr, Port) {
    let config = file("prometheus.yml").replace("127.0.0.1:8480", &relay.to_string());
    let config = config.replace("127.0.0.1:8481", &bridge.to_string());
    let head = "global: {scrape_interval: 1s, evaluation_interval: 1s}\n";
    std::fs::write(dir.join("prometheus.yml"), head.to_owned() + &config).unwrap();
    std::fs::write(dir.join("alerts.yml"), file("alerts.yml")).unwrap();
    let port = Port::free();
    let mut command = Command::new(find::theirs("prometheus"));
    command.arg("--config.file").arg(dir.join("prometheus.yml"));
    command.arg("--storage.tsdb.path").arg(dir.join("data"));
    command.arg("--web.listen-address").arg(port.addr().to_string());
    let mut process = Process::start("prometheus", &mut command, &dir.join("log"));
    let addr = port.addr();
    let is_ready = async || matches!(get(addr, "/-/ready").await, Ok((200, _)));
    process.ready("it is ready", is_ready).await;
    (process, addr, port)
}

/// The series that an expression gives now.
async fn series(prometheus: SocketAddr, query: &str) -> Vec<Value> {
    let query = serde_urlencoded::to_string([("query", query)]).unwrap();
    let (status, body) = get(prometheus, &format!("/api/v1/query?{query}")).await.unwrap();
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &answer["status"]), (200, &"success".into()), "{query}: {body}");
    answer["data"]["result"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_dead_room_is_an_alert_and_every_query_of_the_dashboard_has_data() {
    let nats = NatsServer::start().await;
    let (good, dead, refusing) =
        tokio::join!(WebhookSink::start(), WebhookSink::start(), WebhookSink::start());
    dead.always(Answer::status(503));
    refusing.always(Answer::status(400));
    let room = |name: &str, sink: &WebhookSink| {
        format!("[rooms.{name}.webhook]\nurl = \"{}\"\nallow_private = true\n", sink.url())
    };
    let relay = format!(
        "default_room = \"good\"\nfailing_after = \"1s\"\n{}{}{}\
         [[routes]]\nname = \"to-the-dead\"\ntag = \"backup.>\"\nrooms = [\"dead\", \"refusing\"]\nthrottle = \"1h\"\n",
        room("good", &good),
        room("dead", &dead),
        room("refusing", &refusing)
    );
    let (gone, syslog) = (Port::free(), Port::free());
    let bridge = format!(
        "[chat.main.irc]\nserver = \"{0}\"\ntls = false\nnick = \"halbot\"\nchannels = [\"#ops\"]\n\
         [mqtt.plant]\nurl = \"mqtt://{0}\"\ntopics = [\"a\"]\ntag = \"plant\"\n\
         [webhooks.alerts]\nkind = \"alertmanager\"\nsecret = \"{TOKEN}\"\n\
         [syslog.net]\ntcp = \"{1}\"\nallow = [\"127.0.0.0/8\"]\ntag = \"syslog\"\n\
         [[monitors]]\nname = \"gone\"\ntag = \"monitor.gone\"\nevery = \"1s\"\n[monitors.prometheus]\nurl = \"http://{0}\"\nquery = \"up\"\nabove = 1\n",
        gone.addr(),
        syslog.addr()
    );
    let relay = Relay::start(&nats.url(), &relay).await;
    let bridge = Bridge::start(&nats.url(), &bridge).await;
    let dir = tempfile::tempdir().unwrap();
    let (_process, prometheus, _port) = prometheus(dir.path(), relay.http(), bridge.http()).await;

    for text in ["one", "two"] {
        let sent = tellhal(&nats.url(), dir.path()).args(["backup.mysql", text]).status();
        assert!(sent.unwrap().success());
    }
    let token = format!("Bearer {TOKEN}");
    let alert = r#"{"alerts":[{"status":"firing","labels":{"alertname":"DiskFull"}}]}"#;
    let headers = [("Authorization", token.as_str())];
    assert_eq!(post_with(bridge.http(), "/in/alerts", &headers, alert).await.unwrap().0, 200);
    let mut device = std::net::TcpStream::connect(syslog.addr()).unwrap();
    device.write_all(b"<34>Oct 11 22:14:15 web1 su: failed\n").unwrap();
    let foreign = nats.client().await;
    foreign.publish("hal.ops.plc.door", "open".into()).await.unwrap();
    foreign.flush().await.unwrap();
    ask(&nats, "nobody", "whoami").await;

    let fires = r#"ALERTS{alertname="HalRoomFailing",alertstate="firing",room="dead",severity="critical"}"#;
    wait_until("the alert fires", SOON, async || !series(prometheus, fires).await.is_empty()).await;
    let mut without = queries();
    let all_have = async || {
        for query in std::mem::take(&mut without) {
            if series(prometheus, &query).await.is_empty() {
                without.push(query);
            }
        }
        println!("no data yet: {without:#?}");
        without.is_empty()
    };
    wait_until("every query has data", SOON, all_have).await;

    let (of_relay, of_bridge) = (relay.get("/metrics").await.1, bridge.get("/metrics").await.1);
    promtool(&["check", "metrics"], &of_relay);
    promtool(&["check", "metrics"], &of_bridge);
    let there = metrics(&(of_relay + &of_bridge));
    let known = metrics(&(file("alerts.yml") + &file("dashboard.json")));
    let unknown: Vec<&String> = known.difference(&there).collect();
    assert!(unknown.is_empty(), "no service has {unknown:?}: {there:#?}");
}
