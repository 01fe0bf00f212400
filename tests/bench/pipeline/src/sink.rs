//! The sink: an HTTP server in a process of its own that answers every POST with 200 and counts the messages in
//! it. `GET /stats` returns the counts, `POST /reset` clears them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use bench::servers::{Server, free_address};
use bench::stats::quantile;
use serde::{Deserialize, Serialize};

use crate::load::{marks, now_nanos};

#[derive(Default)]
struct Seen {
    numbers: Vec<bool>,
    first: Option<Instant>,
    last: Option<Instant>,
    stats: Stats,
    latencies: Vec<f64>,
}

/// The counts since the last reset.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Stats {
    pub posts: u64,
    /// Distinct messages.
    pub messages: u64,
    /// Seconds between the first post and the last.
    pub seconds: f64,
    /// From publish to arrival, in milliseconds.
    pub p50: f64,
    pub p99: f64,
}

type Shared = Arc<Mutex<Seen>>;

/// Serves until it is killed.
pub async fn serve(address: SocketAddr) -> anyhow::Result<()> {
    let router = Router::new()
        .route("/stats", get(stats))
        .route("/reset", post(async |State(seen): State<Shared>| *lock(&seen) = Seen::default()))
        .fallback(count)
        .with_state(Shared::default());
    Ok(axum::serve(tokio::net::TcpListener::bind(address).await?, router).await?)
}

fn lock(seen: &Shared) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn count(State(seen): State<Shared>, body: String) {
    let (now, nanos) = (Instant::now(), now_nanos());
    let mut seen = lock(&seen);
    seen.stats.posts += 1;
    seen.first.get_or_insert(now);
    seen.last = Some(now);
    for (number, sent) in marks(&body) {
        if seen.numbers.len() <= number {
            seen.numbers.resize((number + 1).next_power_of_two(), false);
        }
        if !std::mem::replace(&mut seen.numbers[number], true) {
            seen.stats.messages += 1;
            seen.latencies.push(nanos.saturating_sub(sent) as f64 / 1e6);
        }
    }
}

async fn stats(State(seen): State<Shared>) -> Json<Stats> {
    let mut seen = lock(&seen);
    seen.latencies.sort_by(f64::total_cmp);
    let mut stats = seen.stats.clone();
    stats.seconds = seen.first.zip(seen.last).map_or(0.0, |(first, last)| (last - first).as_secs_f64());
    stats.p50 = quantile(&seen.latencies, 0.5).unwrap_or(0.0);
    stats.p99 = quantile(&seen.latencies, 0.99).unwrap_or(0.0);
    Json(stats)
}

/// A handle to the sink's process.
pub struct Sink {
    pub server: Server,
    client: reqwest::Client,
    log: PathBuf,
}

fn spawn(address: SocketAddr, log: &Path) -> anyhow::Result<Server> {
    let mut command = std::process::Command::new(std::env::current_exe()?);
    command.args(["sink", &address.to_string()]);
    Server::start(command, address, log)
}

impl Sink {
    /// Starts this program as `sink ADDRESS`.
    pub fn start(log: &Path) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder().no_proxy().build()?;
        Ok(Sink { server: spawn(free_address()?, log)?, client, log: log.to_owned() })
    }

    /// Restarts it at the same address; its counts are lost.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.server.kill();
        self.server = spawn(self.server.address, &self.log)?;
        Ok(())
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.server.address)
    }

    pub async fn reset(&self) -> anyhow::Result<()> {
        self.client.post(format!("{}/reset", self.url())).send().await?.error_for_status()?;
        Ok(())
    }

    pub async fn stats(&self) -> anyhow::Result<Stats> {
        let response = self.client.get(format!("{}/stats", self.url())).send().await?.error_for_status()?;
        Ok(serde_json::from_slice(&response.bytes().await?)?)
    }

    /// Waits until `messages` distinct ones have arrived.
    pub async fn wait(&self, messages: u64) -> anyhow::Result<Stats> {
        let deadline = Instant::now() + std::time::Duration::from_secs(120);
        loop {
            let stats = self.stats().await?;
            if stats.messages >= messages {
                return Ok(stats);
            }
            anyhow::ensure!(Instant::now() < deadline, "{} of {messages} messages arrived", stats.messages);
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}
