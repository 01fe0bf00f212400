//! Webhooks: requests of other systems become messages, each event once, whatever is delivered again or sent by others.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use tellhal::Message;
use tests::http::post_with;
use tests::wait::SOON;
use tests::{Bridge, NatsServer, Port, find, wait_until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub(crate) const SECRET: &str = "It's a Secret to Everybody";
pub(crate) const TOKEN: &str = "kZ3pQ9vX2mB7nR4tY8wL1c";
const TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:alarms";
/// No log, metric or answer may contain these.
const SECRETS: [&str; 2] = [SECRET, TOKEN];

fn configuration() -> String {
    format!(
        r#"
[webhooks.github]
secret = "{SECRET}"
tag = "github.{{event}}"

[webhooks.alerts]
kind = "alertmanager"
secret = "{TOKEN}"

[webhooks.door]
kind = "text"
secret = "{TOKEN}"
tags = ["door.>", "cron"]

[webhooks.old]
kind = "slack"
secret = "{TOKEN}"
tag = "chat.{{channel}}"

[webhooks.aws]
kind = "sns"
secret = "{TOKEN}"
topics = ["{TOPIC}"]

[ntfy]
listen = "NTFY"
token = "{TOKEN}"
topics = {{ backups = "backup.told" }}
"#
    )
}

async fn start(nats: &NatsServer) -> (Bridge, Port) {
    nats.create_log().await;
    let ntfy = Port::free();
    let bridge = Bridge::start(&nats.url(), &configuration().replace("NTFY", &ntfy.addr().to_string())).await;
    (bridge, ntfy)
}

/// The messages in the log, with their subjects, once there are `count`.
pub(crate) async fn messages(nats: &NatsServer, count: u64) -> Vec<(String, Message)> {
    wait_until(&format!("{count} messages"), SOON, async || nats.messages("HAL_OPS").await >= count).await;
    let stream = nats.jetstream().await.get_stream("HAL_OPS").await.unwrap();
    let mut messages = Vec::new();
    for sequence in 1..=nats.messages("HAL_OPS").await {
        let raw = stream.get_raw_message(sequence).await.unwrap();
        messages.push((raw.subject.to_string(), serde_json::from_slice(&raw.payload).unwrap()));
    }
    messages
}

pub(crate) fn signature(secret: &str, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={hex}")
}

async fn github(bridge: &Bridge, delivery: &str, body: &str) -> u16 {
    let signature = signature(SECRET, body);
    let headers =
        [("X-GitHub-Event", "issues"), ("X-GitHub-Delivery", delivery), ("X-Hub-Signature-256", &signature)];
    post_with(bridge.http(), "/in/github", &headers, body).await.unwrap().0
}

pub(crate) fn issue(number: u32) -> String {
    format!(
        r#"{{"action":"opened","issue":{{"number":{number},"title":"<!channel> {{{{x}}}}","html_url":"https://github.com/o/r/issues/{number}"}},"repository":{{"full_name":"o/r"}},"sender":{{"login":"amy"}}}}"#
    )
}

fn alert(status: &str) -> String {
    format!(
        r#"{{"receiver":"hal","alerts":[{{"status":"{status}","labels":{{"alertname":"Disk","severity":"critical"}},"annotations":{{"summary":"full"}},"startsAt":"2026-11-28T01:00:00Z","fingerprint":"f1"}}]}}"#
    )
}

async fn alerts(addr: SocketAddr, path: &str, status: &str) -> (u16, String) {
    post_with(addr, path, &[], &alert(status)).await.unwrap()
}

async fn assert_no_secret(bridge: &Bridge) {
    let metrics = bridge.get("/metrics").await.1;
    for secret in SECRETS {
        assert!(!bridge.log().contains(secret) && !metrics.contains(secret), "{}\n{metrics}", bridge.log());
    }
}

#[tokio::test]
async fn an_event_is_told_once_by_two_bridges_however_often_it_comes() {
    let nats = NatsServer::start().await;
    let (mut one, _ntfy) = start(&nats).await;
    let ntfy = Port::free();
    let two = Bridge::start(&nats.url(), &configuration().replace("NTFY", &ntfy.addr().to_string())).await;
    for bridge in [&one, &one, &two] {
        assert_eq!(github(bridge, "d1", &issue(7)).await, 200, "{}", bridge.log());
    }
    let (body, both) = (issue(8), ["d2"; 4]);
    let answers = futures_util::future::join_all(
        both.iter()
            .enumerate()
            .map(|(i, delivery)| github(if i % 2 == 0 { &one } else { &two }, delivery, &body)),
    );
    assert_eq!(answers.await, [200; 4]);
    one.kill();
    assert_eq!(github(&two, "d1", &issue(7)).await, 200);
    for status in ["firing", "firing", "resolved"] {
        assert_eq!(alerts(two.http(), &format!("/in/alerts/{TOKEN}"), status).await.0, 200);
    }
    assert_eq!(github(&two, "d3", &issue(9)).await, 200);
    let messages = messages(&nats, 5).await;
    let lines: Vec<&str> = messages.iter().map(|(_, message)| message.headline()).collect();
    let title = "o/r: amy opened issue #7: <!channel> {{x}}";
    assert_eq!(
        lines,
        [title, &title.replace('7', "8"), "Disk: full", "Disk: full", &title.replace('7', "9")]
    );
    let (subject, told) = &messages[0];
    assert_eq!((subject.as_str(), told.links.len()), ("hal.ops.in-github.github.issues", 1));
    let (begun, over) = (&messages[2].1, &messages[3].1);
    assert_eq!((begun.key.is_some(), begun.key == over.key), (true, true));
    assert_eq!((begun.severity.as_str(), over.status.unwrap().as_str()), ("critical", "resolved"));
    let metrics = two.get("/metrics").await.1;
    assert!(
        metrics.contains("hal_bridge_webhook_requests_total{kind=\"alertmanager\",status=\"200\"} 3"),
        "{metrics}"
    );
    assert_no_secret(&two).await;
}

#[tokio::test]
async fn without_the_bus_an_event_waits_in_the_spool() {
    let mut nats = NatsServer::start().await;
    let (bridge, _ntfy) = start(&nats).await;
    nats.kill();
    wait_until("the bridge notices", SOON, async || bridge.get("/readyz").await.0 == 503).await;
    let asked = Instant::now();
    assert_eq!(github(&bridge, "d1", &issue(7)).await, 200, "{}", bridge.log());
    assert!(asked.elapsed() < Duration::from_secs(1), "some senders wait a second");
    nats.restart().await;
    assert_eq!(messages(&nats, 1).await[0].1.tag.as_str(), "github.issues");
    // Where the spool cannot be written either, the sender is told to try again.
    nats.kill();
    wait_until("the bridge notices", SOON, async || bridge.get("/readyz").await.0 == 503).await;
    std::fs::remove_dir_all(bridge.dir().join("spool")).unwrap();
    std::fs::write(bridge.dir().join("spool"), "no folder").unwrap();
    assert_eq!(github(&bridge, "d2", &issue(8)).await, 503, "{}", bridge.log());
}

/// A request: what it is, its path, headers and body, and the status of the answer.
type Row<'a> = (&'a str, &'a str, Vec<(String, String)>, &'a str, u16);

