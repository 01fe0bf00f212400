//! Certificates that are expired, for another host or of an unknown authority: every connection refuses them with the
//! reason, and never uses plain text instead. With a valid certificate the message arrives.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::path::Path;

use tests::wait::SOON;
use tests::{
    Certificates, Flaw, IrcClient, NatsOptions, NatsServer, Ngircd, Relay, TlsFront, WebhookSink, tellhal,
    wait_until,
};

/// The flaw, whether the client trusts another authority than the server's, and the expected reason.
const BAD: [(Flaw, bool, &str); 3] = [
    (Flaw::Expired, false, "the certificate has expired"),
    (Flaw::OtherHost, false, "the certificate is for another host"),
    (Flaw::None, true, "the certificate is of an unknown CA"),
];

/// The server's certificates, and the authority that the client trusts.
fn certificates(dir: &Path, flaw: Flaw, foreign: bool) -> (Certificates, std::path::PathBuf) {
    let (server, other) = (dir.join("server"), dir.join("other"));
    std::fs::create_dir_all(&server).unwrap();
    std::fs::create_dir_all(&other).unwrap();
    let certificates = Certificates::create(&server, flaw);
    let ca = match foreign {
        true => Certificates::create(&other, Flaw::None).ca,
        false => certificates.ca.clone(),
    };
    (certificates, ca)
}

async fn publish(nats: &NatsServer, text: &str) {
    let js = nats.jetstream().await;
    js.publish("hal.ops.db1.a", text.to_owned().into()).await.unwrap().await.unwrap();
}

/// Waits until the log has `what` in an error of room `room`.
async fn room_reports(relay: &Relay, room: &str, what: &str) {
    let reported = async || {
        let log = relay.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let mut reasons = lines.filter(|line| line["room"] == room);
        reasons.any(|line| line["reason"].as_str().is_some_and(|reason| reason.contains(what)))
    };
    wait_until(&format!("room {room}: {what}"), SOON, reported).await;
}

#[tokio::test]
async fn webhook_rooms_refuse_bad_certificates_by_name() {
    let nats = NatsServer::start().await;
    let (dir, sink) = (tempfile::tempdir().unwrap(), WebhookSink::start().await);
    let mut rooms = "default_room = \"page\"\n[[routes]]\nname = \"all\"\ntag = \">\"\n\
                     rooms = [\"good\", \"r0\", \"r1\", \"r2\"]\n"
        .to_owned();
    let mut fronts = Vec::new();
    let cases = [("good", (Flaw::None, false, "")), ("r0", BAD[0]), ("r1", BAD[1]), ("r2", BAD[2])];
    for (room, (flaw, foreign, _)) in cases {
        let (certificates, ca) = certificates(&dir.path().join(room), flaw, foreign);
        let front = TlsFront::of(&certificates, sink.addr()).await;
        let url = format!("https://{}/{room}", front.addr());
        rooms += &format!(
            "[rooms.{room}.webhook]\nurl = \"{url}\"\nallow_private = true\ntls_ca = \"{}\"\n",
            ca.display()
        );
        fronts.push(front);
    }
    let relay = Relay::start(&nats.url(), &rooms).await;
    publish(&nats, "secret words").await;
    for (room, (_, _, what)) in &cases[1..] {
        room_reports(&relay, room, what).await;
    }
    wait_until("the good one has it", SOON, async || sink.texts() == ["secret words"]).await;
    assert!(sink.requests().iter().all(|request| request.path == "/good"), "{:?}", sink.requests());
    for front in fronts {
        let first = front.first_bytes();
        assert!(!first.is_empty() && first.iter().all(|byte| *byte == 0x16), "in the clear: {first:?}");
    }
    let receipts = async || nats.messages("HAL_SENT").await;
    wait_until("only what was posted has a receipt", SOON, async || receipts().await == 1).await;
    assert_eq!(nats.messages("HAL_DEAD").await, 0);
}

async fn irc_room(flaw: Flaw, foreign: bool, what: &str) {
    let (nats, dir) = (NatsServer::start().await, tempfile::tempdir().unwrap());
    let (certificates, ca) = certificates(dir.path(), flaw, foreign);
    let irc = Ngircd::with_tls(&certificates).await;
    let reader = IrcClient::join(irc.addr(), "reader", "#ops").await;
    let (server, ca) = (irc.tls_addr(), ca.display());
    let rooms = format!(
        "default_room = \"ops\"\n[rooms.ops.irc]\nserver = \"{server}\"\ntls_ca = \"{ca}\"\nchannel = \"#ops\"\n"
    );
    let relay = Relay::start(&nats.url(), &rooms).await;
    publish(&nats, "secret words").await;
    if what.is_empty() {
        reader.hears("secret words").await;
        return;
    }
    room_reports(&relay, "ops", what).await;
    assert!(reader.lines().is_empty(), "{:?}", reader.lines());
    assert!(!reader.raw().iter().any(|line| line.contains("hal!")), "a client joined: {:?}", reader.raw());
}

#[tokio::test]
async fn irc_rooms_refuse_bad_certificates_by_name() {
    let cases = BAD.into_iter().chain([(Flaw::None, false, "")]);
    futures_util::future::join_all(cases.map(|(flaw, foreign, what)| irc_room(flaw, foreign, what))).await;
}

#[tokio::test]
async fn a_nats_server_with_a_bad_certificate_gets_nothing_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let sink = WebhookSink::start().await;
    let hook = format!("[rooms.hook.webhook]\nurl = \"{}\"\nallow_private = true\n", sink.url());
    for (n, (flaw, foreign, what)) in BAD.into_iter().chain([(Flaw::None, false, "")]).enumerate() {
        let home = dir.path().join(n.to_string());
        let (certificates, ca) = certificates(&home, flaw, foreign);
        let options = NatsOptions { tls: Some(certificates), ..NatsOptions::default() };
        let nats = NatsServer::with(options).await;
        let rooms = format!(
            "default_room = \"hook\"\n{hook}[nats]\nurl = \"{}\"\ntls_ca = \"{}\"\nnkey_file = {:?}\n",
            nats.url(),
            ca.display(),
            tests::users::key("relay")
        );
        let mut relay = Relay::spawn(&nats.url(), &rooms);
        if what.is_empty() {
            relay.ready().await;
        }
        let config = home.join("tellhal.toml");
        std::fs::write(&config, format!("[nats]\ntls_ca = \"{}\"\n", ca.display())).unwrap();
        let output = tellhal(&nats.url(), &home).args(["a", "kept"]).env("TELLHAL_CONFIG", &config).output();
        let output = output.unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let spooled = std::fs::read_dir(home.join("spool/new")).map_or(0, Iterator::count);
        assert_eq!(output.status.code(), Some(0), "{stderr}");
        if what.is_empty() {
            assert_eq!((stderr.as_str(), spooled), ("", 0));
            wait_until("it arrives", SOON, async || sink.texts() == ["kept"]).await;
        } else {
            assert!(stderr.contains("certificate") && stderr.contains("sent later"), "{stderr}");
            assert_eq!((stderr.lines().count(), spooled), (1, 1), "{stderr}");
            let named = async || {
                let answer = tests::http::get(relay.http(), "/readyz").await;
                let (status, body) = answer.unwrap_or_default();
                status == 503 && body.contains("not connected to NATS yet") && body.contains("certificate")
            };
            wait_until("the relay names it", SOON, named).await;
            assert!(relay.log().contains("certificate"), "{}", relay.log());
        }
    }
}
