//! The page's API on a running relay: searches with the index, over restarts and without it, and the deliveries of a
//! message. The browser tests cover the page itself.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::process::Command;

use serde_json::{Value, json};
use tests::wait::SOON;
use tests::{Events, NatsServer, Process, Relay, WebhookSink, find, wait_until};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

const CONFIG: &str = "default_room = \"page\"\n";

async fn publish(nats: &NatsServer, numbers: std::ops::Range<u32>) {
    let js = nats.jetstream().await;
    let mut acks = Vec::new();
    for n in numbers {
        acks.push(
            js.publish(format!("hal.ops.db{}.job.run", n % 3), format!("number {n}.").into()).await.unwrap(),
        );
    }
    for ack in acks {
        ack.await.unwrap();
    }
}

async fn api(relay: &Relay, path: &str) -> Value {
    let (status, body) = relay.get(path).await;
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

/// The texts of a search's results, over all its pages.
async fn search(relay: &Relay, query: &str) -> Vec<String> {
    let (mut texts, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = api(relay, &format!("/api/messages?{query}{cursor}")).await;
        let messages = page["messages"].as_array().unwrap();
        texts.extend(messages.iter().map(|entry| entry["message"]["text"].as_str().unwrap().to_owned()));
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return texts,
        }
    }
}

async fn indexed(relay: &Relay, total: usize) {
    let all = async || {
        let page = api(relay, "/api/messages?limit=500&text=number").await;
        page["incomplete"].is_null() && search(relay, "limit=500&text=number").await.len() == total
    };
    wait_until(&format!("{total} messages are search"), SOON, all).await;
}

/// Waits until the index has `total` messages: only it knows the sources. Until then, the page's connection may be lost at any
/// time by a message that the client cannot parse.
async fn in_index(relay: &Relay, total: usize) {
    let all = async || {
        let (_, sources) = relay.get("/api/sources").await;
        let sources: Value = serde_json::from_str(&sources).unwrap();
        let counts =
            sources["names"].as_array().into_iter().flatten().map(|each| each["count"].as_u64().unwrap());
        counts.sum::<u64>() == total as u64
    };
    wait_until("the index has them", SOON, all).await;
}

#[tokio::test]
async fn the_index_outlives_the_relay_and_is_made_again_when_it_is_lost() {
    let nats = NatsServer::start().await;
    let mut relay = Relay::start(&nats.url(), CONFIG).await;
    publish(&nats, 0..3000).await;
    indexed(&relay, 3000).await;
    assert_eq!(search(&relay, "text=%22number+7.%22&source=db1").await, ["number 7."]);
    let newest: Vec<String> = (0..3000).rev().map(|n| format!("number {n}.")).collect();
    assert_eq!(search(&relay, "limit=499").await, newest, "each once, newest first");

    relay.kill();
    publish(&nats, 3000..3100).await;
    relay.restart().await;
    indexed(&relay, 3100).await;

    relay.kill();
    let file = relay.dir().join("state/index-hal.db");
    std::fs::write(&file, "not a database").unwrap();
    relay.restart().await;
    indexed(&relay, 3100).await;
    let sources = api(&relay, "/api/sources").await;
    let counts: Vec<u64> =
        sources["names"].as_array().unwrap().iter().map(|name| name["count"].as_u64().unwrap()).collect();
    assert_eq!(counts.iter().sum::<u64>(), 3100);
    let spans = api(&relay, "/api/timeline?text=%22number+1%22&spans=10").await["counts"].clone();
    let total: u64 = spans.as_array().unwrap().iter().map(|span| span[1].as_u64().unwrap()).sum();
    let ones = (0..3100).filter(|n| n.to_string().starts_with('1')).count();
    assert_eq!(total, ones as u64);
}

