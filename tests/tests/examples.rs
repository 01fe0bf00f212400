//! The examples of `deploy/examples`, each as it stands but for the addresses and the folder of credentials: the rooms show what
//! its README says.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tellhal::Timestamp;
use tempfile::TempDir;
use tests::http::post_with;
use tests::readme::{self, same_each_time};
use tests::wait::SOON;
use tests::{
    Answer, Bridge, GraphiteWeb, IrcClient, MariaDb, NatsServer, Ngircd, Process, Relay, Reply, Served,
    WebhookSink, ask, find, tellhal, tellhal_as, wait_until,
};

const CREDENTIALS: &str = "/run/credentials/hal-bridge.service";
const SECRET: &str = "4f0c7a1e9b2d8356a1c4e7f00b9d2c58";
const OPERATOR: &str = "[[people]]\nname = \"ann\"\nroles = [\"operator\"]\npage = \"ann\"\n[[commands]]\nname = \"*\"\nallow = [\"operator\"]\n";

fn folder() -> PathBuf {
    find::repository().join("deploy/examples")
}

/// A file of an example, with other addresses.
fn file(name: &str, others: &[(&str, &str)]) -> String {
    let mut text =
        std::fs::read_to_string(folder().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    for (from, to) in others {
        assert!(text.contains(from), "{from} in {name}");
        text = text.replace(from, to);
    }
    text
}

/// The lines that a room shows, from the text blocks under the example's title in the README, each as [`same_each_time`] has it.
fn documented(example: &str) -> Vec<String> {
    let readme = file("README.md", &[]);
    readme::shown(readme::section(&readme, example)).map(same_each_time).collect()
}

/// A relay with the rooms `ops`, `dba` and `dev` on a real IRC server, and somebody who reads each.
struct Rooms {
    nats: NatsServer,
    relay: Relay,
    readers: BTreeMap<&'static str, IrcClient>,
    _irc: Ngircd,
}

impl Rooms {
    async fn start(example: &str) -> Rooms {
        let (nats, irc) = (NatsServer::start().await, Ngircd::start().await);
        let mut config =
            format!("default_room = \"page\"\n{}\n", file(&format!("{example}/relay.toml"), &[]));
        let mut readers = BTreeMap::new();
        for room in ["ops", "dba", "dev"] {
            readers.insert(
                room,
                IrcClient::join(irc.addr(), &format!("reads-{room}")[..9], &format!("#{room}")).await,
            );
            config += &format!(
                "[rooms.{room}.irc]\nserver = \"{}\"\ntls = false\nnick = \"hal-{room}\"\nchannel = \"#{room}\"\nline_every = \"50ms\"\n",
                irc.addr()
            );
        }
        let relay = Relay::start(&nats.url(), &config).await;
        Rooms { nats, relay, readers, _irc: irc }
    }

    /// Waits until these rooms together have shown the lines of the README.
    async fn show(&self, example: &str, rooms: &[&str]) {
        let wanted = documented(example);
        let end = Instant::now() + SOON * 2;
        loop {
            let lines: Vec<String> = rooms.iter().flat_map(|room| self.readers[room].texts()).collect();
            // Schedules are run by hand, at a time that is not theirs.
            let by_hand = |line: &str| same_each_time(line).replace("| by=ann ", "| ");
            let shown: Vec<String> =
                lines.iter().filter(|line| *line != "| by=ann").map(|line| by_hand(line)).collect();
            if shown == wanted {
                return;
            }
            assert!(
                Instant::now() < end,
                "{example} shows\n{}\n{shown:#?} instead of {wanted:#?}",
                lines.join("\n")
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// A host with the programs of an example on its `PATH`, and a name of its own.
struct Host {
    dir: TempDir,
    path: String,
}

impl Host {
    fn new(example: &str, name: &str) -> Host {
        let dir = TempDir::new().unwrap();
        let bin = find::ours("tellhal").parent().unwrap().display().to_string();
        let examples = folder().join(example).display().to_string();
        let path = format!("{}:{examples}:{bin}:{}", dir.path().display(), std::env::var("PATH").unwrap());
        let host = Host { dir, path };
        host.program("hostname", &format!("echo {name}"));
        host
    }

    /// Its `mysql` reaches this server, whichever host it is asked to connect to.
    fn reaches(self, mysql: &MariaDb) -> Host {
        let (client, socket) = (find::theirs("mysql").display().to_string(), mysql.socket());
        let script = format!(
            "[ \"$1\" = --host ] && shift 2\nexec {client} --no-defaults --user=root --socket={socket} \"$@\""
        );
        self.program("mysql", &script);
        self
    }

    fn program(&self, name: &str, script: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.dir.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn prepare(&self, mut command: Command, source: &str) -> Command {
        command.env("PATH", &self.path).env("TELLHAL_SOURCE", source);
        command
    }

    /// Runs a line of sh there.
    async fn run(&self, nats: &NatsServer, source: &str, line: &str) {
        let mut command = Command::new("sh");
        let home = self.dir.path();
        command.env("HOME", home).env("TELLHAL_URL", nats.url()).env("TELLHAL_SPOOL", home.join("spool"));
        let mut command = self.prepare(command, source);
        command.args(["-c", line]);
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[tokio::test]
async fn broken_replication_is_told_and_a_listener_answers_in_the_room() {
    let (rooms, mut source, replica) =
        tokio::join!(Rooms::start("mysql-replication"), MariaDb::start(1), MariaDb::start(2));
    replica.replicate_from(&source);
    let runs = async |want: &str| {
        let is_so = async || replica.query("SHOW REPLICA STATUS\\G").contains(want);
        wait_until(want, SOON, is_so).await;
    };
    runs("Slave_IO_Running: Yes").await;
    let (db, desk) = (
        Host::new("mysql-replication", "db2").reaches(&replica),
        Host::new("mysql-replication", "desk1").reaches(&replica),
    );
    let listen = tellhal_as("listener", &rooms.nats.url(), desk.dir.path());
    let mut listen = desk.prepare(listen, "desk1");
    listen.args(["listen", "mysql.replication", "--durable", "diagnose", "--exec", "diagnose"]);
    let _listener = Process::start("tellhal listen", &mut listen, &desk.dir.path().join("log"));

    let check = async || db.run(&rooms.nats, "db2", "check-replication").await;
    check().await;
    source.kill();
    runs("Slave_IO_Running: Connecting").await;
    runs("Connection refused").await;
    check().await;
    check().await;
    wait_until("the listener's answer", SOON, async || {
        rooms.readers["dba"].texts().iter().any(|line| line.contains("looked at from desk1"))
    })
    .await;
    source.restart().await;
    runs("Slave_IO_Running: Yes").await;
    check().await;
    check().await;
    rooms.show("mysql-replication", &["dba"]).await;
}

#[tokio::test]
async fn a_backup_is_told_and_one_that_does_not_begin_is_noticed() {
    let rooms = Rooms::start("backup").await;
    let cron = file("backup/backup.cron", &[("/usr/local/sbin/backup", "./backup")]);
    let line = cron.lines().find(|line| !line.starts_with('#')).unwrap();
    let line = line.splitn(7, ' ').nth(6).unwrap();
    let host = Host::new("backup", "db1");
    host.program("backup", "sleep 1; echo '3 databases, 812 MB'");
    let line = format!("cd {} && {line}", host.dir.path().display());
    // The bridge notices within two seconds what it is told to notice after 25 hours and a half.
    let config =
        file("backup/bridge.toml", &[("25h", "1s"), ("30m", "1s"), ("severity", "every = \"1s\"\nseverity")]);
    let _bridge = Bridge::start(&rooms.nats.url(), &config).await;
    host.run(&rooms.nats, "db1", &line).await;
    rooms.show("backup", &["ops"]).await;
    // The other room has the error alone.
    let ops = rooms.readers["ops"].texts();
    wait_until("the error in dba", SOON, async || !rooms.readers["dba"].texts().is_empty()).await;
    assert_eq!(rooms.readers["dba"].texts(), ops[2..]);
}

#[tokio::test]
async fn the_scrum_is_remembered_on_weekdays_at_half_past_ten_in_new_york() {
    let rooms = Rooms::start("scrum").await;
    let config = file("scrum/bridge.toml", &[]);
    let bridge = Bridge::start(&rooms.nats.url(), &format!("{config}{OPERATOR}")).await;
    // A Friday before the clocks change, on Sunday.
    let mut jobs =
        bridge.command(&["jobs", "scrum", "--json", "--next", "3", "--from", "2026-03-05T20:00:00Z"]);
    let jobs: Value = serde_json::from_slice(&jobs.output().unwrap().stdout).unwrap();
    assert_eq!(
        jobs[0]["due"],
        json!(["2026-03-06T15:30:00Z", "2026-03-09T14:30:00Z", "2026-03-10T14:30:00Z"])
    );
    assert_eq!(ask(&rooms.nats, "ann", "run-job scrum").await, ("scrum is due now".into(), false));
    rooms.show("scrum", &["dev"]).await;
}

#[tokio::test]
async fn many_series_of_a_graphite_alert_are_one_post() {
    let (rooms, graphite) = tokio::join!(Rooms::start("graphite-alert"), GraphiteWeb::start());
    for (country, value) in [("de", 80.0), ("fr", 61.0), ("us", 3.0)] {
        let points: Vec<(u32, f64)> = (1..300).map(|age| (age, value)).collect();
        graphite.write(&format!("stats.signup.{country}.failed"), &points);
    }
    let config = file("graphite-alert/bridge.toml", &[("https://graphite.example.com", &graphite.url())]);
    let _bridge = Bridge::start(&rooms.nats.url(), &config).await;
    rooms.show("graphite-alert", &["ops"]).await;
    wait_until("the other one waits for the summary", SOON, async || {
        rooms.relay.get("/metrics").await.1.contains("hal_relay_throttle_keys 1")
    })
    .await;
}

#[tokio::test]
async fn errors_that_logstash_has_stored_are_told_in_a_room() {
    let (rooms, search) = (Rooms::start("logstash-errors").await, WebhookSink::start().await);
    let hit = json!({
        "_index": "logstash-2026.11.28", "_id": "a", "_score": null, "sort": [Timestamp::now().plus(Duration::from_secs(60)).0],
        "_source": { "message": "cart: cannot reserve item 4711", "host": { "name": "web1" }, "level": "ERROR", "service": "shop" },
    });
    search.always(Answer::Refuse(Reply::json(200, &json!({
        "took": 3, "timed_out": false, "_shards": { "total": 1, "successful": 1, "skipped": 0, "failed": 0 },
        "hits": { "total": { "value": 1, "relation": "eq" }, "max_score": null, "hits": [hit] },
    }))));
    let config = file(
        "logstash-errors/bridge.toml",
        &[("https://search.example.com", &format!("http://{}", search.addr()))],
    );
    let _bridge = Bridge::start(&rooms.nats.url(), &config).await;
    rooms.show("logstash-errors", &["dev"]).await;
    wait_until("a search", SOON, async || !search.requests().is_empty()).await;
    let asked = search.requests().remove(0);
    assert_eq!(asked.path, "/logstash-*/_search");
    assert!(String::from_utf8(asked.body).unwrap().contains("level:ERROR AND service:shop"));
}

#[tokio::test]
async fn the_status_of_production_is_answered_in_the_chat() {
    let (nats, site) = (NatsServer::start().await, WebhookSink::start().await);
    nats.create_log().await;
    let bridge = Bridge::start(&nats.url(), &file("production-status/bridge.toml", &[])).await;
    let mut served = Served::default();
    serve(&mut served, &nats, &bridge, "production-status", ("SITE", format!("http://{}", site.addr())))
        .await;
    let (answer, failed) = ask(&nats, "oncall", "production-status").await;
    assert!(!failed, "{answer}");
    println!("{answer}");
    // A container has no systemd.
    let has_systemd = answer.contains("failed units");
    let wanted = documented("production-status")
        .into_iter()
        .filter(|line| has_systemd || !line.contains("failed units"));
    let shown: Vec<String> = answer.lines().map(same_each_time).collect();
    assert_eq!(shown, wanted.collect::<Vec<_>>());
    assert!(ask(&nats, "eve", "production-status").await.1, "only those who may");
}

#[tokio::test]
async fn a_review_is_asked_for_at_once_and_each_morning() {
    let (rooms, github) = (Rooms::start("code-reviews").await, WebhookSink::start().await);
    let pull = |number: u32, title: &str, days: u64| {
        json!({
            "title": title, "user": { "login": "Codertocat" }, "created_at": Timestamp::now().minus(Duration::from_secs(days * 86_400)).to_string(),
            "html_url": format!("https://github.com/Codertocat/Hello-World/pull/{number}"),
        })
    };
    let found = json!({ "total_count": 2, "incomplete_results": false, "items": [pull(1, "Make the cart faster", 12), pull(2, "Update the README", 2)] });
    github.always(Answer::Refuse(Reply::json(200, &found)));
    let credentials = credentials("github");
    let config =
        file("code-reviews/bridge.toml", &[(CREDENTIALS, &credentials.path().display().to_string())]);
    let bridge = Bridge::start(&rooms.nats.url(), &format!("{config}{OPERATOR}")).await;
    let mut served = Served::default();
    serve(
        &mut served,
        &rooms.nats,
        &bridge,
        "code-reviews",
        ("GITHUB_API", format!("http://{}", github.addr())),
    )
    .await;

    let body = octokit("pull_request", "review_requested");
    let signature = format!("sha256={}", hmac(&body));
    let headers =
        [("X-GitHub-Event", "pull_request"), ("X-GitHub-Delivery", "1"), ("X-Hub-Signature-256", &signature)];
    assert_eq!(post_with(bridge.http(), "/in/github", &headers, &body).await.unwrap().0, 200);
    wait_until("the review", SOON, async || !rooms.readers["dev"].texts().is_empty()).await;
    assert_eq!(ask(&rooms.nats, "ann", "run-job reviews").await, ("reviews is due now".into(), false));
    rooms.show("code-reviews", &["dev"]).await;
    assert!(github.requests()[0].path.starts_with("/search/issues?q=org%3Aexample+is%3Apr+is%3Aopen"));
}

#[tokio::test]
async fn a_graph_is_posted_each_night() {
    let (rooms, graphite) = tokio::join!(Rooms::start("nightly-graph"), GraphiteWeb::start());
    let points: Vec<(u32, f64)> = (1..300).map(|age| (age, f64::from(age % 60))).collect();
    graphite.write("servers.web1.load", &points);
    let page = format!("http://{}", rooms.relay.http());
    let addresses = [("https://graphite.example.com", &*graphite.url()), ("https://hal.example.com", &page)];
    let config = format!("{}{OPERATOR}", file("nightly-graph/bridge.toml", &addresses));
    let _bridge = Bridge::start(&rooms.nats.url(), &config).await;
    assert_eq!(ask(&rooms.nats, "ann", "run-job nightly").await, ("nightly is due now".into(), false));
    rooms.show("nightly-graph", &["ops"]).await;
}

#[tokio::test]
async fn changes_of_bugs_are_told_by_two_trackers() {
    let rooms = Rooms::start("bug-changes").await;
    let credentials = credentials("bugzilla");
    std::fs::write(credentials.path().join("redmine"), SECRET).unwrap();
    let config = file("bug-changes/bridge.toml", &[(CREDENTIALS, &credentials.path().display().to_string())]);
    let bridge = Bridge::start(&rooms.nats.url(), &config).await;
    let bugzilla = json!({
        "webhook_name": "hal", "webhook_id": 1,
        "event": {
            "action": "modify", "target": "bug", "routing_key": "bug.modify:status", "time": "2026-11-28T01:00:00",
            "user": { "id": 5, "login": "amy@example.com", "real_name": "Amy" },
            "changes": [{ "field": "status", "removed": "NEW", "added": "RESOLVED" }],
        },
        "bug": { "id": 12, "summary": "The cart is empty after a reload", "product": "Shop", "component": "Cart", "status": "RESOLVED", "resolution": "FIXED" },
    });
    let redmine = json!({ "payload": {
        "action": "updated", "url": "https://redmine.example.com/issues/191",
        "issue": { "id": 191, "subject": "The printer is offline", "project": { "identifier": "office" }, "status": { "name": "Resolved" } },
        "journal": {
            "id": 5, "notes": "It was the cable", "author": { "firstname": "Ann", "lastname": "Bee" },
            "details": [{ "prop_key": "done_ratio", "old_value": "0", "value": "100" }],
        },
    } });
    for (count, (tracker, body)) in [("bugzilla", bugzilla), ("redmine", redmine)].into_iter().enumerate() {
        let path = format!("/in/{tracker}/{SECRET}");
        assert_eq!(post_with(bridge.http(), &path, &[], &body.to_string()).await.unwrap().0, 200);
        wait_until(tracker, SOON, async || rooms.readers["dev"].texts().len() > 2 * count).await;
    }
    rooms.show("bug-changes", &["dev"]).await;
}

/// All of them in one folder are one legal configuration of each service.
#[test]
fn together_they_are_a_configuration() {
    let dir = TempDir::new().unwrap();
    for (binary, name) in [("hal-relay", "relay.toml"), ("hal-bridge", "bridge.toml")] {
        let all = dir.path().join(binary);
        std::fs::create_dir(&all).unwrap();
        let rooms = ["ops", "dba", "dev"].map(|room| {
            format!(
                "[rooms.{room}.irc]\nserver = \"irc.example.com\"\nnick = \"hal\"\nchannel = \"#{room}\"\n"
            )
        });
        let base = if binary == "hal-relay" {
            format!("default_room = \"ops\"\n{}", rooms.concat())
        } else {
            "[nats]\nurl = \"nats://127.0.0.1:4222\"\n".to_owned()
        };
        std::fs::write(all.join("base.toml"), base).unwrap();
        let mut count = 0;
        for example in std::fs::read_dir(folder()).unwrap() {
            let path = example.unwrap().path();
            if path.join(name).exists() {
                count += 1;
                let to = all.join(path.file_name().unwrap()).with_extension("toml");
                std::fs::copy(path.join(name), to).unwrap();
            }
        }
        assert!(count >= 7, "{count} examples");
        let output =
            Command::new(find::ours(binary)).arg("check").arg("--config").arg(&all).output().unwrap();
        let told = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(output.status.code(), Some(0), "{told}");
        let warnings = told.lines().filter(|line| line.contains("warning:") && !line.contains(CREDENTIALS));
        assert_eq!(warnings.count(), 0, "{told}");
    }
}

/// Serves the commands of an example's `serve.toml`, with its own programs and one variable more.
async fn serve(
    served: &mut Served,
    nats: &NatsServer,
    bridge: &Bridge,
    example: &str,
    variable: (&str, String),
) {
    let programs = folder().join(example).display().to_string();
    let config = file(
        &format!("{example}/serve.toml"),
        &[
            ("/usr/local/bin", &programs),
            ("# bridge_keys = [\"UC5C…\"]", &format!("bridge_keys = [\"{}\"]", bridge.key())),
        ],
    );
    let path = served.path("serve.toml");
    std::fs::write(&path, config).unwrap();
    let mut command = tellhal(&nats.url_as("handler"), served.dir());
    command.arg("serve").arg("--config").arg(&path).env(variable.0, variable.1);
    served.spawn(command).await;
}

/// A folder of credentials with one file.
fn credentials(name: &str) -> TempDir {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join(name), SECRET).unwrap();
    dir
}

/// An example payload of GitHub's.
fn octokit(event: &str, action: &str) -> String {
    let all = find::node_packages("hooks").join("@octokit/webhooks-examples/api.github.com/index.json");
    let all: Vec<Value> = serde_json::from_slice(&std::fs::read(all).unwrap()).unwrap();
    let of_event = all.into_iter().find(|one| one["name"] == event).unwrap();
    let mut examples = of_event["examples"].as_array().unwrap().iter();
    examples.find(|example| example["action"] == action).unwrap().to_string()
}

fn hmac(body: &str) -> String {
    use hmac::{KeyInit as _, Mac as _};
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}
