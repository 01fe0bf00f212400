//! Devices that speak syslog or mail: util-linux's logger, Python's clients and curl are heard; what is hostile changes nothing.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;

use tellhal::Message;
use tests::wait::SOON;
use tests::{Bridge, NatsServer, Port, find, wait_until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

const CONFIGURATION: &str = r#"
[syslog.net]
udp = "SYSLOG"
tcp = "SYSLOG"
allow = ["127.0.0.0/8"]
rate = 5

[syslog.closed]
udp = "CLOSED"
tcp = "CLOSED"
allow = "192.0.2.0/24"

[mail.devices]
listen = "MAIL"
allow = ["127.0.0.1"]
domain = "hal.example.com"
tags = ["backup.>", "printer"]
addresses = { "ups@site.example" = "power.ups" }
severities = { failed = "error" }

[mail.far]
listen = "FAR"
allow = "192.0.2.0/24"
addresses = { "ups@site.example" = "power.ups" }
"#;

/// A bridge with its listeners' ports.
struct Devices {
    bridge: Bridge,
    ports: BTreeMap<&'static str, Port>,
}

impl Devices {
    async fn start(nats: &NatsServer) -> Devices {
        nats.create_log().await;
        let ports = ["SYSLOG", "CLOSED", "MAIL", "FAR"].map(|name| (name, Port::free())).into();
        let bridge = Bridge::start(&nats.url(), &configuration(&ports)).await;
        Devices { bridge, ports }
    }

    fn at(&self, name: &str) -> SocketAddr {
        self.ports[name].addr()
    }

    fn port(&self, name: &str) -> String {
        self.at(name).port().to_string()
    }

    /// Waits until a metric of the bridge has a line with these words.
    async fn counts(&self, words: &str) {
        let what = format!("a metric {words}");
        wait_until(&what, SOON, async || self.bridge.get("/metrics").await.1.contains(words)).await;
    }

    /// Sends a mail in a file with Python's smtplib; `kept`, or the code of the refusal.
    fn mail(&self, recipient: &str, text: &str) -> String {
        let file = self.bridge.dir().join("mail.eml");
        std::fs::write(&file, text).unwrap();
        speak(&["mail", &self.port("MAIL"), "nas@site.example", recipient, file.to_str().unwrap()])
    }
}

fn configuration(ports: &BTreeMap<&'static str, Port>) -> String {
    ports
        .iter()
        .fold(CONFIGURATION.to_owned(), |text, (name, port)| text.replace(name, &port.addr().to_string()))
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn speak(arguments: &[&str]) -> String {
    run(Command::new(find::python()).arg(find::repository().join("tests/src/speak.py")).args(arguments))
}

/// The messages in the log, once there are `count`.
async fn messages(nats: &NatsServer, count: u64) -> Vec<Message> {
    wait_until(&format!("{count} messages"), SOON, async || nats.messages("HAL_OPS").await >= count).await;
    let stream = nats.jetstream().await.get_stream("HAL_OPS").await.unwrap();
    let mut messages = Vec::new();
    for sequence in 1..=nats.messages("HAL_OPS").await {
        let raw = stream.get_raw_message(sequence).await.unwrap();
        messages.push(serde_json::from_slice(&raw.payload).unwrap());
    }
    messages
}

/// A conversation whose commands are all sent at once: what the listener has answered when it closes the connection.
async fn smtp(address: SocketAddr, said: &[u8]) -> String {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let mut answers = Vec::new();
    // A listener that closes the connection early ends the writing.
    let write = async {
        let _ = writing.write_all(said).await;
        let _ = writing.shutdown().await;
    };
    let (_, read) = tokio::join!(write, timeout(SOON, reading.read_to_end(&mut answers)));
    // A listener that has no place closes the connection before it has read what is said, which resets it.
    let _ = read.expect("the listener closes the connection");
    String::from_utf8(answers).unwrap()
}

#[tokio::test]
async fn a_line_and_a_mail_are_tried_by_hand() {
    let nats = NatsServer::start().await;
    let devices = Devices::start(&nats).await;
    let tried = |arguments: &[&str]| run(&mut devices.bridge.command(arguments));
    let line = "<34>Oct 11 22:14:15 web1 su: failed";
    let shown = tried(&["syslog", "test", "net", line]);
    assert!(shown.starts_with("critical syslog.auth\n  text: failed\n"), "{shown}");
    let shown = tried(&["syslog", "test", "closed", line]);
    assert!(shown.ends_with("127.0.0.1 may not use this listener"), "{shown}");
    let file = devices.bridge.dir().join("mail.eml");
    std::fs::write(&file, "To: backup.nas@hal.example.com\r\nSubject: Backup failed\r\n\r\nno space\r\n")
        .unwrap();
    let file = file.to_str().unwrap();
    let shown = tried(&["mail", "test", "devices", file]);
    assert!(shown.starts_with("error backup.nas\n  title: Backup failed\n  text: no space\n"), "{shown}");
    let output =
        devices.bridge.command(&["mail", "test", "devices", file, "--to", "a@b.example"]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains("nothing is relayed to other domains"), "{error}");
    assert_eq!(nats.messages("HAL_OPS").await, 0);
}

#[tokio::test]
async fn loggers_and_mailers_are_heard() {
    let nats = NatsServer::start().await;
    let devices = Devices::start(&nats).await;
    let (syslog, mail) = (devices.port("SYSLOG"), devices.at("MAIL"));
    for (options, text) in [
        (vec!["--udp", "--rfc5424"], "l1"),
        (vec!["--udp", "--rfc3164"], "l2"),
        (vec!["--tcp", "--rfc5424", "--octet-count"], "l3"),
        (vec!["--tcp", "--rfc3164"], "l4"),
    ] {
        let mut logger = Command::new("logger");
        logger
            .args(["--server", "127.0.0.1", "--port", &syslog, "-p", "daemon.err", "-t", "nas"])
            .args(options);
        run(logger.arg(text));
    }
    speak(&["syslog", "udp", &syslog, "p1"]);
    speak(&["syslog", "tcp", &syslog, "p2"]);
    let told = "From: NAS <nas@site.example>\nSubject: =?utf-8?q?Backup_failed=3A_M=C3=BCnchen?=\nMessage-ID: <m1@nas>\n\n..\nsee the log\n";
    assert_eq!(devices.mail("backup.nas@hal.example.com", told), "kept");
    let file = devices.bridge.dir().join("mail.eml");
    let mut curl = Command::new("curl");
    curl.args([
        "-sS",
        "--crlf",
        "--mail-from",
        "ups1@site.example",
        "--mail-rcpt",
        "ups@site.example",
        "--upload-file",
    ]);
    run(curl.arg(&file).arg(format!("smtp://{mail}/curl")));
    let messages = messages(&nats, 8).await;
    let named = |text: &str| {
        messages.iter().find(|message| message.text == text).unwrap_or_else(|| panic!("{text}: {messages:?}"))
    };
    for (text, transport) in [("l1", "udp"), ("l2", "udp"), ("l3", "tcp"), ("l4", "tcp")] {
        let message = named(text);
        assert_eq!(
            (message.tag.as_str(), message.severity.as_str()),
            ("syslog.daemon", "error"),
            "{message:?}"
        );
        assert_eq!(
            (message.fields["app"].as_str(), message.source.as_str()),
            ("nas", "in-net"),
            "{message:?}"
        );
        assert_eq!(message.fields.contains_key("unauthenticated"), transport == "udp");
    }
    for text in ["p1", "p2"] {
        let message = named(text);
        assert_eq!(
            (message.tag.as_str(), message.fields["app"].as_str()),
            ("syslog.local3", "backup"),
            "{message:?}"
        );
    }
    let mails: Vec<&Message> = messages.iter().filter(|message| message.source == "in-devices").collect();
    let tags: Vec<&str> = mails.iter().map(|message| message.tag.as_str()).collect();
    assert_eq!(tags, ["backup.nas", "power.ups"]);
    for message in mails {
        assert_eq!(message.title.as_deref(), Some("Backup failed: München"));
        assert_eq!((message.text.as_str(), message.severity.as_str()), ("..\nsee the log", "error"));
        assert_eq!(message.fields["from"], "nas@site.example");
    }
}

#[tokio::test]
async fn a_mail_that_was_kept_is_told_once_whatever_happens() {
    let mut nats = NatsServer::start().await;
    let mut devices = Devices::start(&nats).await;
    let mail = |id: u32| format!("Subject: paper\nMessage-ID: <{id}@printer>\n\nnumber {id}\n");
    for _ in 0..3 {
        assert_eq!(devices.mail("printer@hal.example.com", &mail(1)), "kept");
    }
    nats.kill();
    wait_until("the bridge notices", SOON, async || devices.bridge.get("/readyz").await.0 == 503).await;
    assert_eq!(devices.mail("printer@hal.example.com", &mail(2)), "kept");
    devices.bridge.kill();
    nats.restart().await;
    devices.bridge.restart().await;
    assert_eq!(devices.mail("printer@hal.example.com", &mail(3)), "kept");
    let mut texts: Vec<String> = messages(&nats, 3).await.into_iter().map(|message| message.text).collect();
    texts.sort();
    assert_eq!(texts, ["number 1", "number 2", "number 3"]);
    // Where the spool cannot be written either, the sender is told to try again.
    nats.kill();
    wait_until("the bridge notices", SOON, async || devices.bridge.get("/readyz").await.0 == 503).await;
    std::fs::remove_dir_all(devices.bridge.dir().join("spool")).unwrap();
    std::fs::write(devices.bridge.dir().join("spool"), "no folder").unwrap();
    assert_eq!(devices.mail("printer@hal.example.com", &mail(4)), "451");
}

#[tokio::test]
async fn hostile_mail_is_answered_and_no_message() {
    let nats = NatsServer::start().await;
    let devices = Devices::start(&nats).await;
    let head = "EHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<printer@hal.example.com>\r\n";
    let data = |text: &str| format!("{head}DATA\r\nSubject: a\r\n\r\n{text}");
    let second = "MAIL FROM:<root@bank.example>\r\nRCPT TO:<printer@hal.example.com>\r\nDATA\r\nSubject: hidden\r\n\r\n.\r\nQUIT\r\n";
    let smuggled = |end: &str| data(&format!("{end}{second}\r\n.\r\nQUIT\r\n"));
    let rcpt = |address: &str| format!("EHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<{address}>\r\n");
    let recipients: String =
        (0..10_000).map(|i| format!("RCPT TO:<backup.a{i}@hal.example.com>\r\n")).collect();
    // What it is, what is said, and the line of the answers that begins so; the connection is closed behind it if it is the last one.
    let table: Vec<(&str, String, &str, bool)> = vec![
        ("LF . LF", smuggled("\n.\n"), "554 5.5.2", true),
        ("LF . CR LF", smuggled("\n.\r\n"), "554 5.5.2", true),
        ("CR LF . LF", smuggled("\r\n.\n"), "554 5.5.2", true),
        ("CR . CR", smuggled("\r.\r"), "554 5.5.2", true),
        ("CR LF . CR", smuggled("\r\n.\r"), "554 5.5.2", true),
        ("CR . CR LF", smuggled("\r.\r\n"), "554 5.5.2", true),
        ("CR CR LF", smuggled("\r\r\n.\r\r\n"), "554 5.5.2", true),
        ("a command with LF", "EHLO x\nQUIT\r\n".into(), "554 5.5.2", true),
        (
            "100 MB, said before",
            format!("EHLO x\r\nMAIL FROM:<> SIZE={}\r\nQUIT\r\n", 100 << 20),
            "552 5.3.4",
            false,
        ),
        ("27 MB, not said", data(&format!("{}\r\n", "x".repeat(998)).repeat(28_000)), "552 5.3.4", true),
        ("an endless line", data(&"x".repeat(200_000)), "500 5.5.2", true),
        ("an endless command", "x".repeat(200_000), "500 5.5.2", true),
        ("10,000 recipients", format!("EHLO x\r\nMAIL FROM:<>\r\n{recipients}"), "421 4.7.0", true),
        ("an open relay", rcpt("victim@other.example") + "QUIT\r\n", "550 5.7.1", false),
        (
            "a relay by a percent sign",
            rcpt("victim%other.example@hal.example.com") + "QUIT\r\n",
            "550 5.1.1",
            false,
        ),
        ("a tag that is not for mail", rcpt("deploy.done@hal.example.com") + "QUIT\r\n", "550 5.1.1", false),
        (
            "a mail without recipients",
            "EHLO x\r\nMAIL FROM:<>\r\nDATA\r\nQUIT\r\n".into(),
            "503 5.5.1",
            false,
        ),
        ("a password", "EHLO x\r\nAUTH PLAIN AGEAYg==\r\nQUIT\r\n".into(), "502 5.5.1", false),
        ("a browser", "POST / HTTP/1.1\r\nHost: x\r\n\r\nQUIT\r\n".into(), "500 5.5.1", false),
        ("nonsense", "\u{1f4a9}\0\r\n".repeat(50), "421 4.7.0", true),
        ("half a mail", data("half"), "354", true),
    ];
    for (what, said, expected, is_last) in table {
        let answers = smtp(devices.at("MAIL"), said.as_bytes()).await;
        let lines: Vec<&str> = answers.lines().collect();
        let found = lines.iter().position(|line| line.starts_with(expected));
        let found = found.unwrap_or_else(|| panic!("{what}: {answers}"));
        assert!(!is_last || found == lines.len() - 1, "{what}: {answers}");
        assert!(!lines.iter().any(|line| line.contains("kept")), "{what}: {answers}");
    }
    assert!(smtp(devices.at("FAR"), b"").await.starts_with("554 5.7.1"));
    devices.counts("device_inputs_total{kind=\"mail\",outcome=\"not_allowed\"} 1").await;
    devices.counts("device_inputs_total{kind=\"mail\",outcome=\"broken_lines\"} 10").await;
    // A flood of connections keeps its own address out, until they end.
    let mut flood = Vec::new();
    for _ in 0..100 {
        flood.push(TcpStream::connect(devices.at("MAIL")).await.unwrap());
    }
    devices.counts("outcome=\"too_many_connections\"}").await;
    drop(flood);
    wait_until("a place is free", SOON, async || {
        smtp(devices.at("MAIL"), b"QUIT\r\n").await.starts_with("220")
    })
    .await;
    assert_eq!(devices.mail("printer@hal.example.com", "Subject: good\n\nx\n"), "kept");
    let messages = messages(&nats, 1).await;
    let ours: Vec<&Message> = messages.iter().filter(|message| message.source != "bridge").collect();
    assert_eq!(ours.len(), 1, "{ours:?}");
}

#[tokio::test]
async fn a_flood_of_syslog_is_counted_and_a_connection_waits() {
    let nats = NatsServer::start().await;
    let mut devices = Devices::start(&nats).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for i in 0..300 {
        socket.send_to(format!("<12>d{i}").as_bytes(), devices.at("SYSLOG")).await.unwrap();
    }
    socket.send_to(b"<12>elsewhere", devices.at("CLOSED")).await.unwrap();
    devices.counts("device_inputs_total{kind=\"syslog_udp\",outcome=\"over_rate\"}").await;
    devices.counts("device_inputs_total{kind=\"syslog_udp\",outcome=\"not_allowed\"} 1").await;
    let mut closed = TcpStream::connect(devices.at("CLOSED")).await.unwrap();
    assert_eq!(
        closed.read(&mut [0; 1]).await.unwrap_or_default(),
        0,
        "a network that may not is disconnected"
    );
    let mut stream = TcpStream::connect(devices.at("SYSLOG")).await.unwrap();
    let hostile = [b"99999999 <12>".to_vec(), vec![0xff; 100], b"\n<13>1 - - - - - -\n<15>debug\n".to_vec()];
    let lines: String = (0..60).map(|i| format!("<12>t{i:02}\n")).collect();
    stream.write_all(lines.as_bytes()).await.unwrap();
    let mut other = TcpStream::connect(devices.at("SYSLOG")).await.unwrap();
    other.write_all(&hostile.concat()).await.unwrap();
    drop(other);
    let all = async || {
        let messages = messages(&nats, 1).await;
        messages
            .into_iter()
            .filter(|message| message.text.starts_with('t'))
            .map(|message| message.text)
            .collect::<Vec<_>>()
    };
    wait_until("all lines of the connection", SOON, async || all().await.len() == 60).await;
    assert!(all().await.is_sorted());
    // The first loss is reported, and a changed setting is in force on a connection that goes on.
    let lost = async || {
        messages(&nats, 1).await.into_iter().find(|message| message.tag.as_str() == "bridge.syslog_udp.lost")
    };
    wait_until("the report", SOON, async || lost().await.is_some()).await;
    assert!(lost().await.unwrap().text.contains("over rate (the last from 127.0.0.1)"));
    let changed = configuration(&devices.ports).replace("rate = 5", "rate = 500\ntag = \"net.{app}\"");
    devices.bridge.reload(&nats.url(), &changed);
    wait_until("the new settings", SOON, async || devices.bridge.log().contains("configuration reloaded"))
        .await;
    stream.write_all(b"<12>nas[1]: after\n").await.unwrap();
    let told = async || messages(&nats, 1).await.into_iter().find(|message| message.text == "after");
    wait_until("a message with the new tag", SOON, async || told().await.is_some()).await;
    assert_eq!(told().await.unwrap().tag.as_str(), "net.nas");
    // One of its ports moves, the other one stays open.
    let (moved, tcp) = (Port::free(), |address| format!("tcp = \"{address}\""));
    let changed = changed.replace(&tcp(devices.at("SYSLOG")), &tcp(moved.addr()));
    devices.bridge.reload(&nats.url(), &changed);
    wait_until("the other port", SOON, async || TcpStream::connect(moved.addr()).await.is_ok()).await;
    socket.send_to(b"<12>still", devices.at("SYSLOG")).await.unwrap();
    let told = async || messages(&nats, 1).await.into_iter().any(|message| message.text == "still");
    wait_until("a datagram as before", SOON, told).await;
    let ended = devices.bridge.process().terminate(SOON).await;
    assert!(ended.success(), "{ended}: {}", devices.bridge.log());
}
