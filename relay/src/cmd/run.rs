//! `hal-relay run`: assembles the parts of the relay, reloads the configuration, and shuts down in order.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use relay::bus::Bus;
use relay::config::Config;
use relay::engine::Rules;
use relay::index::Index;
use relay::lead::rooms::{Open, Rooms};
use relay::lead::{Memory, Relay, observe};
use relay::room::registry;
use relay::status::Status;
use relay::status::metrics::{ByKind, Metrics};
use relay::status::notice::Notices;
use relay::{page, room};
use service::config::{Problems, start, watch as watch_files};
use service::process::until_signal;
use service::supervisor;
use tellhal::command::Gate;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::config_path::ConfigPath;

/// Time limit of the shutdown.
const GRACE: Duration = Duration::from_secs(15);

/// The page's niceness, as for `nice -n 10`.
const NICE: i32 = 10;

/// Reads the log and posts into the rooms, until stopped
#[derive(clap::Args)]
pub(crate) struct Run {
    #[command(flatten)]
    config: ConfigPath,
}

impl Run {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let path = self.config.config;
        let config: Config = start(&path)?;
        config.warnings.iter().for_each(|warning| tracing::warn!(%warning, "configuration"));
        let shared = Arc::new(room::Shared::default());
        let rules = Arc::new(Rules::new(config.routing.clone()));
        let rooms = Arc::new(open_rooms(&config, &shared)?);
        let listener = page::bind(config.page.listen)?;
        tracing::info!(page = %listener.local_addr()?, rooms = rooms.open.len(), routes = config.routing.routes.len(), "starting");

        let (metrics, status, stop) =
            (Arc::new(Metrics::default()), Arc::new(Status::default()), CancellationToken::new());
        let bus = Bus::connect(&config.nats, "hal-relay").await?;
        status.change(|now| now.config_hash.clone_from(&rules.hash));
        metrics.configured(&rules.hash);
        let streams = config.streams.clone();
        let (rules_tx, rules) = watch::channel(rules);
        let (rooms_tx, rooms) = watch::channel(rooms);
        let tasks = TaskTracker::new();
        let site = Site {
            listener,
            config: config.clone(),
            status: status.clone(),
            metrics: metrics.clone(),
            rules: rules.clone(),
            rooms: rooms.clone(),
        };
        let page = tasks.spawn(site.run(stop.clone()));
        tasks.spawn(beat(status.clone(), stop.clone()));
        tasks.spawn({
            let (status, stop) = (status.clone(), stop.clone());
            async move { supervisor::watchdog(|| status.alive(), stop).await }
        });
        tasks.spawn(observe::run(bus.clone(), status.clone(), stop.clone()));
        let (news_tx, news) = mpsc::channel(1);
        tasks.spawn(watch_configuration(path, news_tx, stop.clone()));
        let reload = Reload {
            shared,
            rules: rules_tx,
            rooms: rooms_tx,
            bus: bus.clone(),
            metrics: metrics.clone(),
            status: status.clone(),
            started_with: config,
        };
        tasks.spawn(reload.run(news, stop.clone()));
        let owner = format!("{}-{}", std::process::id(), uuid::Uuid::now_v7());
        let relay = Relay {
            bus: bus.clone(),
            metrics,
            status,
            owner,
            rules,
            rooms,
            streams,
            stop: stop.clone(),
            memory: Memory::default(),
        };
        let relay = tasks.spawn(relay.run());
        tasks.close();
        supervisor::ready();
        // If one part ends, the process ends too, so that it is restarted: it must not run without that part.
        let ended = tokio::select! {
            signalled = until_signal() => signalled,
            ended = page => Err(too_early(ended.map_err(Into::into).flatten()).context("the page stopped")),
            ended = relay => Err(too_early(ended.map_err(Into::into)).context("the relay stopped")),
        };
        tracing::info!("stopping");
        supervisor::stopping();
        stop.cancel();
        if tokio::time::timeout(GRACE, tasks.wait()).await.is_err() {
            tracing::warn!("some tasks did not end in time");
        }
        ended
    }
}

fn too_early(ended: anyhow::Result<()>) -> anyhow::Error {
    ended.err().unwrap_or_else(|| anyhow::anyhow!("it ended unexpectedly"))
}

fn open_rooms(config: &Config, shared: &room::Shared) -> anyhow::Result<Rooms> {
    let mut rooms = Rooms {
        open: std::collections::BTreeMap::new(),
        default_room: config.routing.default_room.clone(),
        zone: config.zone.clone(),
        stranded_after: config.stranded_after,
        failing_after: config.failing_after,
        max_waiting: config.max_waiting,
    };
    for (name, settings) in &config.rooms {
        let (kind, room) = (settings.kind(), registry::open(name, settings, shared)?.into());
        rooms.open.insert(name.clone(), Open { kind, room });
    }
    Ok(rooms)
}

