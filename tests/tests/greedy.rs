//! Clients that hold connections or answers keep nobody from a service's health, and take a limited amount of memory.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tests::http::get;
use tests::process::memory;
use tests::wait::SOON;
use tests::{Bridge, NatsServer, Port, Relay, wait_until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const CONFIG: &str = "default_room = \"page\"\n";
/// More than a service has places, and than a process may usually have files.
const IDLE: usize = 1100;
const MIB: u64 = 1 << 20;

async fn idle(address: SocketAddr) -> Vec<TcpStream> {
    let mut all = Vec::new();
    for _ in 0..IDLE {
        all.push(TcpStream::connect(address).await.unwrap());
    }
    all
}

/// The number of the process's open files.
fn files(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

#[tokio::test]
async fn the_relays_health_is_answered_beside_idle_connections() {
    let nats = NatsServer::start().await;
    let mut relay = Relay::start(&nats.url(), CONFIG).await;
    let idle = idle(relay.http()).await;
    for path in ["/healthz", "/readyz", "/api/rooms"] {
        assert_eq!(relay.get(path).await.0, 200, "{path}");
    }
    assert!(files(relay.process().pid()) < 700);
    drop(idle);
}

#[tokio::test]
async fn the_bridges_port_works_beside_idle_connections() {
    let nats = NatsServer::start().await;
    let _relay = Relay::start(&nats.url(), CONFIG).await;
    let port = Port::free();
    let mut bridge = Bridge::start(&nats.url(), &format!("[tcp]\nlisten = \"{}\"\n", port.addr())).await;
    let idle = idle(bridge.http()).await;
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(bridge.get(path).await.0, 200, "{path}");
    }
    assert!(files(bridge.process().pid()) < 200);
    let before = nats.messages("HAL_OPS").await;
    for n in 0..10 {
        let mut script = TcpStream::connect(port.addr()).await.unwrap();
        script.write_all(format!("job.run\nnumber {n}\n").as_bytes()).await.unwrap();
        script.shutdown().await.unwrap();
        script.read_to_end(&mut Vec::new()).await.unwrap();
    }
    assert_eq!(nats.messages("HAL_OPS").await, before + 10);
    drop(idle);
}

async fn publish(nats: &NatsServer, number: usize, text: &str) {
    let js = nats.jetstream().await;
    let mut acks = Vec::new();
    for _ in 0..number {
        acks.push(js.publish("hal.ops.db1.large", text.to_owned().into()).await.unwrap());
    }
    for ack in acks {
        ack.await.unwrap();
    }
}

async fn unread(relay: &Relay, path: &str) -> TcpStream {
    let mut client = TcpStream::connect(relay.http()).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    client
}

#[tokio::test]
async fn answers_that_are_not_read_take_a_limited_amount_of_memory() {
    const MESSAGES: usize = 300;
    const CLIENTS: usize = 40;
    let nats = NatsServer::start().await;
    let mut relay = Relay::start(&nats.url(), CONFIG).await;
    publish(&nats, MESSAGES, &"x".repeat(60_000)).await;
    let pid = relay.process().pid();

    // Every message is found, over several pages, whose size is limited too.
    let through = async || {
        let (mut found, mut cursor) = (0, String::new());
        loop {
            let path = format!("/api/messages?limit=500{cursor}");
            // A machine that is busy is slow to answer; it is asked again.
            let Ok((status, body)) = get(relay.http(), &path).await else { return 0 };
            assert!(status == 200 && body.len() < 5 << 20, "{status}: {} bytes", body.len());
            let page: Value = serde_json::from_str(&body).unwrap();
            found += page["messages"].as_array().unwrap().len();
            match page["cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return found,
            }
        }
    };
    wait_until("every message is found", SOON, async || through().await == MESSAGES).await;
    let before = memory(pid);
    let mut waves = Vec::new();
    for _ in 0..3 {
        let mut clients = Vec::new();
        for path in ["/api/messages?limit=500", "/api/stream?after=1"] {
            for _ in 0..CLIENTS {
                clients.push(unread(&relay, path).await);
            }
        }
        let mut most = 0;
        for _ in 0..30 {
            assert_eq!(relay.get("/healthz").await.0, 200);
            most = most.max(memory(pid));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // Small answers are still given, in their turn.
        let small = async || matches!(get(relay.http(), "/api/messages?limit=1").await, Ok((200, _)));
        wait_until("a small answer is given", SOON, small).await;
        waves.push((most.saturating_sub(before)) / MIB);
        drop(clients);
        let is_over = async || relay.get("/metrics").await.1.contains("hal_relay_page_readers 0\n");
        wait_until("the clients are gone", SOON, is_over).await;
    }
    eprintln!("MiB more than {} in each wave: {waves:?}", before / MIB);
    // Eight waves stay between 120 and 260: 64 MiB of answers that are sent, and what is made and read for others. Without
    // the budget it is more than 600.
    assert!(waves.iter().all(|more| *more < 400), "{waves:?}");
    wait_until("every message is found again", SOON, async || through().await == MESSAGES).await;
}

#[tokio::test]
async fn open_pages_that_do_not_read_hold_no_messages() {
    const MESSAGES: usize = 700;
    let nats = NatsServer::start().await;
    let mut relay = Relay::start(&nats.url(), CONFIG).await;
    let pid = relay.process().pid();
    let mut pages = Vec::new();
    for _ in 0..20 {
        pages.push(unread(&relay, "/api/stream").await);
    }
    let are_open = async || relay.get("/metrics").await.1.contains("\nhal_relay_page_readers 20\n");
    wait_until("the pages are open", SOON, are_open).await;
    let before = memory(pid);
    // Each takes six times as many bytes on a page, since every character is escaped.
    publish(&nats, MESSAGES, &"\u{1}".repeat(60_000)).await;
    let newest = async || {
        let page: Value = serde_json::from_str(&relay.get("/api/messages?limit=1").await.1).unwrap();
        page["messages"][0]["sequence"].as_u64().is_some_and(|sequence| sequence >= MESSAGES as u64)
    };
    wait_until("the page has the newest", SOON, newest).await;
    let more = memory(pid).saturating_sub(before) / MIB;
    assert!(more < 120, "{more} MiB more than {}", before / MIB);
    drop(pages);
}