#[tokio::test]
async fn hostile_requests_are_answered_and_change_nothing() {
    let nats = NatsServer::start().await;
    let (bridge, _ntfy) = start(&nats).await;
    let body = issue(7);
    let right = signature(SECRET, &body);
    let hub = |value: &str| {
        vec![
            ("X-GitHub-Event".to_owned(), "issues".to_owned()),
            ("X-Hub-Signature-256".to_owned(), value.to_owned()),
        ]
    };
    let with = |headers: Vec<(String, String)>, name: &str, value: &str| {
        [headers, vec![(name.to_owned(), value.to_owned())]].concat()
    };
    let spaced = body.replace(':', ": ");
    let deep = "[".repeat(100_000);
    let token = format!("/in/alerts/{TOKEN}");
    let aws = format!("/in/aws/{TOKEN}");
    let other_host = format!(
        r#"{{"Type":"Notification","TopicArn":"{TOPIC}","Timestamp":"{}","SignatureVersion":"2","SigningCertURL":"https://127.0.0.1/a.pem"}}"#,
        tellhal::Timestamp::now()
    );
    let other_topic = other_host.replace("alarms", "other");
    let bearer = with(vec![], "Authorization", &format!("Bearer {TOKEN}"));
    let table: Vec<Row<'_>> = vec![
        ("no signature", "/in/github", vec![], &body, 401),
        ("a wrong signature", "/in/github", hub(&signature("other", &body)), &body, 401),
        ("a short signature", "/in/github", hub(&right[..40]), &body, 401),
        ("a long signature", "/in/github", hub(&format!("{right}00")), &body, 401),
        ("a body in another form", "/in/github", hub(&right), &spaced, 401),
        (
            "the secret as a token",
            "/in/github",
            with(hub(""), "Authorization", &format!("Bearer {SECRET}")),
            &body,
            401,
        ),
        ("no event", "/in/github", hub(&right)[1..].to_vec(), &body, 400),
        ("another type", "/in/github", with(hub(&right), "Content-Type", "application/xml"), &body, 415),
        ("a compressed body", "/in/github", with(hub(&right), "Content-Encoding", "gzip"), "\u{1f}", 415),
        (
            "XML with entities",
            &token,
            with(vec![], "Content-Type", "text/xml"),
            "<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>",
            415,
        ),
        ("depth", &token, vec![], &deep, 400),
        ("SNS of another topic", &aws, vec![], &other_topic, 401),
        ("a certificate of SNS elsewhere", &aws, vec![], &other_host, 401),
        ("no token", "/in/alerts", vec![], "{}", 401),
        ("no such intake", "/in/nothing.", vec![], "{}", 404),
        ("another path", "/in/..%2f..%2fetc%2fpasswd", bearer.clone(), "x", 404),
        ("a path outside", "/in/../../etc/passwd", bearer.clone(), "x", 404),
        ("a tag that is not allowed", "/in/backup.done", bearer.clone(), "x", 403),
        ("an illegal tag", "/in/door.%3e", bearer.clone(), "x", 404),
        ("a text without a token", "/in/door.front", vec![], "x", 401),
        ("a text's own mistake", "/in/door.front?severity=loud", bearer.clone(), "x", 400),
    ];
    for (what, path, headers, body, want) in &table {
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let (status, answer) = post_with(bridge.http(), path, &headers, body)
            .await
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(status, *want, "{what}: {answer}");
        assert!(SECRETS.iter().all(|secret| !answer.contains(secret)), "{what}: {answer}");
    }
    // More is said to come than comes; the head never ends. Others are answered meanwhile.
    let raw = async |text: &str| {
        let mut stream = TcpStream::connect(bridge.http()).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    };
    let _lying = raw(&format!("POST {token} HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\n{{}}")).await;
    let _slow = raw(&format!("POST {token} HTTP/1.1\r\nHost: a\r\nX-Slow: ")).await;
    for (path, length, body, want) in [
        (token.as_str(), 1, "{", 400),
        // Neither of these two is read.
        (&token, 1_100_000, "", 413),
        ("/in/alerts/x", 1_000_000, "", 401),
    ] {
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\nConnection: close\r\n");
        let mut stream = raw(&format!("{head}\r\n{body}")).await;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, format!("HTTP/1.1 {want}").as_bytes(), "{head}");
    }
    assert_eq!(bridge.get("/healthz").await.0, 200);
    // Only this was told.
    assert_eq!(github(&bridge, "d1", &body).await, 200);
    assert_eq!(messages(&nats, 1).await.len(), 1);
    assert_no_secret(&bridge).await;
    let metrics = bridge.get("/metrics").await.1;
    assert!(
        metrics.contains("hal_bridge_webhook_requests_total{kind=\"none\",status=\"404\"} 3"),
        "{metrics}"
    );
}

