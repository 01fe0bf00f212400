//! hal-bridge: the original's TCP port onto the bus, through the spool when the bus is away.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use async_nats::jetstream::stream::{Config, Stream};
use tellhal::Message;
use tests::wait::SOON;
use tests::{Bridge, NatsServer, Port, find, wait_until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const GRACE: Duration = Duration::from_secs(12);

/// Creates the log like the relay's, as far as it matters to a publisher.
async fn log(server: &NatsServer) -> Stream {
    let config = Config {
        name: "HAL_OPS".into(),
        subjects: vec!["hal.ops.>".into(), "hal.ctl.>".into()],
        duplicate_window: Duration::from_secs(3600),
        ..Default::default()
    };
    server.jetstream().await.create_stream(config).await.unwrap()
}

/// Every message in the log: subject and message.
async fn messages(stream: &mut Stream) -> Vec<(String, Message)> {
    let last = stream.info().await.unwrap().state.last_sequence;
    let mut messages = Vec::new();
    for sequence in 1..=last {
        let raw = stream.get_raw_message(sequence).await.unwrap();
        messages.push((raw.subject.to_string(), serde_json::from_slice(&raw.payload).unwrap()));
    }
    messages
}

async fn wait_for(stream: &mut Stream, count: usize) -> Vec<(String, Message)> {
    wait_until(&format!("{count} messages"), SOON, async || {
        stream.info().await.unwrap().state.messages == count as u64
    })
    .await;
    messages(stream).await
}

fn with_tcp(port: &Port) -> String {
    format!("[tcp]\nlisten = \"{}\"\n", port.addr())
}

/// Sends `text` to the port and waits until the bridge has closed the connection: then the message is kept.
async fn send(port: &Port, text: &[u8]) {
    let mut stream = TcpStream::connect(port.addr()).await.unwrap();
    stream.write_all(text).await.unwrap();
    stream.shutdown().await.unwrap();
    tokio::time::timeout(SOON, stream.read_to_end(&mut Vec::new())).await.unwrap().unwrap();
}

#[tokio::test]
async fn old_scripts_reach_the_log() {
    let server = NatsServer::start().await;
    let mut stream = log(&server).await;
    let port = Port::free();
    let bridge = Bridge::start(&server.url(), &with_tcp(&port)).await;
    send(&port, b"backup.mysql\nNightly backup finished\nin 3 s\n").await;
    send(&port, b"disk full!\n/var is at 99 %").await;
    send(&port, b"").await;
    send(&port, b"only contents").await;
    let got = wait_for(&mut stream, 3).await;
    assert_eq!(got[0].0, "hal.ops.in-tcp.backup.mysql");
    assert_eq!(got[0].1.text, "Nightly backup finished\nin 3 s");
    assert_eq!((got[1].1.tag.as_str(), got[1].1.fields["tag"].as_str()), ("disk_full_", "disk full!"));
    assert_eq!((got[2].1.tag.as_str(), got[2].1.text.as_str()), ("untagged", "only contents"));
    let (status, metrics) = bridge.get("/metrics").await;
    assert_eq!(status, 200);
    let line = "hal_bridge_messages_total{source=\"tcp\",outcome=\"acknowledged\"} 3";
    assert!(metrics.contains(line), "{metrics}");
    assert_eq!(bridge.get("/healthz").await.0, 200);
}

#[tokio::test]
async fn five_seconds_of_silence_end_a_message_and_size_is_bounded() {
    let server = NatsServer::start().await;
    let mut stream = log(&server).await;
    let port = Port::free();
    let _bridge = Bridge::start(&server.url(), &with_tcp(&port)).await;
    let mut silent = TcpStream::connect(port.addr()).await.unwrap();
    silent.write_all(b"half.open\nthe sender never hangs up").await.unwrap();
    let long = [b"long\n".to_vec(), vec![b'x'; 300_000]].concat();
    send(&port, &long).await;
    let mut got = wait_for(&mut stream, 2).await;
    got.sort_by_key(|(subject, _)| subject.clone());
    assert_eq!(got[0].1.text, "the sender never hangs up");
    assert!(got[1].1.text.len() < 70_000 && got[1].1.text.contains("bytes cut"));
}

#[tokio::test]
async fn without_the_bus_messages_wait_in_the_spool_and_arrive_once() {
    let mut server = NatsServer::start().await;
    log(&server).await;
    let port = Port::free();
    let bridge = Bridge::start(&server.url(), &with_tcp(&port)).await;
    send(&port, b"a\nbefore").await;
    server.kill();
    wait_until("the bridge notices", SOON, async || bridge.get("/readyz").await.0 == 503).await;
    assert_eq!(bridge.get("/healthz").await.0, 200);
    send(&port, b"a\nmeanwhile").await;
    let spooled = std::fs::read_dir(bridge.dir().join("spool/new")).unwrap().count();
    assert_eq!(spooled, 1, "{}", bridge.log());
    server.restart().await;
    let mut stream = server.jetstream().await.get_stream("HAL_OPS").await.unwrap();
    let texts: Vec<String> =
        wait_for(&mut stream, 2).await.into_iter().map(|(_, message)| message.text).collect();
    assert_eq!(texts, ["before", "meanwhile"]);
    wait_until("the spool is empty", SOON, async || {
        std::fs::read_dir(bridge.dir().join("spool/new")).unwrap().count() == 0
    })
    .await;
    wait_until("the bridge is ready again", SOON, async || bridge.get("/readyz").await.0 == 200).await;
}

#[tokio::test]
async fn a_bridge_starts_before_the_bus_and_reports_it() {
    let mut server = NatsServer::start().await;
    server.kill();
    let mut bridge = Bridge::spawn(&server.url(), "");
    let http = bridge.http();
    wait_until("it says that it is not connected", SOON, async || {
        matches!(tests::http::get(http, "/readyz").await, Ok((503, text)) if text.contains("no connection"))
    })
    .await;
    server.restart().await;
    wait_until("it says that the stream is missing", SOON, async || {
        bridge.get("/readyz").await.1.contains("HAL_OPS")
    })
    .await;
    log(&server).await;
    bridge.ready().await;
}

#[tokio::test]
async fn sigterm_finishes_open_connections() {
    let server = NatsServer::start().await;
    let mut stream = log(&server).await;
    let port = Port::free();
    let mut bridge = Bridge::start(&server.url(), &with_tcp(&port)).await;
    let mut half = TcpStream::connect(port.addr()).await.unwrap();
    half.write_all(b"half\nsent before the end").await.unwrap();
    // When the second message is kept, the first connection was accepted.
    send(&port, b"b\nwhole").await;
    bridge.process().signal(tests::process::Signal::TERM);
    wait_until("it takes nothing more", SOON, async || TcpStream::connect(port.addr()).await.is_err()).await;
    half.write_all(b", and after it").await.unwrap();
    half.shutdown().await.unwrap();
    let status = bridge.process().ended(GRACE).await;
    assert_eq!(status.code(), Some(0), "{}", bridge.log());
    let texts: Vec<String> =
        wait_for(&mut stream, 2).await.into_iter().map(|(_, message)| message.text).collect();
    assert_eq!(texts, ["whole", "sent before the end, and after it"]);
    for line in bridge.log().lines() {
        serde_json::from_str::<serde_json::Value>(line).expect("logs are JSON when there is no terminal");
    }
}

#[test]
fn check_names_everything_and_run_refuses_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bridge.toml");
    std::fs::write(&file, "[natz]\n[http]\nlisten = \"everywhere\"\n[tcp]\nlisten = 7890\n").unwrap();
    for command in ["check", "run"] {
        let (code, text) = bridge(command, &file);
        assert_eq!(code, Some(78));
        for want in [
            "bridge.toml:1:2: error: natz: unknown key",
            "did you mean nats?",
            ":3:10: error: http.listen",
            ":5:10: error: tcp.listen",
        ] {
            assert!(text.contains(want), "{want} in {text}");
        }
    }
    std::fs::write(&file, "# nothing\n").unwrap();
    assert_eq!(bridge("check", &file).0, Some(0));
    std::fs::write(&file, "").unwrap();
    let (code, text) = bridge("check", &file);
    assert_eq!((code, text.contains("the file is empty")), (Some(78), true), "{text}");
    let (code, text) = bridge("check", &dir.path().join("nowhere.toml"));
    assert_eq!((code, text.contains("nowhere.toml")), (Some(78), true));
}

