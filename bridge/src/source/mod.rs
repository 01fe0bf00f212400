//! The bridge's sources of messages, as the configuration in force has them. A source only makes messages; the outbox keeps
//! them. A changed configuration begins and ends only the sources that have changed.

pub(crate) mod tcp;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use service::process::drain;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::bus::Bus;
use crate::config::Config;
use crate::outbox::Outbox;

/// The longest time that a source may take to finish when a new configuration has removed it.
const GRACE: Duration = Duration::from_secs(10);

/// The parts of the bridge that sources use. Cheap to clone.
#[derive(Clone)]
#[allow(dead_code, reason = "its first users are being built")]
pub(crate) struct Means {
    pub(crate) outbox: Outbox,
    pub(crate) bus: Bus,
    /// This process in leases: a word that no other one has.
    pub(crate) owner: String,
}

/// The sources of the configuration in force.
pub(crate) struct Sources {
    means: Means,
    /// The TCP port for old scripts, if it is wanted.
    tcp: Option<(SocketAddr, Running)>,
}

/// Listeners that are open before anything is taken from them.
#[derive(Default)]
pub(crate) struct Opened {
    tcp: Option<(SocketAddr, TcpListener)>,
}

/// The tasks of one source.
#[derive(Default)]
pub(crate) struct Running {
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
}

impl Running {
    /// Begins nothing further, and waits at most `grace` for what is under way.
    pub(crate) async fn end(self, grace: Duration) {
        self.stop.cancel();
        drain(&self.tasks, grace).await;
    }
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
        let mut sources = Sources { means, tcp: None };
        sources.serve(config, opened);
        sources
    }

    /// Replaces the sources by those of `config`. If a listener cannot be opened, all stay as they are.
    pub(crate) async fn change(&mut self, config: &Config) -> anyhow::Result<()> {
        let opened = Opened::of(config, Some(self)).await?;
        let tcp = self.tcp.take_if(|(address, _)| Some(*address) != config.tcp);
        self.serve(config, opened);
        if let Some((_, tcp)) = tcp {
            tcp.end(GRACE).await;
        }
        Ok(())
    }

    fn serve(&mut self, _config: &Config, opened: Opened) {
        if let Some((address, listener)) = opened.tcp {
            let running = Running::default();
            running.tasks.spawn(tcp::serve(listener, self.means.outbox.clone(), running.stop.clone()));
            self.tcp = Some((address, running));
        }
    }

    /// Takes nothing further, and waits at most `grace` for what is under way.
    pub(crate) async fn stop(self, grace: Duration) {
        if let Some((_, tcp)) = self.tcp {
            tcp.end(grace).await;
        }
    }
}
