//! MQTT with a real broker: what is published on topics is in the log, whatever is killed or restarted, and the relay's room
//! publishes what others can read.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use tellhal::Message;
use tests::mosquitto::{Mosquitto, Options, USER};
use tests::wait::SOON;
use tests::{Bridge, NatsServer, Relay, wait_until};

fn intake(url: &str, more: &str) -> String {
    format!("[mqtt.plant]\nurl = \"{url}\"\ntopics = [\"plant/#\"]\ntag = \"plant.{{1}}\"\n{more}\n")
}

async fn heard(bridge: &Bridge) {
    wait_until("the topics are heard", SOON, async || {
        bridge.get("/readyz").await.1.contains("mqtt plant: heard")
    })
    .await;
}

/// A server with its log, a broker, and a bridge that hears it.
async fn start(options: Options, more: &str) -> (NatsServer, Mosquitto, Bridge) {
    let (nats, broker) = tokio::join!(NatsServer::start(), Mosquitto::start(options));
    nats.create_log().await;
    let bridge = Bridge::start(&nats.url(), &intake(&broker.url(), more)).await;
    heard(&bridge).await;
    (nats, broker, bridge)
}

/// The messages of the intake in the log.
async fn told(nats: &NatsServer) -> Vec<Message> {
    let stream = nats.jetstream().await.get_stream("HAL_OPS").await.unwrap();
    let mut messages = Vec::new();
    for sequence in 1..=nats.messages("HAL_OPS").await {
        let raw = stream.get_raw_message(sequence).await.unwrap();
        if raw.subject.starts_with("hal.ops.in-plant.") {
            messages.push(serde_json::from_slice(&raw.payload).unwrap());
        }
    }
    messages
}

/// The same once one has this text.
async fn told_with(nats: &NatsServer, text: &str) -> Vec<Message> {
    let mut messages = Vec::new();
    wait_until(&format!("{text} is told"), SOON, async || {
        messages = told(nats).await;
        messages.iter().any(|message: &Message| message.text == text)
    })
    .await;
    messages
}

/// How often each text was told.
async fn counts(nats: &NatsServer) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    told(nats).await.into_iter().for_each(|message| *counts.entry(message.text).or_default() += 1);
    counts
}

/// Publishes with a client that checks nothing; true if the broker has taken it.
fn publish_anything(broker: &Mosquitto, topic: &[u8], payload: &[u8]) -> bool {
    let text = |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat();
    let packet = |first: u8, body: &[u8]| {
        let (mut packet, mut length) = (vec![first], body.len());
        while length >= 0x80 {
            packet.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        packet.push(length as u8);
        [packet, body.to_vec()].concat()
    };
    let mut stream = TcpStream::connect(broker.addr()).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let hello = [text(b"MQTT"), vec![4, 2, 0, 60], text(b"")].concat();
    stream.write_all(&packet(0x10, &hello)).unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).unwrap();
    let _ = stream.write_all(&packet(0x32, &[text(topic), vec![0, 7], payload.to_vec()].concat()));
    stream.read_exact(&mut answer).is_ok() && answer[0] == 0x40
}

#[tokio::test]
async fn topics_and_payloads_of_any_kind_are_messages() {
    topics_and_payloads("3.1.1").await;
}

#[tokio::test]
async fn topics_and_payloads_of_any_kind_are_messages_in_version_5() {
    topics_and_payloads("5").await;
}

async fn topics_and_payloads(version: &str) {
    let (nats, broker, bridge) = start(Options::default(), &format!("version = \"{version}\"")).await;
    let long = [b"plant/".to_vec(), vec![b'y'; 65_000]].concat();
    let huge = vec![b'x'; 3 << 20];
    // The topic, the payload, the tag if the broker takes it, and the beginning of the text.
    type Row<'a> = (&'a [u8], &'a [u8], Option<&'a str>, &'a str);
    let table: [Row<'_>; 10] = [
        (b"plant/oven", b"81 C", Some("plant.oven"), "81 C"),
        (b"plant/oven 7/a.b", b"81 C\n", Some("plant.oven_7_a_b"), "81 C"),
        (b"plant", b"", Some("plant.none"), "(empty)"),
        (b"plant/$SYS", b"\xff\xfe", Some("plant._SYS"), "\u{fffd}\u{fffd}"),
        (b"plant/*/>", b"{\"a\":1}", Some("plant.___"), "{\"a\":1}"),
        (&long, b"long", Some("plant."), "long"),
        (b"plant/huge", &huge, Some("plant.huge"), "xxx"),
        (b"plant/\x01", b"control", None, ""),
        (b"plant/+", b"wildcard", None, ""),
        (b"plant/\xff", b"not UTF-8", None, ""),
    ];
    for (topic, payload, tag, _) in table {
        let name = String::from_utf8_lossy(&topic[..topic.len().min(40)]).into_owned();
        assert_eq!(publish_anything(&broker, topic, payload), tag.is_some(), "{version} {name}");
    }
    broker.publish("elsewhere", b"not ours", &[]);
    broker.publish("plant/last", b"the last", &[]);
    let messages = told_with(&nats, "the last").await;
    let wanted: Vec<_> = table.iter().filter_map(|(_, _, tag, text)| Some((tag.as_ref()?, text))).collect();
    assert_eq!(messages.len(), wanted.len() + 1, "{version}: {messages:?}");
    for (message, (tag, text)) in messages.iter().zip(wanted) {
        assert!(message.tag.as_str().starts_with(*tag) && message.text.starts_with(*text), "{message:?}");
        assert_eq!(message.source, "in-plant");
        assert!(message.text.len() <= 70_000, "{}", message.tag);
    }
    assert!(messages[6].fields["payload"].starts_with("cut after"), "{:?}", messages[6].fields);
    assert!(!bridge.log().contains("not heard"), "{version}: {}", bridge.log());
}

