//! The floor: `floor ADDRESS SUBJECT TEXT [wait]` publishes one message over a blocking socket, by hand.

use std::io;
use std::net::TcpStream;

use bench::nats::{Handshake, fresh_id, greeting, publish};

fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let [_, address, subject, text, rest @ ..] = &args[..] else {
        return Err(io::Error::other("usage: floor ADDRESS SUBJECT TEXT [wait]"));
    };
    let handshake = if rest.is_empty() { Handshake::AtOnce } else { Handshake::WaitForPong };
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    greeting(&mut stream)?;
    publish(&mut stream, handshake, subject, &fresh_id(), text)
}
