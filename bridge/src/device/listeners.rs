//! The listeners of one kind, by their names. A changed setting is in force at once; a socket is opened anew only for another address.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::join_all;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;

use crate::means::{Means, Running};

/// The settings of a kind of listeners.
pub(crate) trait Listen: Clone + PartialEq + Send + Sync + 'static {
    /// The table of the configuration.
    const SECTION: &'static str;

    fn udp(&self) -> Option<SocketAddr>;
    fn tcp(&self) -> Option<SocketAddr>;

    /// Begins to take inputs from `sockets`.
    fn serve(name: &str, sockets: Sockets, settings: Settings<Self>, means: &Means, running: &Running);
}

/// The settings in force.
pub(crate) type Settings<C> = watch::Receiver<Arc<C>>;

/// The open sockets of a listener.
#[derive(Default)]
pub(crate) struct Sockets {
    pub(crate) udp: Option<UdpSocket>,
    pub(crate) tcp: Option<TcpListener>,
}

/// Listeners that run.
pub(crate) struct Listeners<C>(BTreeMap<String, Listener<C>>);

struct Listener<C> {
    settings: watch::Sender<Arc<C>>,
    running: Running,
}

impl<C: Listen> Listener<C> {
    fn is_at(&self, config: &C) -> bool {
        let mine = self.settings.borrow();
        (mine.udp(), mine.tcp()) == (config.udp(), config.tcp())
    }
}

impl<C> Default for Listeners<C> {
    fn default() -> Self {
        Listeners(BTreeMap::new())
    }
}

/// Opens the sockets of `configs`, except for those that are `open`.
pub(crate) async fn open<C: Listen>(
    configs: &BTreeMap<String, C>,
    open: Option<&Listeners<C>>,
) -> anyhow::Result<BTreeMap<String, Sockets>> {
    let is_open = |name: &String, config: &C| {
        open.and_then(|open| open.0.get(name)).is_some_and(|one| one.is_at(config))
    };
    let mut opened = BTreeMap::new();
    for (name, config) in configs.iter().filter(|(name, config)| !is_open(name, config)) {
        let mut sockets = Sockets::default();
        let what = |address| {
            format!("{}.{name}: cannot listen on {address}; is another bridge running?", C::SECTION)
        };
        if let Some(address) = config.udp() {
            sockets.udp = Some(UdpSocket::bind(address).await.with_context(|| what(address))?);
        }
        if let Some(address) = config.tcp() {
            sockets.tcp = Some(TcpListener::bind(address).await.with_context(|| what(address))?);
        }
        opened.insert(name.clone(), sockets);
    }
    Ok(opened)
}

impl<C: Listen> Listeners<C> {
    /// Puts `configs` into force. Returns the listeners that are no longer wanted, which are still to be ended.
    pub(crate) fn change(
        &mut self,
        configs: &BTreeMap<String, C>,
        mut opened: BTreeMap<String, Sockets>,
        means: &Means,
    ) -> Vec<Running> {
        let (kept, old) = std::mem::take(&mut self.0)
            .into_iter()
            .partition(|(name, one)| configs.get(name).is_some_and(|config| one.is_at(config)));
        self.0 = kept;
        for (name, config) in configs {
            match self.0.get(name) {
                Some(listener) => drop(listener.settings.send_replace(Arc::new(config.clone()))),
                None => {
                    let (settings, receiver) = watch::channel(Arc::new(config.clone()));
                    let running = Running::default();
                    C::serve(name, opened.remove(name).unwrap_or_default(), receiver, means, &running);
                    self.0.insert(name.clone(), Listener { settings, running });
                }
            }
        }
        let old: BTreeMap<String, Listener<C>> = old;
        old.into_values().map(|listener| listener.running).collect()
    }

    /// Takes nothing further, and waits at most `grace` for what is under way.
    pub(crate) async fn end(self, grace: Duration) {
        join_all(self.0.into_values().map(|listener| listener.running.end(grace))).await;
    }
}