#[tokio::test]
async fn a_broker_that_is_restarted_is_heard_again() {
    tokio::join!(restarted(true, "3.1.1"), restarted(false, "3.1.1"));
}

#[tokio::test]
async fn a_broker_that_is_restarted_is_heard_again_in_version_5() {
    tokio::join!(restarted(true, "5"), restarted(false, "5"));
}

async fn restarted(persistent: bool, version: &str) {
    let options = Options { persistent, ..Options::default() };
    let (nats, mut broker, _bridge) = start(options, &format!("version = \"{version}\"")).await;
    broker.publish("plant/a", b"before", &[]);
    told_with(&nats, "before").await;
    broker.restart().await;
    if persistent {
        // The session is the broker's, whether or not the bridge is back: nothing is lost.
        (0..20).for_each(|number| broker.publish("plant/a", format!("at once {number}").as_bytes(), &[]));
        told_with(&nats, "at once 19").await;
        let counts = counts(&nats).await;
        assert_eq!((counts.len(), counts.values().all(|count| *count == 1)), (21, true), "{counts:?}");
    } else {
        // The session is gone, and what is published before the bridge is back is nobody's.
        wait_until("the topics are subscribed to again", SOON, async || {
            broker.publish("plant/a", b"again", &[]);
            told(&nats).await.iter().any(|message| message.text == "again")
        })
        .await;
    }
}

#[tokio::test]
async fn no_message_is_missed_when_one_of_two_bridges_ends() {
    let (nats, broker, mut one) = start(Options::default(), "").await;
    let mut two = Bridge::start(&nats.url(), &intake(&broker.url(), "")).await;
    assert!(two.get("/readyz").await.1.contains("mqtt plant: another bridge has it"));
    let lines = |from: usize| (from..from + 100).map(|number| format!("{number:04}\n")).collect::<String>();
    let has = async |count: u64| {
        let what = format!("{count} messages are told");
        wait_until(&what, SOON * 3, async || nats.messages("HAL_OPS").await >= count).await;
    };
    // In order: what was taken is told and acknowledged, the rest is the other bridge's.
    std::thread::scope(|scope| {
        scope.spawn(|| broker.publish_lines("plant/a", &lines(0)));
    });
    assert!(one.process().terminate(SOON).await.success());
    has(100).await;
    heard(&two).await;
    let told = counts(&nats).await;
    assert!(told.len() == 100 && told.values().all(|count| *count == 1), "each once: {told:?}");
    // Killed among messages: the other bridge has taken over, and only what was on its way may be told twice.
    let mut one = Bridge::start(&nats.url(), &intake(&broker.url(), "")).await;
    broker.publish_lines("plant/a", &lines(100));
    has(110).await;
    two.kill();
    heard(&one).await;
    broker.publish("plant/a", b"the last", &[]);
    told_with(&nats, "the last").await;
    let counts = counts(&nats).await;
    let again = counts.values().map(|count| count - 1).sum::<usize>();
    assert!(counts.len() == 201 && again <= 2, "{again} told again: {counts:?}");
    one.kill();
}