#[tokio::test]
async fn a_log_made_anew_is_another_log() {
    let nats = NatsServer::start().await;
    let relay = Relay::start(&nats.url(), CONFIG).await;
    publish(&nats, 0..1500).await;
    indexed(&relay, 1500).await;
    nats.jetstream().await.delete_stream("HAL_OPS").await.unwrap();
    let leads_again = async || {
        let gone = relay.log().matches("stream created").count() == 4;
        gone && relay.get("/readyz").await.1.starts_with("leading")
    };
    wait_until("the relay makes it again", SOON, leads_again).await;
    publish(&nats, 5000..5010).await;
    let new: Vec<String> = (5000..5010).rev().map(|n| format!("number {n}.")).collect();
    wait_until("what was before is forgotten", SOON, async || search(&relay, "text=number").await == new)
        .await;
}

#[tokio::test]
async fn messages_as_large_as_the_server_takes_are_read() {
    const NUMBER: usize = 24;
    let nats = NatsServer::start().await;
    let relay = Relay::start(&nats.url(), CONFIG).await;
    let js = nats.jetstream().await;
    for n in 0..NUMBER {
        let text = format!("number {n}. {}", "x".repeat((1 << 20) - 100));
        js.publish("hal.ops.db1.large", text.into()).await.unwrap().await.unwrap();
    }
    indexed(&relay, NUMBER).await;
}

/// Sends a command that no client library would send.
async fn raw(nats: &NatsServer, command: &[u8]) {
    let mut server = BufReader::new(TcpStream::connect(("127.0.0.1", nats.port())).await.unwrap());
    // In the relay's own account: what comes from another one is changed by the server on its way.
    let connect = br#"CONNECT {"verbose":false,"headers":true,"user":"admin","pass":"admin"}"#;
    server.get_mut().write_all(&[connect.as_slice(), b"\r\n"].concat()).await.unwrap();
    server.get_mut().write_all(&[command, b"\r\nPING\r\n"].concat()).await.unwrap();
    let mut line = String::new();
    while line != "PONG\r\n" {
        line.clear();
        assert!(server.read_line(&mut line).await.unwrap() > 0, "the server hung up");
        assert!(!line.starts_with("-ERR"), "{line}");
    }
}

/// The server stores headers unchecked; a client that cannot parse them drops its connection.
#[tokio::test]
async fn headers_that_cannot_be_read_stop_nobody() {
    const HEADERS: [&[u8]; 4] = [
        b"NATS/1.0\r\nX: caf\xe9\r\n\r\n",
        b"NATS/1.0\r\nno colon\r\n\r\n",
        b"HTTP/1.1\r\nX: y\r\n\r\n",
        b"\r\n",
    ];
    let (nats, sink) = (NatsServer::start().await, WebhookSink::start().await);
    let hook = format!("[rooms.hook.webhook]\nurl = \"{}\"\nallow_private = true\n", sink.url());
    let relay = Relay::start(&nats.url(), &format!("default_room = \"hook\"\n{hook}")).await;
    let mut want = Vec::new();
    for (n, headers) in (0..).zip(HEADERS) {
        let (length, text) = (headers.len(), format!("odd {n}"));
        let command = format!("HPUB hal.ops.db1.raw {length} {}\r\n", length + text.len());
        raw(&nats, &[command.as_bytes(), headers, text.as_bytes()].concat()).await;
        publish(&nats, n..n + 1).await;
        want.extend([format!("odd {n}"), format!("number {n}.")]);
    }
    wait_until("the room has all of them, in order", SOON, async || sink.texts() == want).await;
    want.reverse();
    wait_until("the page too", SOON, async || search(&relay, "").await == want).await;
    in_index(&relay, want.len()).await;
    assert_eq!(search(&relay, "text=odd").await.len(), HEADERS.len());
    let newest = api(&relay, "/api/messages?text=odd").await["messages"][3]["sequence"].as_u64().unwrap();
    let one = api(&relay, &format!("/api/messages/seq-{newest}")).await;
    assert_eq!(one["message"]["text"], "odd 0");
    let traced = relay.command(&["trace", &format!("seq-{newest}")]).output().unwrap();
    assert!(String::from_utf8_lossy(&traced.stdout).contains("odd 0"), "{traced:?}");
    // A search by id reads the log, past all of these messages.
    let js = nats.jetstream().await;
    let last = json!({"v": 1, "id": "0193a5b0-after-all", "text": "the last"}).to_string();
    js.publish("hal.ops.db1.job", last.into()).await.unwrap().await.unwrap();
    let traced = relay.command(&["trace", "0193a5b0-after-all"]).output().unwrap();
    assert!(String::from_utf8_lossy(&traced.stdout).contains("the last"), "{traced:?}");
}

