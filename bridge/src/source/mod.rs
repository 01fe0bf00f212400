//! The bridge's sources, one file each. A source only makes messages; the outbox keeps them.

pub(crate) mod tcp;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use service::process::drain;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::outbox::Outbox;

/// The longest time that a source may take to finish when a new configuration has removed it.
const GRACE: Duration = Duration::from_secs(10);

/// The sources of the configuration in force.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// The TCP port for old scripts: open, or already served.
    tcp: Option<Tcp>,
}

#[derive(Debug)]
struct Tcp {
    address: SocketAddr,
    listener: Option<TcpListener>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Sources {
    /// Opens the listeners of `config`. Connections are accepted from [`Sources::start`] on.
    pub(crate) async fn open(config: &Config) -> anyhow::Result<Self> {
        let Some(address) = config.tcp else { return Ok(Sources::default()) };
        Ok(Sources { tcp: Some(Tcp::open(address).await?) })
    }

    pub(crate) fn start(&mut self, outbox: &Outbox) {
        if let Some(tcp) = &mut self.tcp {
            tcp.start(outbox);
        }
    }

    /// Replaces the sources by those of `config`. If a listener cannot be opened, the sources stay as they are.
    pub(crate) async fn change(&mut self, config: &Config, outbox: &Outbox) -> anyhow::Result<()> {
        if self.tcp.as_ref().map(|tcp| tcp.address) == config.tcp {
            return Ok(());
        }
        let mut next = Sources::open(config).await?;
        next.start(outbox);
        std::mem::replace(self, next).stop(GRACE).await;
        Ok(())
    }

    /// Accepts no further connections, and waits at most `grace` for the open ones.
    pub(crate) async fn stop(self, grace: Duration) {
        if let Some(tcp) = self.tcp {
            tcp.stop.cancel();
            drain(&tcp.tasks, grace).await;
        }
    }
}

impl Tcp {
    async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).await;
        let listener = listener
            .with_context(|| format!("tcp.listen: cannot listen on {address}; is another bridge running?"))?;
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        Ok(Tcp { address, listener: Some(listener), tasks, stop })
    }

    fn start(&mut self, outbox: &Outbox) {
        if let Some(listener) = self.listener.take() {
            self.tasks.spawn(tcp::serve(listener, outbox.clone(), self.stop.clone()));
        }
    }
}