/// The parts of the page.
struct Site {
    listener: std::net::TcpListener,
    config: Config,
    status: Arc<Status>,
    metrics: Arc<Metrics>,
    rules: watch::Receiver<Arc<Rules>>,
    rooms: watch::Receiver<Arc<Rooms>>,
}

impl Site {
    /// Serves the page on a thread of its own with low priority: a hundred open pages and an index that catches up must not
    /// delay posts.
    async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let (ended, end) = oneshot::channel();
        let work = move || {
            // A failure leaves the thread at normal priority.
            let _ = rustix::process::nice(NICE);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let served = runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(self.serve(stop)));
            let _ = ended.send(served);
        };
        std::thread::Builder::new().name("page".into()).spawn(work)?;
        end.await.context("it panicked")?
    }

    async fn serve(self, stop: CancellationToken) -> anyhow::Result<()> {
        let Site { listener, config, status, metrics, rules, rooms } = self;
        let bus = Bus::connect(&config.nats, "hal-relay page").await?;
        let index = open_index(&config, &bus);
        let (keys, is_local) = (config.bridge_keys, config.nats.is_local());
        let commands = (is_local || !keys.is_empty()).then(|| Gate::new(keys));
        let shared = page::Shared { config: config.page, bus, status, metrics, rules, rooms, index };
        page::serve(listener, shared, commands, stop).await
    }
}

/// Sends a heartbeat of this thread every second: requests for the health are answered by another thread.
async fn beat(status: Arc<Status>, stop: CancellationToken) {
    let work = async {
        let mut every = tokio::time::interval(Duration::from_secs(1));
        loop {
            every.tick().await;
            status.change(|now| now.beat = Some(Instant::now()));
        }
    };
    stop.run_until_cancelled(work).await;
}

/// Opens the page's index; the relay can run without one.
fn open_index(config: &Config, bus: &Bus) -> Result<Arc<Index>, String> {
    let folder = config.state_dir().ok_or("there is no state_dir for it")?;
    Index::open(&folder, &bus.names).map_err(|error| {
        let error = format!("{error:#}");
        tracing::warn!(error, "no index: the page shows only the latest messages");
        error
    })
}

async fn watch_configuration(
    path: PathBuf,
    news: mpsc::Sender<Result<Config, Problems>>,
    stop: CancellationToken,
) {
    if let Err(error) = watch_files(path, news, stop).await {
        tracing::error!(%error, "cannot watch the configuration; changes need a restart");
    }
}

/// Puts new configurations in force, or reports their problems.
struct Reload {
    shared: Arc<room::Shared>,
    rules: watch::Sender<Arc<Rules>>,
    rooms: watch::Sender<Arc<Rooms>>,
    bus: Bus,
    metrics: Arc<Metrics>,
    status: Arc<Status>,
    started_with: Config,
}

impl Reload {
    async fn run(self, mut news: mpsc::Receiver<Result<Config, Problems>>, stop: CancellationToken) {
        loop {
            let config = tokio::select! {
                () = stop.cancelled() => return,
                config = news.recv() => config,
            };
            let Some(config) = config else { return };
            match self.apply(config) {
                Ok(()) => self.accepted().await,
                Err(error) => self.refused(&error).await,
            }
        }
    }

    fn apply(&self, config: Result<Config, Problems>) -> anyhow::Result<()> {
        let config = config?;
        config.warnings.iter().for_each(|warning| tracing::warn!(%warning, "configuration"));
        let (old, new) = (&self.started_with, &config);
        if old.nats != new.nats || old.page != new.page || old.streams != new.streams {
            tracing::warn!("[nats], [page], [streams] and replicas change only with a restart");
        }
        let rules = Arc::new(Rules::new(config.routing.clone()));
        let rooms = Arc::new(open_rooms(&config, &self.shared)?);
        self.rooms.send_replace(rooms);
        self.rules.send_replace(rules);
        Ok(())
    }

    async fn accepted(&self) {
        self.metrics.config_ok.set(1);
        self.metrics.reloads.get_or_create(&ByKind { kind: "accepted" }).inc();
        let hash = self.rules.borrow().hash.clone();
        self.metrics.configured(&hash);
        tracing::info!(hash, "configuration reloaded");
        let mut was_refused = false;
        self.status.change(|now| {
            was_refused = now.config_error.take().is_some();
            now.config_hash = hash;
        });
        if was_refused {
            Notices::new(self.bus.clone()).config_accepted().await;
        }
    }

    async fn refused(&self, error: &anyhow::Error) {
        self.metrics.config_ok.set(0);
        self.metrics.reloads.get_or_create(&ByKind { kind: "refused" }).inc();
        let problems = match error.downcast_ref::<Problems>() {
            Some(problems) => problems.report(false),
            None => format!("{error:#}"),
        };
        tracing::error!(problems, "the changed configuration is refused, the old one stays in force");
        let mut is_known = false;
        self.status.change(|now| {
            is_known = now.config_error.replace(problems.clone()).as_ref() == Some(&problems);
        });
        if !is_known {
            Notices::new(self.bus.clone()).config_refused(&problems).await;
        }
    }
}
