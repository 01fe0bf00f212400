//! Connections of devices: taken from the networks that may, at most so many in all and of one address.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The pause after a connection could not be accepted for lack of files or memory.
const PAUSE: Duration = Duration::from_millis(100);

/// The most connections at once.
#[derive(Clone, Copy)]
pub(crate) struct Most {
    pub(crate) all: usize,
    pub(crate) one_address: usize,
}

/// The open connections, by their addresses.
pub(crate) struct Places {
    most: Most,
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// The place of one connection, until it is dropped.
pub(crate) struct Place {
    places: Arc<Places>,
    address: IpAddr,
}

impl Places {
    pub(crate) fn new(most: Most) -> Arc<Places> {
        Arc::new(Places { most, open: Mutex::default() })
    }

    /// A place for a connection; `None` if there is none.
    pub(crate) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let mut open = self.open();
        let of_address = open.get(&address).copied().unwrap_or_default();
        if of_address >= self.most.one_address || open.values().sum::<usize>() >= self.most.all {
            return None;
        }
        open.insert(address, of_address + 1);
        Some(Place { places: self.clone(), address })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.places.open();
        match open.get_mut(&self.address) {
            Some(count @ 2..) => *count -= 1,
            _ => drop(open.remove(&self.address)),
        }
    }
}

/// Hands connections to `begin` until `stop`, and waits for those that are open. `begin` returns the connection's work, or `None` to
/// close it.
pub(crate) async fn accept<W>(
    listener: TcpListener,
    stop: CancellationToken,
    begin: impl Fn(TcpStream, IpAddr) -> Option<W>,
) where
    W: Future<Output = ()> + Send + 'static,
{
    let open = TaskTracker::new();
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, peer)) => {
                if let Some(work) = begin(stream, address(peer)) {
                    open.spawn(work);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot take a connection of a device");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    open.close();
    open.wait().await;
}

/// The address of a peer, without the form of IPv6 that IPv4 has on a socket for both.
pub(crate) fn address(peer: SocketAddr) -> IpAddr {
    peer.ip().to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_by_address_and_in_all() {
        let places = Places::new(Most { all: 3, one_address: 2 });
        let of = |last: u8| places.take([192, 0, 2, last].into());
        let first = of(1);
        let held = [of(1), of(1), of(2), of(3)];
        assert_eq!(held.each_ref().map(Option::is_some), [true, false, true, false]);
        drop(first);
        assert!(of(3).is_some());
        drop(held);
        assert!(places.open().is_empty());
    }
}