#[tokio::test]
async fn devices_and_old_scripts_post_texts() {
    let nats = NatsServer::start().await;
    let (bridge, ntfy) = start(&nats).await;
    let http = bridge.http();
    let curl = |arguments: &[&str]| {
        let output = Command::new("curl").args(["-sS", "--max-time", "10"]).args(arguments).output().unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let at = |path: &str| format!("http://{http}{path}");
    curl(&[
        "-d",
        "open & shut",
        "-H",
        &bearer,
        "-H",
        "X-Title: Front door",
        &at("/in/door.front?severity=warning"),
    ]);
    curl(&["-d", "tick", &at(&format!("/in/cron/{TOKEN}"))]);
    assert_eq!(
        curl(&[
            "-d",
            r##"payload={"text": "from curl", "channel": "#ops"}"##,
            &at(&format!("/services/T0/B0/{TOKEN}"))
        ]),
        "ok"
    );
    assert_eq!(
        curl(&["-H", "Content-type: application/json", "--data", "{}", &at(&format!("/slack/{TOKEN}"))]),
        "no_text"
    );
    assert_eq!(curl(&["-d", "x", &at("/slack/other")]), "no_service");
    let script = "import sys\nfrom slack_sdk.webhook import WebhookClient\n\
        answer = WebhookClient(sys.argv[1]).send(text='<https://x.example|the run> is &lt;done&gt;', attachments=[{'color': 'danger', 'text': 'red', 'fallback': 'f'}])\n\
        print(answer.status_code, answer.body)";
    let client =
        Command::new(find::python()).args(["-c", script, &at(&format!("/slack/{TOKEN}"))]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&client.stdout).trim(), "200 ok", "{client:?}");

    // The lines of ntfy's documentation, with the token that this listener asks for.
    let topic = format!("http://{}/backups", ntfy.addr());
    let user = format!(":{TOKEN}");
    let answer = curl(&["-u", &user, "-d", "Backup successful 😀", &topic]);
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{answer}"));
    assert_eq!(
        (&answer["event"], &answer["topic"], &answer["message"]),
        (&"message".into(), &"backups".into(), &"Backup successful 😀".into())
    );
    curl(&[
        "-H",
        &bearer,
        "-H",
        "Title: Unauthorized access detected",
        "-H",
        "Priority: urgent",
        "-H",
        "Tags: warning,skull",
        "-H",
        "Click: https://home.example",
        "-H",
        "Delay: 30min",
        "-d",
        "Remote access to phils-laptop detected. Act right away.",
        &topic,
    ]);
    curl(&[
        "-H",
        &bearer,
        "-d",
        r#"{"topic":"backups","title":"Low disk","message":"Disk space is low","tags":["cd"],"priority":4}"#,
        &format!("http://{}", ntfy.addr()),
    ]);
    assert!(
        curl(&["-H", &bearer, "-d", "x", &format!("http://{}/other", ntfy.addr())]).contains("\"http\":404")
    );
    assert!(curl(&["-d", "x", &topic]).contains("\"code\":40101"));

    // Apprise as it is; `webhooks_apprise.rs` has its Slack, whose host is written in it.
    let apprise = format!(
        "from apprise import Apprise, NotifyType\n\
         for url in ['ntfy://hal:{TOKEN}@{}/backups', 'mmost://{http}/{TOKEN}']:\n\
         \x20 a = Apprise()\n\x20 a.add(url)\n\x20 print(a.notify(body='Body', title='Title', notify_type=NotifyType.FAILURE))",
        ntfy.addr()
    );
    let client = Command::new(find::in_venv("apprise", "python3")).args(["-c", &apprise]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&client.stdout), "True\nTrue\n", "{client:?}");

    let messages = messages(&nats, 9).await;
    let told: Vec<(&str, &str, &str)> = messages
        .iter()
        .map(|(subject, message)| {
            (subject.trim_start_matches("hal.ops."), message.severity.as_str(), message.text.as_str())
        })
        .collect();
    assert_eq!(
        told[..8],
        [
            ("in-door.door.front", "warning", "open & shut"),
            ("in-door.cron", "info", "tick"),
            ("in-old.chat.ops", "info", "from curl"),
            ("in-old.chat.none", "error", "the run is <done>\nred"),
            ("in-ntfy.backup.told", "info", "Backup successful 😀"),
            ("in-ntfy.backup.told", "critical", "Remote access to phils-laptop detected. Act right away."),
            ("in-ntfy.backup.told", "error", "Disk space is low"),
            ("in-ntfy.backup.told", "info", "Body"),
        ]
    );
    let (subject, severity, text) = told[8];
    assert_eq!((subject, severity), ("in-old.chat.none", "info"));
    assert!(text.contains("Title") && text.contains("Body"), "{text}");
    let urgent = &messages[5].1;
    assert_eq!(
        (urgent.title.as_deref(), urgent.links[0].url.as_str()),
        (Some("Unauthorized access detected"), "https://home.example")
    );
    assert_eq!(
        (urgent.fields["tags"].as_str(), urgent.fields["not_honoured"].as_str()),
        ("warning, skull", "delay")
    );
    assert_eq!(messages[3].1.links[0].title.as_deref(), Some("the run"));
    assert_no_secret(&bridge).await;
}