/// The server stores subjects unchecked too. Each such message cost a connection several times, and all rooms waited for it.
#[tokio::test]
async fn subjects_that_are_not_utf8_cost_one_connection_and_not_one_each() {
    let (nats, sink) = (NatsServer::start().await, WebhookSink::start().await);
    let hook = format!("[rooms.hook.webhook]\nurl = \"{}\"\nallow_private = true\n", sink.url());
    let relay = Relay::start(&nats.url(), &format!("default_room = \"hook\"\n{hook}")).await;
    // A leader that is interrupted while it begins begins again, and counts anew.
    publish(&nats, 100..101).await;
    let mut want = vec!["number 100.".to_owned()];
    wait_until("the room has the first", SOON, async || sink.texts() == want).await;
    for n in 0..30 {
        let text = format!("odd {n}");
        let command = [b"PUB hal.ops.db1.odd\xff\xfe ", text.len().to_string().as_bytes(), b"\r\n"].concat();
        raw(&nats, &[&command, text.as_bytes()].concat()).await;
        publish(&nats, n..n + 1).await;
        want.extend([text, format!("number {n}.")]);
    }
    wait_until("the room has all of them, in order", SOON, async || sink.texts() == want).await;
    want.reverse();
    wait_until("the page too", SOON, async || search(&relay, "limit=100").await == want).await;
    in_index(&relay, 61).await;
    let lost = || relay.log().matches("disconnected from NATS").count();
    // Inbox, tail and index may all meet the first, on two connections and more than once, before one of them knows it; without
    // that, each of the thirty costs some.
    let before = lost();
    assert!((1..=10).contains(&before), "{before} connections were lost\n{}", relay.log());
    // So much that the odd ones are only in the log, where each new reader meets them.
    let js = nats.jetstream().await;
    for _ in 0..80 {
        js.publish("hal.ops.db1.large", "x".repeat(60_000).into()).await.unwrap().await.unwrap();
    }
    publish(&nats, 1149..1150).await;
    for _ in 0..3 {
        let mut page = Events::open(relay.http(), "/api/stream?after=0").await.unwrap();
        page.until("the last message", |event| event.data.contains("number 1149.")).await;
    }
    assert_eq!(lost(), before, "{}", relay.log());
}

#[tokio::test]
async fn without_a_place_for_an_index_the_latest_are_shown_and_why() {
    let nats = NatsServer::start().await;
    let config = format!("{CONFIG}state_dir = \"/dev/null/nowhere\"\n");
    let relay = Relay::start(&nats.url(), &config).await;
    publish(&nats, 0..10).await;
    wait_until("they are shown", SOON, async || search(&relay, "").await.len() == 10).await;
    let page = api(&relay, "/api/messages").await;
    let reason = page["incomplete"]["reason"].as_str().unwrap();
    assert!(reason.contains("there is no index: /dev/null/nowhere"), "{reason}");
    let (status, body) = relay.get("/api/sources").await;
    assert!(status == 503 && body.contains("there is no index"), "{body}");
    let newest = &page["messages"][0];
    let path = format!("/api/messages/seq-{}", newest["sequence"]);
    assert_eq!(api(&relay, &path).await["message"]["text"], "number 9.");
    let posted = async || api(&relay, &path).await["rooms"][0]["state"] == "posted";
    wait_until("it is shown as posted", SOON, posted).await;
}

