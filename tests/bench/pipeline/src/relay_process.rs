//! The relay under test, run like an operator's: `hal-relay run --config FILE`, one webhook room per path of the sink.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context;
use async_nats::jetstream;
use bench::servers::{Server, free_address};

use crate::load::{TEAMS, routing};

/// `hal-relay` beside this program, if it was built.
pub fn program() -> anyhow::Result<Option<PathBuf>> {
    let path = std::env::current_exe()?.parent().context("no folder of programs")?.join("hal-relay");
    Ok(path.is_file().then_some(path))
}

/// A configuration with one route per team and `rooms` webhook rooms at `sink`, each with at most `batch` messages in a post;
/// also returns its page's address.
pub fn configure(
    folder: &Path,
    nats: SocketAddr,
    sink: &str,
    rooms: usize,
    batch: Option<usize>,
) -> anyhow::Result<(PathBuf, SocketAddr)> {
    let page = free_address()?;
    let mut text =
        format!("default_room = \"r0\"\n[nats]\nurl = \"nats://{nats}\"\n[page]\nlisten = \"{page}\"\n");
    for room in 0..rooms {
        writeln!(text, "[rooms.r{room}.webhook]\nurl = \"{sink}/in/r{room}\"\nallow_private = true")?;
        if let Some(batch) = batch {
            writeln!(text, "batch = {batch}")?;
        }
    }
    let routing = routing(rooms)?;
    for (team, route) in routing.routes.iter().enumerate().take(TEAMS) {
        writeln!(
            text,
            "[[routes]]\nname = \"{}\"\ntag = \"team{team}.>\"\nrooms = {:?}",
            route.name, route.rooms
        )?;
    }
    let path = folder.join("relay.toml");
    std::fs::write(&path, text)?;
    Ok((path, page))
}

/// Starts the relay and waits until `/readyz` answers 200; returns the time that took.
pub async fn start(
    program: &Path,
    folder: &Path,
    config: &Path,
    page: SocketAddr,
) -> anyhow::Result<(Server, Duration)> {
    let begin = Instant::now();
    let mut command = Command::new(program);
    command.args(["run", "--config"]).arg(config).env("STATE_DIRECTORY", folder);
    let server = Server::start(command, page, &folder.join("relay.log"))?;
    ready(page).await.with_context(|| format!("see {}", folder.join("relay.log").display()))?;
    Ok((server, begin.elapsed()))
}

/// Waits until `/readyz` answers 200.
pub async fn ready(page: SocketAddr) -> anyhow::Result<()> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let answer = client.get(format!("http://{page}/readyz")).send().await;
        if answer.is_ok_and(|answer| answer.status().is_success()) {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < deadline, "the relay at {page} is not ready");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until room `r0` has handled the last message of the log, by its receipts: a post may only count messages instead of
/// listing them, so the sink alone does not know.
pub async fn drained(context: &jetstream::Context) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(600);
    let log = context.get_stream("HAL_OPS").await?;
    let last = log.direct_get_last_for_subject("hal.ops.>").await?.sequence;
    loop {
        let reached = reached(context).await;
        if reached.is_some_and(|reached| reached >= last) {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < deadline, "the room is at {reached:?}, the log ends at {last}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn reached(context: &jetstream::Context) -> Option<u64> {
    let sent = context.get_stream_no_info("HAL_SENT").await.ok()?;
    let receipt = sent.direct_get_last_for_subject("hal.sent.r0").await.ok()?;
    let receipt: serde_json::Value = serde_json::from_slice(&receipt.payload).ok()?;
    receipt["place"]["sequence"].as_u64()
}

/// The last sequence of the log that the relay has folded, and the deliveries that wait for its rooms.
pub async fn folded(client: &reqwest::Client, page: SocketAddr) -> anyhow::Result<(u64, u64)> {
    let answer = client.get(format!("http://{page}/api/rooms")).send().await?.text().await?;
    let rooms: serde_json::Value = serde_json::from_str(&answer)?;
    let pending = rooms["rooms"].as_array().into_iter().flatten().filter_map(|room| room["pending"].as_u64());
    Ok((rooms["folded"].as_u64().unwrap_or(0), pending.sum()))
}
