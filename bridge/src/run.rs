//! The service's life: open what it needs, run the sources, and on SIGTERM stop taking, finish, and end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tellhal::{Outlet, Publisher};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::metrics::Metrics;
use crate::outbox::Outbox;
use crate::{health, source};

/// What is under way at SIGTERM has this long to finish.
const GRACE: Duration = Duration::from_secs(10);

/// Runs until SIGTERM or SIGINT.
pub(crate) async fn run(config: Config) -> anyhow::Result<()> {
    let mut term = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut int = signal(SignalKind::interrupt()).context("SIGINT")?;
    let http = listen("http.listen", config.http).await?;
    let tcp = match config.tcp {
        Some(addr) => Some(listen("tcp.listen", addr).await?),
        None => None,
    };
    let publisher = Publisher::service(&config.nats, "hal-bridge").await?;
    let metrics = Arc::new(Metrics::default());
    let outbox = Outbox::new(Outlet::new(publisher.clone(), config.spool), metrics.clone());

    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    let mut health = tokio::spawn(health::serve(http, outbox.clone(), metrics));
    tasks.spawn({
        let (outbox, stop) = (outbox.clone(), stop.clone());
        async move { outbox.tend(stop).await }
    });
    if let Some(listener) = tcp {
        tasks.spawn(source::tcp::serve(listener, outbox, stop.clone()));
    }
    tracing::info!(http = %config.http, tcp = config.tcp.map(|addr| addr.to_string()), "hal-bridge runs");

    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
        ended = &mut health => ended.context("the health page ended")?.context("the health page ended")?,
    }
    tracing::info!("stopping");
    stop.cancel();
    tasks.close();
    if tokio::time::timeout(GRACE, tasks.wait()).await.is_err() {
        tracing::warn!("not everything finished within {}", humantime::format_duration(GRACE));
    }
    health.abort();
    Ok(())
}

async fn listen(key: &str, addr: SocketAddr) -> anyhow::Result<TcpListener> {
    let bound = TcpListener::bind(addr).await;
    bound.with_context(|| format!("{key}: cannot listen on {addr}; is another bridge running?"))
}