#[tokio::test]
async fn an_index_that_cannot_be_written_holds_up_nobody_and_catches_up() {
    const HOLD: &str = "import sqlite3, sys, time; db = sqlite3.connect(sys.argv[1], isolation_level=None); \
                        db.execute('begin exclusive'); print('held', flush=True); time.sleep(600)";
    let (nats, sink) = (NatsServer::start().await, WebhookSink::start().await);
    let hook = format!("[rooms.hook.webhook]\nurl = \"{}\"\nallow_private = true\n", sink.url());
    let relay = Relay::start(&nats.url(), &format!("default_room = \"hook\"\n{hook}")).await;
    publish(&nats, 0..10).await;
    indexed(&relay, 10).await;
    let mut holder = Command::new(find::python());
    holder.args(["-c", HOLD]).arg(relay.dir().join("state/index-hal.db"));
    let log = relay.dir().join("holder.log");
    let mut holder = Process::start("the holder", &mut holder, &log);
    holder.ready("it holds the file", async || std::fs::read_to_string(&log).unwrap().contains("held")).await;
    publish(&nats, 10..2000).await;
    wait_until("the room has the last", SOON, async || nats.is_through("hook").await).await;
    let says = async || {
        let page = api(&relay, "/api/messages?text=%22number+500.%22").await;
        page["incomplete"]["reason"].as_str().is_some_and(|reason| reason.contains("cannot be written"))
    };
    wait_until("it says that the index is behind, and why", SOON, says).await;
    assert_eq!(search(&relay, "text=%22number+1999.%22").await, ["number 1999."], "the newest are there");
    holder.kill();
    indexed(&relay, 2000).await;
    assert_eq!(relay.log().matches("the index cannot be written").count(), 1);
}