#[tokio::test]
async fn a_message_that_was_told_and_not_acknowledged_is_told_once() {
    let (nats, broker, mut one) = start(Options::default(), "").await;
    let two = Bridge::start(&nats.url(), &intake(&broker.url(), "")).await;
    let records = nats.jetstream().await.get_key_value("HAL_BRIDGE").await.unwrap();
    // True if the record has a message that is not settled.
    let is_taken = async || {
        use futures_util::TryStreamExt as _;
        let keys: Vec<String> = records.keys().await.unwrap().try_collect().await.unwrap();
        let key = keys.iter().find(|key| key.starts_with("mqtt.")).unwrap();
        let record = records.get(key).await.unwrap().unwrap();
        String::from_utf8_lossy(&record).contains("\"content\"")
    };
    // The bridge is stopped as soon as the log has a message, until it is stopped before it has settled that message.
    let mut number = 0;
    loop {
        number += 1;
        assert!(number < 400, "the bridge is never stopped at the right moment");
        let told = nats.messages("HAL_OPS").await;
        broker.publish("plant/a", b"the same", &[]);
        while nats.messages("HAL_OPS").await == told {
            tokio::task::yield_now().await;
        }
        one.process().pause().await;
        if is_taken().await {
            break;
        }
        one.process().resume();
    }
    one.kill();
    heard(&two).await;
    broker.publish("plant/a", b"the last", &[]);
    told_with(&nats, "the last").await;
    assert_eq!(counts(&nats).await["the same"], number, "equal messages are told each, and none twice");
}

#[tokio::test]
async fn retained_messages_are_told_only_where_that_is_wanted() {
    retained("3.1.1").await;
}

#[tokio::test]
async fn retained_messages_are_told_only_where_that_is_wanted_in_version_5() {
    retained("5").await;
}

async fn retained(version: &str) {
    let broker = Mosquitto::start(Options::default()).await;
    (0..50).for_each(|number| broker.publish(&format!("plant/{number}"), b"old", &["-r"]));
    for (more, wanted) in [("", 0), ("retained = \"tell\"", 50)] {
        let nats = NatsServer::start().await;
        nats.create_log().await;
        let more = format!("version = \"{version}\"\nclient_id = \"{version}-{wanted}\"\n{more}");
        let bridge = Bridge::start(&nats.url(), &intake(&broker.url(), &more)).await;
        heard(&bridge).await;
        broker.publish("plant/new", b"new", &[]);
        let has_all = async || nats.messages("HAL_OPS").await > wanted;
        wait_until("all is told", SOON * 3, has_all).await;
        let counts = counts(&nats).await;
        let old = counts.get("old").copied().unwrap_or_default();
        assert!(counts["new"] == 1 && old as u64 == wanted, "{version} {more}: {counts:?}");
        let ignored = bridge.get("/metrics").await.1.contains("mqtt_ignored_total{reason=\"retained\"} 50");
        assert_eq!(ignored, version == "3.1.1" && wanted == 0, "{version}: version 5 asks for none");
    }
}

#[tokio::test]
async fn a_broker_that_does_not_let_us_in_is_told_in_one_line() {
    let_in("3.1.1").await;
}

#[tokio::test]
async fn a_broker_that_does_not_let_us_in_is_told_in_one_line_in_version_5() {
    let_in("5").await;
}

async fn let_in(version: &str) {
    let options = Options { asks: true, tls: true, ..Options::default() };
    let (nats, broker) = tokio::join!(NatsServer::start(), Mosquitto::start(options));
    nats.create_log().await;
    let ca = format!("tls_ca = \"{}\"", broker.certificates().ca.display());
    let with = |password: &str| {
        format!("version = \"{version}\"\nuser = \"{}\"\npassword = \"{password}\"\n", USER.0)
    };
    for (more, reason) in [
        (with("wrong-secret") + &ca, "the broker refuses the connection: wrong user or password"),
        (with(USER.1), "tls: the certificate is of an unknown CA"),
    ] {
        let bridge = Bridge::start(&nats.url(), &intake(&broker.url(), &more)).await;
        let wanted = format!("mqtt plant: not heard: {}: {reason}", broker.addr());
        wait_until(&wanted, SOON, async || bridge.get("/readyz").await.1.contains(&wanted)).await;
        for secret in ["wrong-secret", USER.1] {
            assert!(!bridge.log().contains(secret), "{}", bridge.log());
        }
    }
    let bridge = Bridge::start(&nats.url(), &intake(&broker.url(), &(with(USER.1) + &ca))).await;
    heard(&bridge).await;
    broker.publish("plant/a", b"inside", &[]);
    told_with(&nats, "inside").await;
}

