//! Changed requests, byte by byte, to every port of both services: none ends a service, or keeps it from answering.
//!
//! `FUZZ_CASES=500000 cargo test -p tests --test fuzz` runs for about an hour; a failure prints the seed, which `FUZZ_SEED` repeats.

use std::net::SocketAddr;
use std::time::Duration;

use fastrand::Rng;
use tests::process::memory;
use tests::wait::SOON;
use tests::{Bridge, NatsServer, Port, Relay, wait_until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

const TOKEN: &str = "oncall-0123456789abcdef";
/// The time for an answer. A request that was cut may have none.
const PATIENCE: Duration = Duration::from_millis(20);
/// The number of connections at once.
const AT_ONCE: usize = 16;
/// The bytes of an answer that are read.
const READ: usize = 64 * 1024;

/// Parts that are hard on readers of HTTP and of JSON.
const ODD: [&str; 16] = [
    "Content-Length: 18446744073709551616\r\n",
    "Content-Length: -1\r\n",
    "Transfer-Encoding: chunked\r\n",
    "ffffffffffffffff\r\n",
    "Host: evil.example\r\n",
    "X-Forwarded-User: root\r\n",
    "Expect: 100-continue\r\n",
    "Upgrade: h2c\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "%00%2e%2e%2f%ff",
    "/../../etc/passwd",
    "1e999",
    "\"\\ud800\"",
    "[[[[[[[[[[[[[[[[",
    "\u{202e}\u{0}\r\n",
    "&since=9999-12-31T23:59:59Z&limit=-1",
];

fn requests() -> Vec<Vec<u8>> {
    let head =
        |line: &str| format!("{line} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n");
    let message = r#"{"tag":"fuzz.http","text":"a text","severity":"error","fields":{"size":"12"}}"#;
    let post = |path: &str, body: &str| {
        let length = body.len();
        format!(
            "{}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}",
            head(&format!("POST {path}"))
        )
    };
    let gets = [
        "/",
        "/messages/seq-1",
        "/rooms",
        "/healthz",
        "/metrics",
        "/api/messages?tag=backup.%3E&severity=error&text=disk%20full&since=1h&limit=10",
        "/api/messages/seq-1",
        "/api/timeline?since=1h",
        "/api/export?format=csv&since=1h",
        "/api/explain?tag=a.b&severity=error",
        "/api/status",
        "/assets/page.css",
    ];
    let mut all: Vec<String> = gets.iter().map(|path| head(&format!("GET {path}")) + "\r\n").collect();
    all.push(post("/api/messages", message));
    all.push(post("/api/dead/1/retry", ""));
    all.push(post("/login", "token=x&next=%2Frooms"));
    all.push("fuzz.tcp\nthe text of an old script\n".into());
    all.into_iter().map(String::into_bytes).collect()
}

fn edited(rng: &mut Rng, mut bytes: Vec<u8>) -> Vec<u8> {
    for _ in 0..rng.usize(..6) {
        let at = rng.usize(..=bytes.len());
        let end = (at + rng.usize(..64)).min(bytes.len());
        match rng.u8(..6) {
            0 => bytes.insert(at, rng.u8(..)),
            1 => drop(bytes.drain(at..end)),
            2 => bytes[at..end].fill(rng.u8(..)),
            3 => drop(bytes.splice(at..end, ODD[rng.usize(..ODD.len())].bytes())),
            4 => drop(bytes.splice(at..at, vec![rng.u8(..); rng.usize(..20_000)])),
            _ => bytes.truncate(at),
        }
    }
    bytes
}

/// Sends the bytes and reads the answer's beginning, or gives up.
async fn send(address: SocketAddr, bytes: Vec<u8>) {
    let talk = async {
        let mut connection = TcpStream::connect(address).await?;
        connection.write_all(&bytes).await?;
        let mut answer = vec![0; READ];
        connection.read(&mut answer).await
    };
    // A service may close the connection at any time.
    let _ = timeout(PATIENCE, talk).await;
}

#[tokio::test]
async fn no_request_ends_a_service_or_keeps_it_from_answering() {
    let number = |name: &str, default| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (cases, seed) = (number("FUZZ_CASES", 2000), number("FUZZ_SEED", fastrand::u64(..)));
    let nats = NatsServer::start().await;
    let page = format!("[[page.tokens]]\nname = \"oncall\"\nrole = \"operator\"\ntoken = \"{TOKEN}\"\n");
    let mut relay = Relay::start(&nats.url(), &format!("default_room = \"page\"\n{page}")).await;
    let port = Port::free();
    let tcp = format!("[tcp]\nlisten = \"{}\"\n", port.addr());
    let mut bridge = Bridge::start(&nats.url(), &tcp).await;
    let ports = [relay.http(), bridge.http(), port.addr()];
    let pids = [relay.process().pid(), bridge.process().pid()];
    let mebibytes = |pid| memory(pid) >> 20;
    let before = pids.map(mebibytes);
    let (mut rng, requests) = (Rng::with_seed(seed), requests());
    for _ in 0..cases / AT_ONCE as u64 {
        let send = |_| {
            let request = requests[rng.usize(..requests.len())].clone();
            tokio::spawn(send(ports[rng.usize(..ports.len())], edited(&mut rng, request)))
        };
        for sent in (0..AT_ONCE).map(send).collect::<Vec<_>>() {
            sent.await.unwrap();
        }
    }
    let alive = async || relay.get("/healthz").await.0 == 200 && bridge.get("/healthz").await.0 == 200;
    wait_until(&format!("both answer after seed {seed}"), SOON, alive).await;
    for log in [relay.log(), bridge.log()] {
        assert!(!log.contains("panicked"), "seed {seed}: {log}");
    }
    let after = pids.map(mebibytes);
    // 64 MiB of answers that are being sent, 16 that are made, 20 of messages, and as much again that the allocator keeps.
    let grown = before.iter().zip(after).any(|(before, after)| after > before + 250);
    assert!(!grown, "seed {seed}: {before:?} MiB before, {after:?} MiB after");
}