#[tokio::test]
async fn a_reload_adds_and_removes_webhooks() {
    let nats = NatsServer::start().await;
    nats.create_log().await;
    let mut bridge = Bridge::start(&nats.url(), "").await;
    let path = format!("/in/alerts/{TOKEN}");
    assert_eq!(alerts(bridge.http(), &path, "firing").await.0, 404);
    let ntfy = Port::free();
    let whole = configuration().replace("NTFY", &ntfy.addr().to_string());
    bridge.reload(&nats.url(), &whole);
    wait_until("the webhook is there", SOON, async || alerts(bridge.http(), &path, "firing").await.0 == 200)
        .await;
    wait_until("the listener is there", SOON, async || TcpStream::connect(ntfy.addr()).await.is_ok()).await;
    bridge.reload(&nats.url(), &whole.replace(TOKEN, "0Zq8Xw7Yv6Ut5Sr4Qp3On2"));
    wait_until("the old token is refused", SOON, async || {
        alerts(bridge.http(), &path, "firing").await.0 == 401
    })
    .await;
    bridge.reload(&nats.url(), "");
    wait_until("the webhook is gone", SOON, async || alerts(bridge.http(), &path, "firing").await.0 == 404)
        .await;
    wait_until("the listener is gone", SOON, async || TcpStream::connect(ntfy.addr()).await.is_err()).await;
}

