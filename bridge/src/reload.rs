//! New versions of the configuration: put into force, or refused. A message reports a refusal and its end.

use std::path::PathBuf;
use std::sync::Arc;

use service::config::{Problems, watch};
use tellhal::message::{Message, Severity, Status};
use tellhal::tag::Tag;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::chat::sessions::{Sessions, States};
use crate::command::Commands;
use crate::command::policy::Policy;
use crate::config::Config;
use crate::metrics::{Metrics, ReloadOutcome};
use crate::outbox::{Outbox, SOURCE};
use crate::source::Sources;

/// The source of the bridge's own messages in the metrics.
const OWN: &str = "own";

/// The parts that a changed configuration changes.
pub(crate) struct Parts {
    pub(crate) sources: Sources,
    pub(crate) sessions: Sessions,
    pub(crate) commands: Commands,
    pub(crate) states: States,
    pub(crate) policy: watch::Sender<Arc<Policy>>,
}

/// The configuration in force, and the new versions of its files.
pub(crate) struct Reload {
    versions: mpsc::Receiver<Result<Config, Problems>>,
    in_force: Config,
    outbox: Outbox,
    metrics: Arc<Metrics>,
    refused: bool,
}

impl Reload {
    pub(crate) fn new(
        path: PathBuf,
        in_force: Config,
        outbox: Outbox,
        metrics: Arc<Metrics>,
        stop: &CancellationToken,
        tasks: &TaskTracker,
    ) -> Self {
        let (sender, versions) = mpsc::channel(1);
        let stop = stop.clone();
        tasks.spawn(async move {
            if let Err(error) = watch(path, sender, stop).await {
                tracing::error!(%error, "cannot watch the configuration; changes need a restart");
            }
        });
        metrics.config_ok.set(1);
        Reload { versions, in_force, outbox, metrics, refused: false }
    }

    /// Takes new versions until the watcher ends.
    pub(crate) async fn run(&mut self, parts: &mut Parts) {
        while let Some(config) = self.versions.recv().await {
            let applied = match config {
                Ok(config) => self.apply(config, parts).await,
                Err(problems) => Err(problems.report(false)),
            };
            match applied {
                Ok(()) => self.accept().await,
                Err(problems) => self.refuse(&problems).await,
            }
        }
        std::future::pending().await
    }

    async fn apply(&mut self, config: Config, parts: &mut Parts) -> Result<(), String> {
        config.warnings.iter().for_each(|warning| tracing::warn!(%warning, "configuration"));
        let old = &self.in_force;
        if (&config.nats, config.http, &config.spool) != (&old.nats, old.http, &old.spool)
            || (&config.handlers, &config.signing_key, &config.streams)
                != (&old.handlers, &old.signing_key, &old.streams)
        {
            tracing::warn!(
                "[nats], [http], [handlers], [streams], replicas and spool change only with a restart"
            );
        }
        parts.sources.change(&config).await.map_err(|error| format!("{error:#}"))?;
        // Rights change first: a chat that goes on is asked with the new ones at once.
        parts.policy.send_replace(Arc::new(config.policy.clone()));
        let Parts { sessions, commands, states, .. } = parts;
        sessions.change(&config.chats, config.dev_rooms.as_deref(), commands, states).await;
        self.in_force = config;
        Ok(())
    }

    async fn accept(&mut self) {
        tracing::info!("configuration reloaded");
        self.metrics.config_ok.set(1);
        self.metrics.reloads.get_or_create(&ReloadOutcome { kind: "accepted" }).inc();
        if std::mem::take(&mut self.refused) {
            let text = "the changed configuration is in force";
            self.tell("bridge.config.accepted", Severity::Notice, Status::Resolved, text.into()).await;
        }
    }

    async fn refuse(&mut self, problems: &str) {
        tracing::error!(problems, "the changed configuration is refused, the old one stays in force");
        self.metrics.config_ok.set(0);
        self.metrics.reloads.get_or_create(&ReloadOutcome { kind: "refused" }).inc();
        self.refused = true;
        let text = format!("the changed configuration is refused, the old one stays in force\n{problems}");
        self.tell("bridge.config.refused", Severity::Error, Status::Failed, text).await;
    }

    async fn tell(&self, tag: &str, severity: Severity, status: Status, text: String) {
        let mut message = Message::new(SOURCE, Tag::nearest(tag), text);
        message.severity = severity;
        message.status = Some(status);
        message.key = Some("config".into());
        self.outbox.publish(OWN, &message).await;
    }
}
