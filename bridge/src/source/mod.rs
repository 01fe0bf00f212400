//! The bridge's sources of messages, as the configuration in force has them. A source only makes messages; the outbox keeps
//! them. A changed configuration begins and ends only the sources that have changed.

pub(crate) mod tcp;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::join_all;
use service::zone::Zone;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::config::Config;
use crate::device::listeners::{self, Listeners, Sockets};
use crate::device::mail::config::Config as Mail;
use crate::device::syslog::config::Config as Syslog;
use crate::graph::graphs::Graphs;
use crate::means::{Means, Running};
use crate::monitor::Monitors;
use crate::mqtt::sessions::Intakes as Mqtt;
use crate::reminder::reminders::Reminders;
use crate::schedule::jobs::Jobs;
use crate::webhook::door::{self, Hooks, Intakes};
use crate::webhook::ntfy;

/// The longest time that a source may take to finish when a new configuration has removed it.
const GRACE: Duration = Duration::from_secs(10);

/// The sources of the configuration in force.
pub(crate) struct Sources {
    means: Means,
    hooks: Hooks,
    /// The TCP port for old scripts, if it is wanted.
    tcp: Option<(SocketAddr, Running)>,
    /// The listener for what publishes to ntfy, if it is wanted.
    ntfy: Option<(SocketAddr, Running)>,
    jobs: Jobs,
    /// The zone of reminders, and what says them.
    zone: watch::Sender<Zone>,
    reminders: Running,
    monitors: Option<Monitors>,
    graphs: Graphs,
    syslog: Listeners<Syslog>,
    mail: Listeners<Mail>,
    mqtt: Mqtt,
}

/// Listeners and intakes that are open before anything is taken from them.
#[derive(Default)]
pub(crate) struct Opened {
    intakes: Intakes,
    tcp: Option<(SocketAddr, TcpListener)>,
    ntfy: Option<(SocketAddr, TcpListener)>,
    syslog: Sockets,
    mail: Sockets,
}

impl Opened {
    /// Opens the intakes and listeners of `config`, except for listeners that are `open`.
    pub(crate) async fn of(config: &Config, open: Option<&Sources>) -> anyhow::Result<Opened> {
        let ntfy = config.ntfy.as_ref();
        let intakes = door::open(&config.webhooks, ntfy.map(|ntfy| &ntfy.intake))?;
        let is_open = |port: fn(&Sources) -> &Option<(SocketAddr, Running)>| Some(port(open?).as_ref()?.0);
        Ok(Opened {
            intakes,
            tcp: listener("tcp", config.tcp, is_open(|sources| &sources.tcp)).await?,
            ntfy: listener("ntfy", ntfy.map(|ntfy| ntfy.listen), is_open(|sources| &sources.ntfy)).await?,
            syslog: listeners::open(&config.syslog, open.map(|sources| &sources.syslog)).await?,
            mail: listeners::open(&config.mail, open.map(|sources| &sources.mail)).await?,
        })
    }
}

/// A listener on `address`, unless it `is_open` already.
async fn listener(
    key: &str,
    address: Option<SocketAddr>,
    is_open: Option<SocketAddr>,
) -> anyhow::Result<Option<(SocketAddr, TcpListener)>> {
    let Some(address) = address.filter(|address| Some(*address) != is_open) else { return Ok(None) };
    let listener = TcpListener::bind(address).await;
    let listener = listener
        .with_context(|| format!("{key}.listen: cannot listen on {address}; is another bridge running?"))?;
    Ok(Some((address, listener)))
}

impl Sources {
    pub(crate) fn start(config: &Config, opened: Opened, means: Means, hooks: Hooks) -> Sources {
        let jobs = Jobs::new(&means);
        jobs.change(&config.schedules, &config.zone, &means);
        let (zone, zones) = watch::channel(config.zone.clone());
        let reminders = Running::default();
        reminders.tasks.spawn(Reminders::new(&means, zones).run(reminders.stop.clone()));
        let graphs = Graphs::new(&means);
        let mut sources = Sources {
            means,
            hooks,
            tcp: None,
            ntfy: None,
            jobs,
            zone,
            reminders,
            monitors: None,
            syslog: Listeners::default(),
            mail: Listeners::default(),
            graphs,
            mqtt: Mqtt::default(),
        };
        sources.mqtt.begin(&config.mqtt, &sources.means);
        // There is nothing before it.
        drop(sources.serve(config, opened));
        sources
    }

    /// Replaces the sources by those of `config`. If a listener or an intake cannot be opened, all stay as they are.
    pub(crate) async fn change(&mut self, config: &Config) -> anyhow::Result<()> {
        let opened = Opened::of(config, Some(self)).await?;
        let ntfy = config.ntfy.as_ref().map(|ntfy| ntfy.listen);
        let tcp = self.tcp.take_if(|(address, _)| Some(*address) != config.tcp);
        let ntfy = self.ntfy.take_if(|(address, _)| Some(*address) != ntfy);
        // The old monitors end first: the new ones go on from the states that they have stored.
        if let Some(monitors) = self.monitors.take_if(|running| running.monitors != config.monitors) {
            monitors.end(GRACE).await;
        }
        self.mqtt.change(&config.mqtt, &self.means, GRACE).await;
        let devices = self.serve(config, opened);
        for port in tcp.into_iter().chain(ntfy).map(|(_, port)| port).chain(devices) {
            port.end(GRACE).await;
        }
        self.zone.send_replace(config.zone.clone());
        self.jobs.change(&config.schedules, &config.zone, &self.means);
        Ok(())
    }

    /// Begins what is opened. Returns the listeners for devices that are to end.
    fn serve(&mut self, config: &Config, opened: Opened) -> Vec<Running> {
        self.hooks.change(opened.intakes);
        self.graphs.change(&config.graphs);
        if self.monitors.is_none() {
            self.monitors = Some(Monitors::start(&config.monitors, &self.means));
        }
        if let Some((address, listener)) = opened.tcp {
            let running = Running::default();
            running.tasks.spawn(tcp::serve(listener, self.means.outbox.clone(), running.stop.clone()));
            self.tcp = Some((address, running));
        }
        if let Some((address, listener)) = opened.ntfy {
            let running = Running::default();
            running.tasks.spawn(ntfy::serve(listener, self.hooks.clone(), running.stop.clone()));
            self.ntfy = Some((address, running));
        }
        let mut old = self.syslog.change(&config.syslog, opened.syslog, &self.means);
        old.extend(self.mail.change(&config.mail, opened.mail, &self.means));
        old
    }

    /// Takes nothing further, and waits at most `grace` for what is under way.
    pub(crate) async fn stop(self, grace: Duration) {
        let ports = self.tcp.into_iter().chain(self.ntfy).map(|(_, port)| port.end(grace));
        let monitors = async {
            if let Some(monitors) = self.monitors {
                monitors.end(grace).await;
            }
        };
        tokio::join!(
            join_all(ports),
            self.jobs.stop(grace),
            self.reminders.end(grace),
            monitors,
            self.syslog.end(grace),
            self.mail.end(grace),
            self.mqtt.end(grace)
        );
    }
}