#[tokio::test]
async fn two_relays_show_the_same_and_messages_with_one_id_are_distinguished() {
    let (nats, sink) = (NatsServer::start().await, WebhookSink::start().await);
    let config = format!(
        "default_room = \"hook\"\n[rooms.hook.webhook]\nurl = \"{}\"\nallow_private = true\n",
        sink.url()
    );
    let first = Relay::start(&nats.url(), &config).await;
    let second = Relay::start(&nats.url(), &config).await;
    let js = nats.jetstream().await;
    let tell = async |source: &str, text: &str| {
        let body = format!(r#"{{"v":1,"id":"deploy-7","text":"{text}"}}"#);
        js.publish(format!("hal.ops.{source}.deploy"), body.into()).await.unwrap().await.unwrap().sequence
    };
    let sequences = [tell("web1", "mine").await, tell("web1", "mine").await, tell("web2", "another's").await];
    for relay in [&first, &second] {
        let fate = async |id: &str| {
            let path = format!("/api/messages/{id}");
            wait_until(&format!("{id} is settled"), SOON, async || {
                let (status, body) = relay.get(&path).await;
                status == 200 && serde_json::from_str::<Value>(&body).unwrap()["settled"] == true
            })
            .await;
            api(relay, &path).await
        };
        let by_id = fate("deploy-7").await;
        assert_eq!((&by_id["sequence"], &by_id["message"]["source"]), (&sequences[0].into(), &"web1".into()));
        assert_eq!(by_id["also"], serde_json::json!(sequences[1..]));
        assert_eq!(by_id["rooms"][0]["state"], "posted");
        assert_eq!(by_id["rooms"][0]["steps"][0]["attempts"][0]["answer"], "127.0.0.1: answered 200 OK");
        assert_eq!(by_id["notes"], serde_json::json!([]));
        let again = fate(&format!("seq-{}", sequences[1])).await;
        assert_eq!(
            (&again["rooms"], &again["notes"][0]["state"]),
            (&serde_json::json!([]), &"dropped".into())
        );
        let other = fate(&format!("seq-{}", sequences[2])).await;
        assert_eq!(other["rooms"][0]["state"], "posted", "{other}");
        assert_eq!(other["rooms"][0]["steps"][0]["delivery"], format!("seq-{}/hook", sequences[2]));
    }
    assert_eq!(sink.texts(), ["mine", "another's"]);
}

/// Publishes a message about the thing `key`; returns its sequence.
async fn about(nats: &NatsServer, source: &str, key: &str, status: &str, severity: &str) -> u64 {
    let text = format!("{key} {status}");
    let body = json!({"v": 1, "text": text, "key": key, "status": status, "severity": severity}).to_string();
    nats.jetstream()
        .await
        .publish(format!("hal.ops.{source}.job"), body.into())
        .await
        .unwrap()
        .await
        .unwrap()
        .sequence
}

#[tokio::test]
async fn what_failed_is_open_until_it_is_over_and_no_search_shows_it_as_open_after_that() {
    let nats = NatsServer::start().await;
    let relay = Relay::start(&nats.url(), CONFIG).await;
    let failed = about(&nats, "db1", "backup", "failed", "error").await;
    about(&nats, "db1", "report", "started", "info").await;
    about(&nats, "web1", "replication", "failed", "critical").await;
    about(&nats, "web1", "deploy", "failed", "critical").await;
    let over = about(&nats, "web1", "deploy", "resolved", "info").await;
    let open = async || {
        let answer = api(&relay, "/api/problems").await;
        let problems = answer["problems"].as_array().unwrap().clone();
        let name = |each: &Value| format!("{} {}", each["key"], each["state"]).replace('"', "");
        problems.iter().map(name).collect::<Vec<String>>()
    };
    let wanted = ["replication failed", "backup failed", "report running"];
    wait_until("three are open, the worst first", SOON, async || open().await == wanted).await;

    // The message that says that it is over is in no search for what failed.
    let bad = api(&relay, "/api/messages?status=failed").await["messages"].clone();
    let ends: Vec<&Value> = bad.as_array().unwrap().iter().map(|each| &each["over"]["sequence"]).collect();
    assert_eq!(ends, [&json!(over), &Value::Null, &Value::Null]);
    about(&nats, "db1", "backup", "succeeded", "info").await;
    let one = api(&relay, &format!("/api/messages/seq-{failed}")).await;
    assert_eq!(one["over"]["status"], "succeeded", "before the index has it");
    wait_until("it is over", SOON, async || open().await == ["replication failed", "report running"]).await;

    // Far more messages than are in memory, so that the index alone knows.
    publish(&nats, 0..1200).await;
    indexed(&relay, 1200).await;
    let bad = api(&relay, "/api/messages?status=failed&key=deploy").await["messages"].clone();
    assert_eq!(bad[0]["over"]["sequence"], over);
    assert_eq!(search(&relay, "key=backup&status=!failed").await, ["backup succeeded"]);
    assert_eq!(
        search(&relay, "source=!db0&source=!db1&source=!db2&status=resolved").await,
        ["deploy resolved"]
    );
}

#[tokio::test]
async fn a_search_is_exported_whole() {
    let nats = NatsServer::start().await;
    let relay = Relay::start(&nats.url(), CONFIG).await;
    publish(&nats, 0..2500).await;
    indexed(&relay, 2500).await;
    about(&nats, "db1", "=1+1", "failed", "error").await;
    wait_until("the last is there", SOON, async || search(&relay, "status=failed").await.len() == 1).await;
    let (status, lines) = relay.get("/api/export?format=jsonl").await;
    assert_eq!(status, 200);
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), &lines[0]["message"]["key"]), (2501, &json!("=1+1")));
    assert_eq!(lines[2500]["message"]["text"], "number 0.", "newest first, to the first");
    let (_, csv) = relay.get("/api/export?format=csv&status=failed").await;
    let wanted = "time,severity,status,tag,source,host,user,key,title,text,fields,links,id,sequence\r\n";
    assert!(csv.starts_with(wanted) && csv.contains("\"'=1+1\",\"\",\"'=1+1 failed\""), "{csv}");
    assert_eq!(csv.lines().count(), 2);
    let (status, refused) = relay.get("/api/export?format=xml").await;
    assert!(status == 400 && refused.contains("it is jsonl or csv"), "{refused}");
}

