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

/// A configuration with one route per team and `rooms` webhook rooms at `sink`; also returns its page's address.
pub fn configure(
    folder: &Path,
    nats: SocketAddr,
    sink: &str,
    rooms: usize,
) -> anyhow::Result<(PathBuf, SocketAddr)> {
    let page = free_address()?;
    let mut text =
        format!("default_room = \"r0\"\n[nats]\nurl = \"nats://{nats}\"\n[page]\nlisten = \"{page}\"\n");
    for room in 0..rooms {
        writeln!(text, "[rooms.r{room}.webhook]\nurl = \"{sink}/in/r{room}\"\nallow_private = true")?;
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

/// Waits until `deliveries` were written into the outbox and none is left: a post may only count messages instead of
/// listing them, so the sink alone does not know. Each leader's fence takes a sequence too, so with several leaders this
/// may return early by as many deliveries.
pub async fn drained(context: &jetstream::Context, deliveries: u64) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(600);
    loop {
        let state = context.get_stream("HAL_OUT").await.map(|stream| stream.cached_info().state.clone());
        if state.as_ref().is_ok_and(|state| state.last_sequence >= deliveries && state.messages == 0) {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < deadline, "the outbox is not empty: {state:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
