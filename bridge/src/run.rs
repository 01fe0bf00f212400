//! The service from start to end: opens its listeners, runs the sources, and on SIGTERM takes nothing new and finishes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use service::config::start;
use service::process::{drain, until_signal};
use tellhal::{Outlet, Publisher};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::health;
use crate::metrics::Metrics;
use crate::outbox::Outbox;
use crate::reload::Reload;
use crate::source::Sources;

/// The longest time that a running task may take to finish after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);

/// Runs until SIGTERM or SIGINT.
pub(crate) async fn run(path: PathBuf) -> anyhow::Result<()> {
    let config: Config = start(&path)?;
    config.warnings.iter().for_each(|warning| tracing::warn!(%warning, "configuration"));
    let http = TcpListener::bind(config.http).await;
    let http = http.with_context(|| {
        format!("http.listen: cannot listen on {}; is another bridge running?", config.http)
    })?;
    let mut sources = Sources::open(&config).await?;
    let publisher = Publisher::service(&config.nats, "hal-bridge").await?;
    let metrics = Arc::new(Metrics::default());
    let outbox = Outbox::new(Outlet::new(publisher.clone(), config.spool.clone()), metrics.clone());

    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    // Health outlives `stop`: it answers while the rest drains.
    let (health_stop, health_tasks) = (CancellationToken::new(), TaskTracker::new());
    health_tasks.spawn(health::serve(http, outbox.clone(), metrics.clone(), health_stop.clone()));
    tasks.spawn({
        let (outbox, stop) = (outbox.clone(), stop.clone());
        async move { outbox.tend(stop).await }
    });
    sources.start(&outbox);
    tracing::info!(http = %config.http, tcp = config.tcp.map(|addr| addr.to_string()), "hal-bridge runs");
    let mut reload = Reload::new(path, config, outbox, metrics, &stop, &tasks);
    tokio::select! {
        signal = until_signal() => signal?,
        () = reload.run(&mut sources) => {}
    }
    tracing::info!("stopping");
    stop.cancel();
    sources.stop(GRACE).await;
    drain(&tasks, GRACE).await;
    health_stop.cancel();
    Ok(())
}
