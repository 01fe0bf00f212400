//! Monitors of the bridge: what is observed becomes messages, each change once, whatever is killed.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::time::Duration;

use async_nats::jetstream::stream::{Config, Stream};
use futures_util::TryStreamExt as _;
use serde_json::{Value, json};
use tellhal::message::{Severity, Status};
use tellhal::{Message, Names, Timestamp};
use tests::wait::SOON;
use tests::{
    Answer, Bridge, Certificates, FakeGraphite, Flaw, GraphiteWeb, NatsServer, Port, Served, TlsFront,
    WebhookSink, find, wait_until,
};

/// The log, as the relay makes it, and what is in it.
struct Log {
    server: NatsServer,
    stream: Stream,
}

impl Log {
    async fn start() -> Log {
        let server = NatsServer::start().await;
        let config = Config {
            name: Names::default().ops_stream(),
            subjects: vec!["hal.ops.>".into(), "hal.ctl.>".into()],
            duplicate_window: Duration::from_secs(3600),
            ..Default::default()
        };
        let stream = server.jetstream().await.create_stream(config).await.unwrap();
        Log { server, stream }
    }

    /// All messages of the bridge itself.
    async fn messages(&mut self) -> Vec<Message> {
        let last = self.stream.info().await.unwrap().state.last_sequence;
        let mut messages = Vec::new();
        for sequence in 1..=last {
            let raw = self.stream.get_raw_message(sequence).await.unwrap();
            if raw.subject.starts_with("hal.ops.bridge.") {
                messages.push(serde_json::from_slice(&raw.payload).unwrap());
            }
        }
        messages
    }

    /// The messages of the bridge, once there are so many.
    async fn wait_for(&mut self, count: usize) -> Vec<Message> {
        let mut messages = Vec::new();
        wait_until(&format!("{count} messages"), SOON, async || {
            messages = self.messages().await;
            messages.len() >= count
        })
        .await;
        assert_eq!(messages.len(), count, "{messages:#?}");
        messages
    }
}

impl Log {
    /// The first message with this key and status, once there is one.
    async fn wait_for_one(&mut self, key: &str, status: Status) -> Message {
        let mut message = None;
        wait_until(&format!("{key} {status}"), SOON, async || {
            let is_it =
                |message: &Message| message.key.as_deref() == Some(key) && message.status == Some(status);
            message = self.messages().await.into_iter().find(is_it);
            message.is_some()
        })
        .await;
        message.unwrap()
    }
}

/// A monitor that looks each second. `more` stands before the table of its kind.
fn monitor(name: &str, more: &str, kind: &str) -> String {
    format!("[[monitors]]\nname = \"{name}\"\ntag = \"monitor.{name}\"\nevery = \"1s\"\n{more}\n{kind}\n")
}

fn graphite(server: &FakeGraphite, target: &str, more: &str) -> String {
    format!(
        "[monitors.graphite]\nurl = \"http://{}\"\ntarget = \"{target}\"\nabove = 50\n{more}",
        server.addr()
    )
}

/// Waits until the monitors have looked so often again.
async fn looks(graphite: &FakeGraphite, count: usize) {
    let before = graphite.requests().len();
    wait_until("further looks", SOON, async || graphite.requests().len() >= before + count).await;
}

#[tokio::test]
async fn a_value_beyond_its_threshold_is_told_once_and_resolved_with_the_same_key() {
    let (mut log, graphite_server) = (Log::start().await, FakeGraphite::start().await);
    graphite_server.set("stats.signup.failed", &[Some(1.0), Some(2.0), None]);
    let more =
        "severity = \"error\"\nclear = 40\nlabel = \"failed signups\"\nlink = \"https://g.example.com/s\"";
    let kind = graphite(&graphite_server, "stats.signup.failed", "unit = \"per minute\"");
    let bridge = Bridge::start(&log.server.url(), &monitor("signups", more, &kind)).await;
    looks(&graphite_server, 2).await;
    assert_eq!(log.messages().await, []);

    graphite_server.set("stats.signup.failed", &[Some(2.0), Some(61.5), None, None]);
    let told = log.wait_for(1).await.remove(0);
    assert_eq!(told.text.lines().next().unwrap(), "failed signups: 61.5 per minute, above 50");
    assert_eq!(
        (told.tag.as_str(), told.severity, told.status),
        ("monitor.signups", Severity::Error, Some(Status::Failed))
    );
    assert_eq!((told.key.as_deref(), told.fields["value"].as_str()), (Some("monitor/signups"), "61.5"));
    assert_eq!((told.source.as_str(), told.links[0].url.as_str()), ("bridge", "https://g.example.com/s"));

    // Still wrong, and then not wrong but not clear either.
    looks(&graphite_server, 2).await;
    graphite_server.set("stats.signup.failed", &[Some(45.0)]);
    looks(&graphite_server, 2).await;
    graphite_server.set("stats.signup.failed", &[Some(0.0)]);
    let told = log.wait_for(2).await.remove(1);
    assert!(told.text.starts_with("failed signups: 0 per minute, not above 50"), "{}", told.text);
    assert_eq!((told.status, told.key.as_deref()), (Some(Status::Resolved), Some("monitor/signups")));
    assert_eq!(told.severity, Severity::Error, "the rooms that got the failure get its end");

    let metrics = bridge.get("/metrics").await.1;
    for outcome in ["good", "wrong"] {
        let line = format!("hal_bridge_observations_total{{kind=\"graphite\",outcome=\"{outcome}\"}}");
        assert!(metrics.contains(&line), "{metrics}");
    }
}