#[test]
fn a_taken_port_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bridge.toml");
    std::fs::write(&file, format!("[http]\nlisten = \"{}\"\n", taken.local_addr().unwrap())).unwrap();
    let (code, text) = bridge("run", &file);
    assert_eq!((code, text.contains("http.listen: cannot listen")), (Some(1), true), "{text}");
}

fn bridge(command: &str, config: &Path) -> (Option<i32>, String) {
    let output = Command::new(find::ours("hal-bridge")).arg(command).arg("--config").arg(config).output();
    let output = output.expect("hal-bridge starts");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// `bridge.toml` of the design, whole.
const DESIGNED: &str = include_str!("bridge.toml");

fn check(config: &Path, service: &str) -> String {
    let output = Command::new(find::ours(service)).args(["check", "--config"]).arg(config).output().unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

#[test]
fn the_designed_configuration_is_read_whole() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("bridge.toml");
    std::fs::write(&config, DESIGNED).unwrap();
    let output = check(&config, "hal-bridge");
    assert!(output.contains("topics of plant") && !output.contains("error:"), "{output}");
}

#[test]
fn both_services_refuse_the_same_mistakes_in_the_same_words() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.toml");
    let broken = [
        "[nats]\nurl = 7\nprefx = \"a\"\nprefix = \"a.b\"\ntoken_file = \"\"\n[nats]\nuser = \"x",
        "[nats]\nurl = \"nats://hunter2@ x\"\nprefx = \"a\"\nprefix = \"a.b\"\nuser = \"u\"\nuser = \"v\"\n",
        "state_dir = [1]\n[nats]\nurl = 7\ncreds_file = \"gone.creds\"\n",
        "",
        "[nats\n",
    ];
    for text in broken {
        std::fs::write(&config, text).unwrap();
        // The relay's own requirement, and the names of the programs.
        let own = |output: String| {
            let lines: Vec<String> =
                output.lines().map(|line| line.replace("hal-relay", "hal-bridge")).collect();
            let room = lines.iter().position(|line| line.contains("default_room is missing"));
            let lines = lines
                .iter()
                .enumerate()
                .filter(|(i, _)| room.is_none_or(|room| *i != room && *i != room + 1));
            let lines = lines
                .map(|(_, line)| line.as_str())
                .filter(|line| !line.contains("is refused") && !line.contains("the least is"));
            lines.collect::<Vec<_>>().join("\n")
        };
        let (relay, bridge) = (own(check(&config, "hal-relay")), own(check(&config, "hal-bridge")));
        assert!(bridge.contains("config.toml"), "{bridge}");
        assert_eq!(relay, bridge, "{text}");
    }
    std::fs::write(&config, "default_room = \"page\"\n").unwrap();
    std::fs::set_permissions(&config, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    for service in ["hal-relay", "hal-bridge"] {
        assert!(check(&config, service).contains("can be written by everybody"), "{service}");
    }
}

#[tokio::test]
async fn a_changed_configuration_is_taken_and_a_bad_one_is_told_and_leaves_the_old_one_in_force() {
    let server = NatsServer::start().await;
    let mut stream = log(&server).await;
    let (first, second) = (Port::free(), Port::free());
    let mut bridge = Bridge::start(&server.url(), &with_tcp(&first)).await;
    bridge.reload(&server.url(), &with_tcp(&second));
    let moved = async || TcpStream::connect(second.addr()).await.is_ok();
    wait_until("the new port is served", SOON, moved).await;
    send(&second, b"a\nfrom the new port\n").await;
    assert!(TcpStream::connect(first.addr()).await.is_err());

    bridge.reload(&server.url(), "tpc = 1\n[[schedules]]\nname = \"x\"\n");
    let got = wait_for(&mut stream, 2).await;
    assert_eq!(got[1].0, "hal.ops.bridge.bridge.config.refused");
    assert!(
        got[1].1.text.contains("did you mean tcp?") && got[1].1.text.contains("the schedule is never due")
    );
    send(&second, b"b\nstill here\n").await;
    bridge.reload(&server.url(), &with_tcp(&second));
    let got = wait_for(&mut stream, 4).await;
    assert_eq!((got[2].1.text.as_str(), got[3].1.status), ("still here", Some(tellhal::Status::Resolved)));
}

#[tokio::test]
async fn a_broken_team_file_falls_back_to_its_last_good_version() {
    let server = NatsServer::start().await;
    let _stream = log(&server).await;
    let dir = tempfile::tempdir().unwrap();
    let (config, state, http, tcp) =
        (dir.path().join("conf.d"), dir.path().join("state"), Port::free(), Port::free());
    std::fs::create_dir(&config).unwrap();
    let base = format!("[http]\nlisten = \"{}\"\n[nats]\nurl = \"{}\"\n", http.addr(), server.url());
    std::fs::write(config.join("base.toml"), base).unwrap();
    let start = || {
        let mut command = Command::new(find::ours("hal-bridge"));
        command.args(["run", "--config"]).arg(&config).env("STATE_DIRECTORY", &state);
        tests::Process::start("hal-bridge", &mut command, &dir.path().join("log"))
    };
    let served = async || TcpStream::connect(tcp.addr()).await.is_ok();
    for text in [with_tcp(&tcp), "[tcp".to_owned()] {
        std::fs::write(config.join("tcp.toml"), text).unwrap();
        let mut process = start();
        wait_until("the port is served", SOON, served).await;
        process.kill();
    }
    let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
    assert!(log.contains("the file is broken: its last good version is in force"), "{log}");
}
