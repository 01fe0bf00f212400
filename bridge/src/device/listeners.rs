//! The listeners of one kind, by their names and ports. A changed setting is in force at once; only a port that was not there before
//! is opened.

use std::collections::BTreeMap;
use std::fmt;
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

    fn ports(&self) -> Vec<Port>;

    /// Begins to take inputs from one of its ports.
    fn serve(name: &str, socket: Socket, settings: Settings<Self>, means: &Means, running: &Running);
}

/// The settings in force.
pub(crate) type Settings<C> = watch::Receiver<Arc<C>>;

/// A place where a listener takes inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Port {
    Udp(SocketAddr),
    Tcp(SocketAddr),
}

/// An open port.
pub(crate) enum Socket {
    Udp(UdpSocket),
    Tcp(TcpListener),
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Port::Udp(address) => write!(f, "{address} (udp)"),
            Port::Tcp(address) => write!(f, "{address}"),
        }
    }
}

impl Port {
    async fn open(self) -> std::io::Result<Socket> {
        Ok(match self {
            Port::Udp(address) => Socket::Udp(UdpSocket::bind(address).await?),
            Port::Tcp(address) => Socket::Tcp(TcpListener::bind(address).await?),
        })
    }
}

/// Sockets that are open before anything is taken from them, by their listeners' names.
pub(crate) type Sockets = BTreeMap<(String, Port), Socket>;

/// Listeners that run, each port by itself.
pub(crate) struct Listeners<C>(BTreeMap<(String, Port), Listener<C>>);

struct Listener<C> {
    settings: watch::Sender<Arc<C>>,
    running: Running,
}

impl<C> Default for Listeners<C> {
    fn default() -> Self {
        Listeners(BTreeMap::new())
    }
}

/// The ports of `configs`, with their settings.
fn ports<'c, C: Listen>(configs: &'c BTreeMap<String, C>) -> BTreeMap<(String, Port), &'c C> {
    let of = |(name, config): (&String, &'c C)| {
        config.ports().into_iter().map(|port| ((name.clone(), port), config)).collect::<Vec<_>>()
    };
    configs.iter().flat_map(of).collect()
}

/// Opens the ports of `configs`, except for those that are `open`.
pub(crate) async fn open<C: Listen>(
    configs: &BTreeMap<String, C>,
    open: Option<&Listeners<C>>,
) -> anyhow::Result<Sockets> {
    let mut opened = Sockets::new();
    for at in ports(configs).into_keys() {
        if open.is_some_and(|open| open.0.contains_key(&at)) {
            continue;
        }
        let (name, port) = &at;
        let what = || format!("{}.{name}: cannot listen on {port}; is another bridge running?", C::SECTION);
        let socket = port.open().await.with_context(what)?;
        opened.insert(at, socket);
    }
    Ok(opened)
}

impl<C: Listen> Listeners<C> {
    /// Puts `configs` into force. Returns the listeners that are no longer wanted, which are still to be ended.
    pub(crate) fn change(
        &mut self,
        configs: &BTreeMap<String, C>,
        opened: Sockets,
        means: &Means,
    ) -> Vec<Running> {
        let wanted = ports(configs);
        let old: Vec<_> = self.0.extract_if(.., |at, _| !wanted.contains_key(at)).collect();
        for (at, listener) in &self.0 {
            if let Some(config) = wanted.get(at) {
                listener.settings.send_replace(Arc::new((*config).clone()));
            }
        }
        for (at, socket) in opened {
            let Some(config) = wanted.get(&at) else { continue };
            let (settings, receiver) = watch::channel(Arc::new((*config).clone()));
            let running = Running::default();
            C::serve(&at.0, socket, receiver, means, &running);
            self.0.insert(at, Listener { settings, running });
        }
        old.into_iter().map(|(_, listener)| listener.running).collect()
    }

    /// Takes nothing further, and waits at most `grace` for what is under way.
    pub(crate) async fn end(self, grace: Duration) {
        join_all(self.0.into_values().map(|listener| listener.running.end(grace))).await;
    }
}