#[tokio::test]
async fn no_data_and_a_source_without_answers_are_told_apart_from_zero() {
    let (mut log, graphite_server) = (Log::start().await, FakeGraphite::start().await);
    let kind = graphite(&graphite_server, "a.b", "");
    let bridge = Bridge::start(&log.server.url(), &monitor("ab", "misses = 2", &kind)).await;
    let told = log.wait_for(1).await.remove(0);
    assert_eq!((told.text.as_str(), told.status), ("ab: no data", Some(Status::Failed)));
    graphite_server.set("a.b", &[Some(0.0)]);
    let told = log.wait_for(2).await.remove(1);
    assert!(told.text.starts_with("ab: 0, not above 50"), "{}", told.text);
    assert_eq!((told.status, told.key.as_deref()), (Some(Status::Resolved), Some("monitor/ab")));

    let page = "<html><body><h1>Server\nError</h1></body></html>";
    graphite_server.always(Answer::Refuse(tests::Reply::text(500, page)));
    let told = log.wait_for(3).await.remove(2);
    let reason = "127.0.0.1: answered 500 Internal Server Error: Server Error";
    assert_eq!(told.text, format!("monitor ab cannot be observed: {reason}"));
    assert_eq!((told.status, told.key.as_deref()), (Some(Status::Failed), Some("monitor/ab observed")));
    assert_eq!(bridge.get("/readyz").await.0, 200, "a source that fails is not the bridge's health");
    looks(&graphite_server, 3).await;
    graphite_server.always(Answer::Normal);
    let told = log.wait_for(4).await.remove(3);
    assert!(told.text.starts_with("monitor ab is observed again"), "{}", told.text);
    assert_eq!((told.status, told.key.as_deref()), (Some(Status::Resolved), Some("monitor/ab observed")));
}

#[tokio::test]
async fn several_series_have_a_message_each_or_one() {
    let (mut log, graphite_server) = (Log::start().await, FakeGraphite::start().await);
    for (name, value) in [("db.a.lag", 60.0), ("db.b.lag", 70.0), ("db.c.lag", 1.0)] {
        graphite_server.set(name, &[Some(value)]);
    }
    let kind = graphite(&graphite_server, "db.*.lag", "");
    let text = monitor("each", "", &kind) + &monitor("one", "each = false", &kind);
    let _bridge = Bridge::start(&log.server.url(), &text).await;
    let mut told: Vec<(String, String)> =
        log.wait_for(3).await.into_iter().map(|message| (message.key.unwrap(), message.text)).collect();
    told.sort();
    let want = [
        ("monitor/each/db.a.lag", "each db.a.lag: 60, above 50"),
        ("monitor/each/db.b.lag", "each db.b.lag: 70, above 50"),
        ("monitor/one", "one: 2 of 3 series: db.a.lag 60, above 50; db.b.lag 70, above 50"),
    ];
    assert_eq!(told, want.map(|(key, text)| (key.to_owned(), text.to_owned())));
}

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