#[tokio::test]
async fn the_state_tells_what_is_wrong_and_only_then_is_not_well() {
    let (nats, sink) = (NatsServer::start().await, WebhookSink::start().await);
    let hook = format!("[rooms.pager.webhook]\nurl = \"{}\"\nallow_private = true\n", sink.url());
    let mut relay = Relay::start(&nats.url(), &format!("default_room = \"pager\"\n{hook}")).await;
    wait_until("all is well", SOON, async || api(&relay, "/api/status").await["well"] == true).await;
    sink.always(tests::Answer::status(503));
    publish(&nats, 0..1).await;
    let fails = async || {
        let now = api(&relay, "/api/status").await;
        now["failing"][0]["room"] == "pager" && now["well"] == false && now["last"]["sequence"].is_u64()
    };
    wait_until("the room fails", SOON, fails).await;
    sink.always(tests::Answer::status(200));
    wait_until("all is well again", 3 * SOON, async || api(&relay, "/api/status").await["well"] == true)
        .await;
    sink.always(tests::Answer::status(404));
    publish(&nats, 1..2).await;
    let dead = async || {
        let now = api(&relay, "/api/status").await;
        now["dead"] == 1 && now["well"] == false
    };
    wait_until("there is a dead letter", SOON, dead).await;
    relay.reload(&nats.url(), "default_room = \"none\"\n");
    let refused = async || api(&relay, "/api/status").await["config_error"].is_string();
    wait_until("the changed configuration is refused", SOON, refused).await;
}

/// An independent client checks every address against the OpenAPI document, with right and wrong requests.
#[tokio::test]
async fn schemathesis_finds_nothing() {
    const TOKEN: &str = "oncall-0123456789abcdef";
    let (nats, sink) = (NatsServer::start().await, WebhookSink::start().await);
    sink.always(tests::Answer::status(404));
    let token = format!("[[page.tokens]]\nname = \"oncall\"\nrole = \"operator\"\ntoken = \"{TOKEN}\"\n");
    let route = format!("routes = [{{ name = \"jobs\", tag = \"job.>\", rooms = [\"hook\"] }}]\n{token}");
    let hook = format!("[rooms.hook.webhook]\nurl = \"{}\"\nallow_private = true\n", sink.url());
    let relay = Relay::start(&nats.url(), &format!("{CONFIG}{route}{hook}")).await;
    publish(&nats, 0..50).await;
    wait_until("there are dead letters", SOON, async || nats.messages("HAL_DEAD").await >= 50).await;
    let mut schemathesis = Command::new(find::python().with_file_name("schemathesis"));
    schemathesis
        .args(["run", "--no-color", "--generation-database", "none", "--seed", "1"])
        // The stream never ends; it has tests of its own.
        .args(["--exclude-path", "/api/stream", "--max-examples", "25"])
        .args(["-H", &format!("Authorization: Bearer {TOKEN}")])
        .arg(format!("http://{}/api/openapi.json", relay.http()))
        .current_dir(relay.dir());
    let ran = tokio::task::spawn_blocking(move || schemathesis.output()).await.unwrap().unwrap();
    let stdout = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{stdout}\n{}", String::from_utf8_lossy(&ran.stderr));
    assert!(stdout.contains("Tested: 17"), "{stdout}");
}