#[tokio::test]
async fn every_example_of_github_is_one_readable_line() {
    let nats = NatsServer::start().await;
    let (bridge, _ntfy) = start(&nats).await;
    let examples = find::node_packages("hooks").join("@octokit/webhooks-examples/api.github.com/index.json");
    let examples: serde_json::Value = serde_json::from_slice(&std::fs::read(examples).unwrap()).unwrap();
    let mut sent = 0;
    for event in examples.as_array().unwrap() {
        let name = event["name"].as_str().unwrap();
        for example in event["examples"].as_array().unwrap() {
            sent += 1;
            let (body, delivery) = (example.to_string(), format!("d{sent}"));
            let signature = signature(SECRET, &body);
            let headers = [
                ("X-GitHub-Event", name),
                ("X-GitHub-Delivery", &delivery),
                ("X-Hub-Signature-256", &signature),
            ];
            let answer = post_with(bridge.http(), "/in/github", &headers, &body).await.unwrap();
            assert_eq!(answer.0, 200, "{name}: {}", answer.1);
        }
    }
    assert!(sent > 250, "{sent}");
    let messages = messages(&nats, sent).await;
    for (_, message) in &messages {
        let title = message.title.as_deref().unwrap_or_default();
        let is_readable = title.len() > 12
            && title.len() < 200
            && !title.contains(['\n', '{'])
            && !title.ends_with([':', ' ']);
        println!(
            "{:<28} {:<9} {:<8} {title}",
            message.tag.as_str(),
            message.severity.as_str(),
            message.status.map_or("", |status| status.as_str())
        );
        assert!(is_readable, "{title:?}");
    }
    assert_eq!(messages.len() as u64, sent);
}

#[test]
fn a_payload_can_be_tried_out() {
    let dir = tempfile::tempdir().unwrap();
    let (config, payload) = (dir.path().join("bridge.toml"), dir.path().join("payload.json"));
    std::fs::write(&config, "[webhooks.github]\nsecret_file = \"nowhere\"\n").unwrap();
    std::fs::write(&payload, issue(7)).unwrap();
    let try_out = |more: &[&str]| {
        let mut command = Command::new(find::ours("hal-bridge"));
        command.args(["webhooks", "test", "github"]).arg(&payload).arg("--config").arg(&config);
        let output = command.args(more).output().unwrap();
        (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let header = ["--header", "X-GitHub-Event: issues"];
    let (code, text) = try_out(&header);
    assert_eq!(code, Some(0), "{text}");
    for part in ["github.issues", "o/r: amy opened issue #7", "https://github.com/o/r/issues/7"] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    let (_, json) = try_out(&["--json", header[0], header[1]]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json[0]["tag"], &json[0]["key"]), (&"github.issues".into(), &"o/r#7".into()));
    let (code, text) = try_out(&[]);
    assert_eq!((code, text.contains("no event's name")), (Some(1), true), "{text}");
}
