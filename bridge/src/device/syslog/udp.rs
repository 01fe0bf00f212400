//! Datagrams. The sender never waits: what comes faster than it is kept waits in memory, and beyond that is dropped and counted.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tellhal::Message;
use tokio::net::UdpSocket;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::intake::Intake;
use super::line::Transport;
use crate::device::connections::address;

/// The longest datagram, in bytes.
const LONGEST: usize = 64 << 10;
/// The messages that may wait, and their size in KiB.
const WAITING: usize = 4096;
const WAITING_KIB: usize = 8 << 10;
/// The messages that are being kept at once.
const AT_ONCE: usize = 16;
const PAUSE: Duration = Duration::from_millis(100);

/// A message that waits, with its share of the memory.
type Waiting = (Message, IpAddr, OwnedSemaphorePermit);

/// Takes datagrams until `stop`, then keeps those that were taken.
pub(super) async fn serve(socket: UdpSocket, intake: Arc<Intake>, stop: CancellationToken) {
    let (sender, receiver) = mpsc::channel(WAITING);
    let memory = Arc::new(Semaphore::new(WAITING_KIB));
    let take = async {
        let mut bytes = vec![0; LONGEST];
        while let Some(received) = stop.run_until_cancelled(socket.recv_from(&mut bytes)).await {
            match received {
                Ok((length, peer)) => take(&intake, &bytes[..length], address(peer), &memory, &sender),
                Err(error) => {
                    tracing::warn!(%error, "cannot read a datagram");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        drop(sender);
    };
    tokio::join!(take, keep(&intake, receiver));
}

fn take(
    intake: &Intake,
    bytes: &[u8],
    peer: IpAddr,
    memory: &Arc<Semaphore>,
    sender: &mpsc::Sender<Waiting>,
) {
    if !intake.admits(peer) {
        return;
    }
    if intake.rates.of(peer, intake.settings().rate).take().is_err() {
        return intake.tally.lose("over_rate", peer);
    }
    let Some(message) = intake.read(bytes, Transport::Udp, peer) else { return };
    let kib = u32::try_from(bytes.len() / 1024 + 1).unwrap_or(u32::MAX);
    let waits = memory.clone().try_acquire_many_owned(kib).ok();
    let waits = waits.and_then(|share| sender.try_send((message, peer, share)).ok());
    if waits.is_none() {
        intake.tally.lose("too_many_waiting", peer);
    }
}

/// Keeps the messages that wait, several at once, begun in their order.
async fn keep(intake: &Intake, mut receiver: mpsc::Receiver<Waiting>) {
    let waiting = stream::poll_fn(|context| receiver.poll_recv(context));
    let kept = waiting.map(async |(message, peer, share)| {
        intake.keep(&message, peer).await;
        drop(share);
    });
    kept.buffered(AT_ONCE).for_each(async |()| {}).await;
}
