//! The service from start to end: opens its listeners, runs sources and chats, and on SIGTERM takes nothing new and finishes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use service::config::start;
use service::process::{drain, until_signal};
use service::supervisor;
use tellhal::{Outlet, Publisher};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::bus::Bus;
use crate::chat::door::Doors;
use crate::chat::page;
use crate::chat::sessions::{Sessions, States};
use crate::command::Commands;
use crate::config::Config;
use crate::denials;
use crate::graph::easel::Easel;
use crate::health::{self, Health};
use crate::means::Means;
use crate::metrics::Metrics;
use crate::outbox::Outbox;
use crate::reload::{Parts, Reload};
use crate::source::{Opened, Sources};
use crate::webhook::door::Hooks;

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
    let opened = Opened::of(&config, None).await?;
    let publisher = Publisher::service(&config.nats, "hal-bridge").await?;
    tokio::spawn(denials::log(publisher.denials()));
    let metrics = Arc::new(Metrics::default());
    let outbox = Outbox::new(Outlet::new(publisher.clone(), config.spool.clone()), metrics.clone());
    let (policy, rules) = watch::channel(Arc::new(config.policy.clone()));
    let key = config.signing_key.read_or_create().context("handlers.signing_key_file")?;
    let bus = Bus::with_handlers(&publisher, config.handlers.as_ref(), key, &config.streams).await?;
    tracing::info!(key = bus.public_key(), "signs its requests to handlers");
    let owner = owner();
    let hooks = Hooks::new(outbox.clone(), &bus, metrics.clone());
    let commands = Commands::new(bus.clone(), owner.clone(), rules, outbox.clone(), metrics.clone());
    let mqtt = States::default();
    let means = Means {
        outbox: outbox.clone(),
        bus,
        owner,
        commands: commands.clone(),
        easel: Easel::default(),
        metrics: metrics.clone(),
        mqtt: mqtt.clone(),
    };

    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    // Health outlives `stop`: it answers while the rest drains.
    let (health_stop, health_tasks) = (CancellationToken::new(), TaskTracker::new());
    let health = Health::new(outbox.clone(), metrics.clone(), mqtt);
    let doors = Doors::new(metrics.clone());
    let served = health::serve(http, health.clone(), doors.clone(), hooks.clone(), health_stop.clone());
    health_tasks.spawn(served);
    tasks.spawn({
        let (outbox, stop) = (outbox.clone(), stop.clone());
        async move { outbox.tend(stop).await }
    });
    tasks.spawn(page::serve(commands.clone(), stop.clone()));
    tasks.spawn(commands.clone().answer_peers(stop.clone()));
    let sources = Sources::start(&config, opened, means, hooks);
    let mut sessions = Sessions::new(doors);
    sessions.change(&config.chats, config.dev_rooms.as_deref(), &commands, &health.chats).await;
    tracing::info!(http = %config.http, tcp = config.tcp.map(|addr| addr.to_string()), "hal-bridge runs");
    let mut reload = Reload::new(path, config, outbox, metrics, &stop, &tasks);
    tasks.spawn(supervisor::watchdog(|| Ok(()), stop.clone()));
    supervisor::ready();
    let mut parts = Parts { sources, sessions, commands, states: health.chats, policy };
    tokio::select! {
        signal = until_signal() => signal?,
        () = reload.run(&mut parts) => {}
    }
    tracing::info!("stopping");
    supervisor::stopping();
    stop.cancel();
    tokio::join!(parts.sources.stop(GRACE), parts.sessions.stop(GRACE), drain(&tasks, GRACE));
    health_stop.cancel();
    Ok(())
}

/// A word that no other process has, in leases and claims.
fn owner() -> String {
    format!("{}-{:016x}", std::process::id(), fastrand::u64(..))
}
