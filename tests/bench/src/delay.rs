//! A proxy that simulates a long line: every byte arrives a fixed time later, so that the number of a program's
//! round trips follows from its wall time.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Starts the proxy before `target` and returns its address. It lives as long as the process.
pub fn line(target: SocketAddr, one_way: Duration) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            thread::spawn(move || carry(client, target, one_way));
        }
    });
    Ok(address)
}

/// The last packet of TCP's handshake is on the line too; only its first two are not.
fn carry(client: TcpStream, target: SocketAddr, one_way: Duration) -> std::io::Result<()> {
    let accepted = Instant::now();
    let (client_copy, there) = (client.try_clone()?, queue(&client)?);
    thread::sleep(one_way.saturating_sub(accepted.elapsed()));
    let server = TcpStream::connect(target)?;
    server.set_nodelay(true)?;
    client.set_nodelay(true)?;
    let (back, server_copy) = (queue(&server)?, server.try_clone()?);
    thread::spawn(move || deliver(&there, server_copy, one_way));
    deliver(&back, client_copy, one_way);
    Ok(())
}

/// The bytes that arrive on `stream`, with their times; the channel closes at the end.
fn queue(stream: &TcpStream) -> std::io::Result<mpsc::Receiver<(Instant, Vec<u8>)>> {
    let mut stream = stream.try_clone()?;
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut buffer = [0; 16 * 1024];
        while let Ok(read @ 1..) = stream.read(&mut buffer) {
            if sender.send((Instant::now(), buffer[..read].to_vec())).is_err() {
                break;
            }
        }
    });
    Ok(receiver)
}

fn deliver(queue: &mpsc::Receiver<(Instant, Vec<u8>)>, mut to: TcpStream, one_way: Duration) {
    for (arrived, bytes) in queue {
        thread::sleep(one_way.saturating_sub(arrived.elapsed()));
        if to.write_all(&bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
