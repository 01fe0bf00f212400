//! A bridge that gets 2,000 webhooks a second of 10 KiB for ten seconds: all kept, its peak memory, and how long their senders wait.
//! Requests are due at fixed times whatever is answered, and a request's time is that from when it was due. One that is refused is
//! posted again after a second, as a sender does.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bench::process::{cpu_seconds, memory};
use bench::servers::{Server, free_address, nats};
use bench::stats::{Table, cell, quantile};
use bench_pipeline::{load, runtime};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until};

const TOKEN: &str = "kZ3pQ9vX2mB7nR4tY8wL1c";
const SIZE: usize = 10 << 10;
/// Connections that stay open, which is what a proxy before the bridge has.
const CONNECTIONS: usize = 48;

/// A kind of requests.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    path: &'static str,
    /// The body around what makes it long; `#` is its number.
    body: [&'static str; 2],
}

const CASES: [Case; 2] = [
    Case {
        name: "alertmanager (each event claimed)",
        path: "/in/alertmanager",
        body: [
            r##"{"receiver":"hal","alerts":[{"status":"firing","labels":{"alertname":"Disk","number":"#"},"annotations":{"summary":"full","description":""##,
            r##""},"startsAt":"2026-11-28T01:00:00Z","fingerprint":"f#"}]}"##,
        ],
    },
    Case { name: "text (no id, no claim)", path: "/in/bench.text", body: ["", " #"] },
];

/// The results of one case.
#[derive(Default)]
struct Outcome {
    milliseconds: Vec<f64>,
    refused: usize,
}

fn main() -> anyhow::Result<()> {
    let (mut per_second, mut seconds) = (2000.0, 10.0);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let number = arguments.next().and_then(|number| number.parse::<f64>().ok());
        let number = number.with_context(|| format!("{argument} needs a number"))?;
        match argument.as_str() {
            "--per-second" => per_second = number,
            "--seconds" => seconds = number,
            _ => anyhow::bail!("{argument} is unknown; there are --per-second N and --seconds N"),
        }
    }
    let head = [
        "requests",
        "sent",
        "kept",
        "refused at first",
        "1/s",
        "p50 ms",
        "p99 ms",
        "max ms",
        "peak MiB",
        "at rest MiB",
        "CPU s: bridge",
        "nats-server",
    ];
    let mut table = Table::new(&head);
    for case in CASES {
        table.row(runtime()?.block_on(measure(case, per_second, seconds))?);
    }
    println!("{}", table.markdown());
    Ok(())
}

async fn measure(case: Case, per_second: f64, seconds: f64) -> anyhow::Result<Vec<String>> {
    let folder = tempfile::tempdir()?;
    let server = nats(folder.path(), free_address()?, None)?;
    let jetstream = load::connect(server.address).await?;
    load::log(&jetstream).await?;
    let bridge = bridge(folder.path(), &server)?;
    let at_rest = memory(bridge.pid(), "VmHWM")?;
    let count = (per_second * seconds) as usize;
    let used = || anyhow::Ok((cpu_seconds(bridge.pid())?, cpu_seconds(server.pid())?));
    let before = used()?;
    let begun = Instant::now();
    let outcome = post_all(case, bridge.address, count, per_second).await?;
    let took = begun.elapsed().as_secs_f64();
    let (after, peak) = (used()?, memory(bridge.pid(), "VmHWM")?);
    let kept = kept(&jetstream, count).await?;
    ensure!(kept == count, "{kept} of {count} are in the log");
    let mut sorted = outcome.milliseconds;
    sorted.sort_by(f64::total_cmp);
    let mib = |bytes: u64| format!("{:.0}", bytes as f64 / f64::from(1 << 20));
    Ok(vec![
        case.name.into(),
        count.to_string(),
        kept.to_string(),
        outcome.refused.to_string(),
        format!("{:.0}", count as f64 / took),
        cell(quantile(&sorted, 0.5), 1),
        cell(quantile(&sorted, 0.99), 1),
        cell(sorted.last().copied(), 1),
        mib(peak),
        mib(at_rest),
        format!("{:.1}", after.0 - before.0),
        format!("{:.1}", after.1 - before.1),
    ])
}