#[tokio::test]
async fn a_broker_that_asks_for_a_certificate_gets_ours() {
    let options = Options { tls: true, verifies: true, ..Options::default() };
    let (nats, broker) = tokio::join!(NatsServer::start(), Mosquitto::start(options));
    nats.create_log().await;
    let certificates = broker.certificates();
    let ca = format!("tls_ca = {:?}\n", certificates.ca);
    let own =
        format!("{ca}tls_cert = {:?}\ntls_key = {:?}", certificates.client_cert, certificates.client_key);
    for version in ["3.1.1", "5"] {
        let more = |own: &str| intake(&broker.url(), &format!("version = \"{version}\"\n{own}"));
        let mut without = Bridge::start(&nats.url(), &more(&ca)).await;
        let wanted =
            format!("mqtt plant: not heard: {}: tls: the server wants a client certificate", broker.addr());
        wait_until(&wanted, SOON, async || without.get("/readyz").await.1.contains(&wanted)).await;
        without.process().terminate(Duration::from_secs(20)).await;
        let mut bridge = Bridge::start(&nats.url(), &more(&own)).await;
        heard(&bridge).await;
        broker.publish("plant/a", version.as_bytes(), &[]);
        told_with(&nats, version).await;
        bridge.process().terminate(Duration::from_secs(20)).await;
    }
}

#[tokio::test]
async fn the_room_publishes_messages_and_retains_the_state_of_things() {
    publishes("3.1.1").await;
}

#[tokio::test]
async fn the_room_publishes_messages_and_retains_the_state_of_things_in_version_5() {
    publishes("5").await;
}

async fn publishes(version: &str) {
    let (nats, mut broker) = tokio::join!(
        NatsServer::start(),
        Mosquitto::start(Options { persistent: true, ..Options::default() })
    );
    let heard = broker.hear("hal/ops/#");
    let room = |name: &str, more: &str| {
        format!("[rooms.{name}.mqtt]\nurl = \"{}\"\nversion = \"{version}\"\n{more}\n", broker.url())
    };
    let configuration = format!(
        "default_room = \"plant\"\n{}{}\n[[routes]]\nname = \"all\"\ntag = \">\"\nrooms = [\"plant\", \"open\"]\n",
        room("plant", ""),
        room("open", "topic = \"open/{tag}\"\nstate = \"open/{source}/{key}\"\nresolved = \"clear\"")
    );
    let relay = Relay::start(&nats.url(), &configuration).await;
    let tell = |key: &str, status: &str, text: &str| {
        let mut command = tests::tellhal(&nats.url(), relay.dir());
        command.args(["-t", "disk.full", "--key", key, "--status", status, text]);
        assert!(command.env("TELLHAL_SOURCE", "db1").status().unwrap().success());
    };
    tell("/var", "failed", "97 %");
    tell("/tmp", "failed", "99 %");
    tell("/var", "resolved", "40 %");
    wait_until("the messages are heard", SOON, async || {
        heard.log().matches("hal/ops/db1/disk/full {").count() == 3
    })
    .await;
    // A fresh client knows the state of each thing; and so it does after a restart.
    broker.restart().await;
    tell("/home", "failed", "98 %");
    wait_until("the last state is retained", SOON, async || broker.retained("hal/state/#").len() == 3).await;
    let states: BTreeMap<String, String> = broker.retained("hal/state/#").into_iter().collect();
    for (topic, status, text) in [
        ("hal/state/db1/%2Fvar", "resolved", "40 %"),
        ("hal/state/db1/%2Ftmp", "failed", "99 %"),
        ("hal/state/db1/%2Fhome", "failed", "98 %"),
    ] {
        let state: serde_json::Value = serde_json::from_str(&states[topic]).unwrap();
        assert_eq!((state["status"].as_str(), state["text"].as_str()), (Some(status), Some(text)), "{topic}");
        assert_eq!(state["source"], "db1");
    }
    wait_until("what is resolved is forgotten", SOON, async || {
        let open: Vec<String> = broker.retained("open/#").into_iter().map(|(topic, _)| topic).collect();
        open.len() == 2 && !open.contains(&"open/db1/%2Fvar".to_owned())
    })
    .await;
    wait_until("the receipts are there", SOON, async || {
        nats.is_through("plant").await && nats.is_through("open").await
    })
    .await;
}

#[tokio::test]
async fn a_bus_that_is_away_loses_nothing() {
    let (mut nats, broker, bridge) = start(Options::default(), "").await;
    nats.kill();
    let spooled = async || std::fs::read_dir(bridge.dir().join("spool/new")).map_or(0, Iterator::count);
    for number in 0..5 {
        broker.publish("plant/a", format!("away {number}").as_bytes(), &[]);
    }
    wait_until("the messages are spooled", SOON, async || spooled().await == 5).await;
    // Longer than the lease: the connection goes on.
    tokio::time::sleep(Duration::from_secs(6)).await;
    broker.publish("plant/a", b"later", &[]);
    wait_until("it still hears", SOON, async || spooled().await == 6).await;
    nats.restart().await;
    told_with(&nats, "later").await;
    wait_until("all is told", SOON, async || counts(&nats).await.len() == 6).await;
    assert!(counts(&nats).await.values().all(|count| *count == 1), "{:?}", counts(&nats).await);
}
