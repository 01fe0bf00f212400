//! A TCP proxy between a program and its server that can be set to misbehave.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, watch};
use tokio::task::{JoinHandle, JoinSet};

/// The behaviour of the proxy on all connections, old and new, from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Passes bytes on.
    None,
    /// Passes bytes on, each piece this much later.
    Delay(Duration),
    /// Keeps connections open without passing bytes on, like a pulled cable.
    BlackHole,
    /// Passes one byte a second on.
    Drip,
    /// Resets every connection, new ones too.
    Reset,
    /// Ends the direction to the client, and continues to pass the client's bytes to the server.
    HalfClose,
}

/// A running proxy; it and its connections end when dropped.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    fault: watch::Sender<Fault>,
    cut: broadcast::Sender<()>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// A proxy in front of `127.0.0.1:port`.
    pub async fn to(port: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port for the proxy");
        let addr = listener.local_addr().expect("a bound socket has an address");
        let (fault, faults) = watch::channel(Fault::None);
        let (cut, _) = broadcast::channel(1);
        let cuts = cut.clone();
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(connection(client, port, faults.clone(), cuts.subscribe()));
            }
        });
        Proxy { addr, fault, cut, accepting }
    }

    /// The address for clients.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The address for clients as a NATS URL.
    pub fn nats_url(&self) -> String {
        format!("nats://{}", self.addr)
    }

    /// Sets the behaviour from now on.
    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    /// Resets all present connections; new ones behave as set by [`Proxy::set`].
    pub fn cut(&self) {
        // An error means that there is no connection.
        let _ = self.cut.send(());
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn connection(
    client: TcpStream,
    port: u16,
    mut faults: watch::Receiver<Fault>,
    mut cut: broadcast::Receiver<()>,
) {
    // A connection that is dropped before both sides have finished ends with a reset.
    let _ = client.set_zero_linger();
    if *faults.borrow() == Fault::Reset {
        return;
    }
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let _ = server.set_zero_linger();
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    let up = pump(client_read, server_write, faults.clone(), false);
    let down = pump(server_read, client_write, faults.clone(), true);
    tokio::select! {
        _ = async { tokio::join!(up, down) } => {}
        _ = faults.wait_for(|fault| *fault == Fault::Reset) => {}
        _ = cut.recv() => {}
    }
}

/// Passes bytes on until one side ends; `down` is the direction to the client.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut faults: watch::Receiver<Fault>,
    down: bool,
) {
    let mut buffer = [0; 16 * 1024];
    loop {
        let half_closed = faults.wait_for(|fault| down && *fault == Fault::HalfClose);
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            _ = half_closed => break,
        };
        let Ok(length @ 1..) = read else { break };
        if pass(&buffer[..length], &mut to, &mut faults).await.is_err() {
            return;
        }
    }
    // The other side sees the end and may still send.
    let _ = to.shutdown().await;
}

async fn pass(
    bytes: &[u8],
    to: &mut OwnedWriteHalf,
    faults: &mut watch::Receiver<Fault>,
) -> std::io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let fault = *faults.borrow_and_update();
        match fault {
            Fault::Delay(delay) => {
                tokio::time::sleep(delay).await;
                return to.write_all(rest).await;
            }
            Fault::Drip => {
                to.write_all(&rest[..1]).await?;
                rest = &rest[1..];
                let second = Duration::from_secs(1);
                let _ = tokio::time::timeout(second, faults.wait_for(|fault| *fault != Fault::Drip)).await;
            }
            Fault::BlackHole => {
                let gone = faults.wait_for(|fault| *fault != Fault::BlackHole).await.is_err();
                if gone {
                    return Ok(());
                }
            }
            Fault::None | Fault::Reset | Fault::HalfClose => return to.write_all(rest).await,
        }
    }
    Ok(())
}