#[tokio::test(flavor = "multi_thread")]
async fn a_monitor_is_tried_by_hand() {
    let (log, graphite_server) = (Log::start().await, FakeGraphite::start().await);
    graphite_server.set("a.b", &[Some(1.0), None, Some(61.0)]);
    let text = monitor("ab", "", &graphite(&graphite_server, "a.b", ""))
        + &monitor("bad", "", &graphite(&graphite_server, "nosuchfn(a.b)", ""));
    let bridge = Bridge::start(&log.server.url(), &text).await;
    let run = |arguments: &[&str]| {
        let output = bridge.command(arguments).output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code(), text)
    };
    let (code, text) = tokio::task::block_in_place(|| run(&["monitors", "test", "ab"]));
    assert_eq!((code, text.as_str()), (Some(0), "ab (graphite)\n  ab: wrong: 61, above 50\n    ▁ █\n"));
    let (code, text) = tokio::task::block_in_place(|| run(&["monitors", "test", "ab", "--json"]));
    let shown: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (code, &shown["series"][0]["value"], &shown["series"][0]["verdict"]),
        (Some(0), &61.0.into(), &"wrong".into())
    );
    let (code, text) = tokio::task::block_in_place(|| run(&["monitors", "test", "bad"]));
    assert!(text.contains("Invalid parameters (Received request for unknown function: nosuchfn)"), "{text}");
    assert_eq!(code, Some(1), "{text}");
    let (code, text) = tokio::task::block_in_place(|| run(&["monitors", "test", "ba"]));
    assert!(code == Some(1) && text.contains("there is no monitor ba: "), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_graphite_is_read() {
    let (mut log, graphite_web) = (Log::start().await, GraphiteWeb::start().await);
    graphite_web.write("db.a.lag", &[(5, 1.0)]);
    graphite_web.write("db.b.lag", &[(5, 1.0), (3, 61.0)]);
    let of = |target: &str| {
        let url = graphite_web.url();
        format!("[monitors.graphite]\nurl = \"{url}\"\ntarget = \"{target}\"\nabove = 50\nwindow = \"2m\"")
    };
    let text = monitor("lag", "", &of("db.*.lag"))
        + &monitor("gone", "misses = 1", &of("no.such"))
        + &monitor("broken", "misses = 1", &of("nosuchfn(a)"));
    let _bridge = Bridge::start(&log.server.url(), &text).await;
    let mut told: Vec<(String, String)> =
        log.wait_for(3).await.into_iter().map(|message| (message.key.unwrap(), message.text)).collect();
    told.sort();
    assert!(
        told[0].1.contains("400 Bad Request: Invalid parameters (Received request for unknown function"),
        "{told:?}"
    );
    assert_eq!(told[1], ("monitor/gone".into(), "gone: no data".into()));
    assert_eq!(told[2], ("monitor/lag/db.b.lag".into(), "lag db.b.lag: 61, above 50".into()));
    graphite_web.write("db.b.lag", &[(0, 2.0)]);
    let told = log.wait_for(4).await.remove(3);
    assert!(told.text.starts_with("lag db.b.lag: 2, not above 50"), "{}", told.text);
    assert_eq!(told.status, Some(Status::Resolved));
}

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

#[tokio::test]
async fn a_page_must_answer() {
    let (mut log, page) = (Log::start().await, WebhookSink::start().await);
    page.always(Answer::Refuse(tests::Reply::text(200, "ready")));
    let kind = format!("[monitors.http]\nurl = \"http://{}/shop/?all=1\"\nbody = \"^ready\"", page.addr());
    let _bridge = Bridge::start(&log.server.url(), &monitor("page", "", &kind)).await;
    wait_until("a first look", SOON, async || !page.requests().is_empty()).await;
    assert_eq!(page.requests()[0].path, "/shop/?all=1");
    page.always(Answer::status(503));
    let told = log.wait_for(1).await.remove(0);
    assert_eq!(told.text, "page: answered 503 Service Unavailable");
    page.always(Answer::Reset);
    wait_until("a further look", SOON, async || page.requests().len() > 3).await;
    page.always(Answer::Refuse(tests::Reply::text(200, "ready")));
    let told = log.wait_for(2).await.remove(1);
    assert!(told.text.starts_with("page: answered 200 OK in ") && told.status == Some(Status::Resolved));
}

#[tokio::test]
async fn a_certificate_that_ends_soon_is_told() {
    let (mut log, page) = (Log::start().await, WebhookSink::start().await);
    page.always(Answer::Refuse(tests::Reply::text(200, "ready")));
    let dir = tempfile::tempdir().unwrap();
    // It ends in 30 days.
    let certificates = Certificates::create(dir.path(), Flaw::None);
    let front = TlsFront::of(&certificates, page.addr()).await;
    let https = |least: &str| {
        let ca = certificates.ca.display();
        format!(
            "[monitors.http]\nurl = \"https://{}\"\ntls_ca = \"{ca}\"\ncertificate = \"{least}\"",
            front.addr()
        )
    };
    let text = monitor("late", "", &https("40d")) + &monitor("good", "", &https("14d"));
    let bridge = Bridge::start(&log.server.url(), &text).await;
    let told = log.wait_for(1).await.remove(0);
    assert_eq!(told.text, "late: its certificate ends in 29 days");
    let good = "hal_bridge_observations_total{kind=\"http\",outcome=\"good\"}";
    wait_until("the other looks too", SOON, async || bridge.get("/metrics").await.1.contains(good)).await;
    log.wait_for(1).await;
}

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

/// An answer of Elasticsearch's search with one document, and the number of shards that have failed.
fn found(id: &str, failed: u32) -> Answer {
    let source = json!({ "message": format!("message {id}"), "host": { "name": "web1" } });
    // After the monitor was armed: one from before would not be found.
    let at = Timestamp::now().plus(Duration::from_secs(60)).0;
    let hit = json!({ "_index": "logstash-1", "_id": id, "_score": null, "_source": source, "sort": [at] });
    Answer::Refuse(tests::Reply::json(
        200,
        &json!({
            "took": 3, "timed_out": false,
            "_shards": { "total": 5, "successful": 5 - failed, "skipped": 0, "failed": failed },
            "hits": { "total": { "value": 1, "relation": "eq" }, "max_score": null, "hits": [hit] },
        }),
    ))
}

#[tokio::test]
async fn each_new_document_is_told_once_and_a_missing_shard_is_no_answer() {
    let (mut log, search) = (Log::start().await, WebhookSink::start().await);
    search.always(found("a", 0));
    let kind = format!(
        "[monitors.logstash]\nurl = \"http://{}\"\nquery = \"level:ERROR\"\napi_key = \"aWQ6a2V5\"\ntext = \"{{host.name}}: {{message}}\"",
        search.addr()
    );
    let mut bridge = Bridge::start(&log.server.url(), &monitor("errors", "misses = 1", &kind)).await;
    assert_eq!(log.wait_for(1).await[0].text, "web1: message a");
    bridge.restart().await;
    let looked = search.requests().len();
    wait_until("a look of the next bridge", SOON, async || search.requests().len() > looked + 1).await;
    let last = search.requests().pop().unwrap();
    assert_eq!(
        (last.path.as_str(), last.header("authorization")),
        ("/logstash-*/_search", Some("ApiKey aWQ6a2V5"))
    );
    let body: Value = serde_json::from_slice(&last.body).unwrap();
    assert_eq!(body["query"]["bool"]["must_not"][0]["ids"]["values"], json!(["a"]));
    search.always(found("b", 1));
    let told = log.wait_for(2).await.remove(1);
    assert!(told.text.contains("cannot be observed: 127.0.0.1: 1 of 5 shards have failed"), "{}", told.text);
    // A busy server is asked again within the same look.
    search.next([Answer::retry_after("0"), Answer::status(503)]);
    search.always(found("b", 0));
    let texts: Vec<String> =
        log.wait_for(4).await.split_off(2).into_iter().map(|message| message.text).collect();
    assert!(
        texts[0].starts_with("monitor errors is observed again") && texts[1] == "web1: message b",
        "{texts:?}"
    );
}

#[test]
fn monitors_that_cannot_work_are_refused_by_place() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bridge.toml");
    let text = "[[monitors]]\nname = \"a b\"\nevery = \"0s\"\nclear = 60\n[monitors.graphite]\nurl = \"http://g:1\"\nabove = 50\n\
        [[monitors]]\nname = \"x\"\ntag = \"t\"\ngrafite = 1\n[[monitors]]\nname = \"x\"\ntag = \"t\"\n[monitors.http]\nurl = \"http://h\"\n\
        [[monitors]]\nname = \"x\"\ntag = \"t\"\n[monitors.http]\nurl = \"http://h\"\n[monitors.expect]\nseen = \"a\"\nwithin = \"1h\"\n";
    std::fs::write(&file, text).unwrap();
    let output =
        std::process::Command::new(find::ours("hal-bridge")).args(["check", "--config"]).arg(&file).output();
    let told = String::from_utf8(output.unwrap().stderr).unwrap();
    for want in [
        "bridge.toml:2:8: error: monitors[0].name: \"a b\" is not a legal name for a monitor",
        "bridge.toml:1:1: error: monitors[0]: tag is missing",
        "bridge.toml:3:9: error: monitors[0].every: \"0s\" is not longer than zero",
        "monitors[0].graphite.target: the target is missing",
        "monitors[0].graphite.above: above = 50, so clear = 60 would be good and wrong at once",
        "monitors[1].grafite: unknown key",
        "did you mean graphite?",
        "monitors[1]: it has no kind",
        "monitors[3]: it has several kinds",
        "monitors[3].name: monitor x is defined twice",
    ] {
        assert!(told.contains(want), "{want}\nin\n{told}");
    }
}