fn bridge(folder: &Path, server: &Server) -> anyhow::Result<Server> {
    let http = free_address()?;
    let configuration = format!(
        "state_dir = {:?}\n[nats]\nurl = \"nats://{}\"\n[http]\nlisten = \"{http}\"\n\
         [webhooks.alertmanager]\nsecret = \"{TOKEN}\"\n\
         [webhooks.texts]\nkind = \"text\"\nsecret = \"{TOKEN}\"\ntags = [\"bench.>\"]\n",
        folder.join("state"),
        server.address,
    );
    let file = folder.join("bridge.toml");
    std::fs::write(&file, configuration)?;
    let mut command = Command::new(std::env::current_exe()?.with_file_name("hal-bridge"));
    command.arg("run").arg("--config").arg(file).env("TELLHAL_SPOOL", folder.join("spool"));
    Server::start(command, http, &folder.join("bridge.log"))
}

/// The number of messages in the log, once it has them all; what the bridge has spooled comes a little later.
async fn kept(jetstream: &async_nats::jetstream::Context, count: usize) -> anyhow::Result<usize> {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let mut stream = jetstream.get_stream("HAL_OPS").await?;
        let kept = usize::try_from(stream.info().await?.state.messages)?;
        if kept >= count || Instant::now() > until {
            return Ok(kept);
        }
        sleep(Duration::from_millis(100)).await;
    }
}

async fn post_all(case: Case, bridge: SocketAddr, count: usize, per_second: f64) -> anyhow::Result<Outcome> {
    let (begun, next) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
    let mut connections = tokio::task::JoinSet::new();
    for _ in 0..CONNECTIONS {
        let next = next.clone();
        connections.spawn(async move {
            let (mut outcome, mut stream) = (Outcome::default(), TcpStream::connect(bridge).await?);
            stream.set_nodelay(true)?;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return anyhow::Ok(outcome);
                }
                let due = begun + Duration::from_secs_f64(number as f64 / per_second);
                sleep_until(due).await;
                let request = request(case, number);
                while !post(&mut stream, &request).await? {
                    outcome.refused += 1;
                    sleep(Duration::from_secs(1)).await;
                }
                outcome.milliseconds.push(due.elapsed().as_secs_f64() * 1e3);
            }
        });
    }
    let mut all = Outcome::default();
    while let Some(one) = connections.join_next().await {
        let one = one??;
        all.milliseconds.extend(one.milliseconds);
        all.refused += one.refused;
    }
    Ok(all)
}

fn request(case: Case, number: usize) -> String {
    let [head, end] = case.body.map(|part| part.replace('#', &number.to_string()));
    let filling = ".".repeat(SIZE.saturating_sub(head.len() + end.len()));
    let media = if head.is_empty() { "text/plain" } else { "application/json" };
    format!(
        "POST {} HTTP/1.1\r\nHost: bridge\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: {media}\r\nContent-Length: {SIZE}\r\n\r\n{head}{filling}{end}",
        case.path
    )
}

/// Posts a request and reads its whole answer; true if it was taken, false if it is to be posted again.
async fn post(stream: &mut TcpStream, request: &str) -> anyhow::Result<bool> {
    stream.write_all(request.as_bytes()).await?;
    let (mut answer, mut length) = (Vec::with_capacity(512), None);
    loop {
        ensure!(stream.read_buf(&mut answer).await? > 0, "the bridge has closed the connection");
        if length.is_none() {
            length = whole_length(&answer);
        }
        if length.is_some_and(|length| answer.len() >= length) {
            break;
        }
    }
    let status = answer.get(9..12).unwrap_or_default();
    ensure!(matches!(status, b"200" | b"503"), "{}", String::from_utf8_lossy(&answer));
    Ok(status == b"200")
}

/// The length of an answer whose head is there.
fn whole_length(answer: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(answer).ok()?;
    let (head, _) = text.split_once("\r\n\r\n")?;
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    Some(head.len() + 4 + length.unwrap_or(0usize))
}
