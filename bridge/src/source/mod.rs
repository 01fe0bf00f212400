//! The bridge's sources of messages, as the configuration in force has them. A source only makes messages; the outbox keeps
//! them. A changed configuration begins and ends only the sources that have changed.

pub(crate) mod tcp;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use service::zone::Zone;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::config::Config;
use crate::means::{Means, Running};
use crate::monitor::Monitors;
use crate::reminder::reminders::Reminders;
use crate::schedule::jobs::Jobs;

/// The longest time that a source may take to finish when a new configuration has removed it.
const GRACE: Duration = Duration::from_secs(10);

/// The sources of the configuration in force.
pub(crate) struct Sources {
    means: Means,
    /// The TCP port for old scripts, if it is wanted.
    tcp: Option<(SocketAddr, Running)>,
    jobs: Jobs,
    /// The zone of reminders, and what says them.
    zone: watch::Sender<Zone>,
    reminders: Running,
    monitors: Option<Monitors>,
}

/// Listeners that are open before anything is taken from them.
#[derive(Default)]
pub(crate) struct Opened {
    tcp: Option<(SocketAddr, TcpListener)>,
}

impl Opened {
    /// Opens the listeners of `config`, except for `open` ones.
    pub(crate) async fn of(config: &Config, open: Option<&Sources>) -> anyhow::Result<Opened> {
        let is_open = open.and_then(|sources| Some(sources.tcp.as_ref()?.0));
        let Some(address) = config.tcp.filter(|address| Some(*address) != is_open) else {
            return Ok(Opened::default());
        };
        let listener = TcpListener::bind(address).await;
        let listener = listener
            .with_context(|| format!("tcp.listen: cannot listen on {address}; is another bridge running?"))?;
        Ok(Opened { tcp: Some((address, listener)) })
    }
}

impl Sources {
    pub(crate) fn start(config: &Config, opened: Opened, means: Means) -> Sources {
        let jobs = Jobs::new(&means);
        jobs.change(&config.schedules, &config.zone, &means);
        let (zone, zones) = watch::channel(config.zone.clone());
        let reminders = Running::default();
        reminders.tasks.spawn(Reminders::new(&means, zones).run(reminders.stop.clone()));
        let mut sources = Sources { means, tcp: None, jobs, zone, reminders, monitors: None };
        sources.serve(config, opened);
        sources
    }

    /// Replaces the sources by those of `config`. If a listener cannot be opened, all stay as they are.
    pub(crate) async fn change(&mut self, config: &Config) -> anyhow::Result<()> {
        let opened = Opened::of(config, Some(self)).await?;
        let tcp = self.tcp.take_if(|(address, _)| Some(*address) != config.tcp);
        // The old monitors end first: the new ones go on from the states that they have stored.
        if let Some(monitors) = self.monitors.take_if(|running| running.monitors != config.monitors) {
            monitors.end(GRACE).await;
        }
        self.serve(config, opened);
        if let Some((_, tcp)) = tcp {
            tcp.end(GRACE).await;
        }
        self.zone.send_replace(config.zone.clone());
        self.jobs.change(&config.schedules, &config.zone, &self.means);
        Ok(())
    }

    fn serve(&mut self, config: &Config, opened: Opened) {
        if self.monitors.is_none() {
            self.monitors = Monitors::start(&config.monitors, &self.means);
        }
        if let Some((address, listener)) = opened.tcp {
            let running = Running::default();
            running.tasks.spawn(tcp::serve(listener, self.means.outbox.clone(), running.stop.clone()));
            self.tcp = Some((address, running));
        }
    }

    /// Takes nothing further, and waits at most `grace` for what is under way.
    pub(crate) async fn stop(self, grace: Duration) {
        let tcp = async {
            if let Some((_, tcp)) = self.tcp {
                tcp.end(grace).await;
            }
        };
        let monitors = async {
            if let Some(monitors) = self.monitors {
                monitors.end(grace).await;
            }
        };
        tokio::join!(tcp, self.jobs.stop(grace), self.reminders.end(grace), monitors);
    }
}
