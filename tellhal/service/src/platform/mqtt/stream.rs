//! The bytes below a connection: TCP or TLS, in which what comes is cut to packets that fit into memory.
//!
//! A client that refuses a packet for its size would get it again at each connection, for ever; so a message that is too
//! long arrives with the beginning of its payload.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::config::Settings;

/// The longest payload that arrives whole, in bytes.
pub const LARGEST: usize = 1 << 20;
/// The longest packet that arrives whole: its head is a topic of 64 KiB and properties.
pub(super) const LARGEST_PACKET: usize = LARGEST + (256 << 10);
/// The most bytes of a packet's head: its type, and its length of one to four bytes.
const HEAD: usize = 5;
/// The type of a message, in the upper half of the first byte.
const PUBLISH: u8 = 3;

trait Bytes: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Bytes for T {}

/// Connects, over TLS if the settings say so.
pub(super) async fn connect(settings: &Settings) -> io::Result<Stream> {
    let tcp = TcpStream::connect((settings.host.as_str(), settings.port)).await?;
    // Acknowledgements are small and are sent at once.
    tcp.set_nodelay(true)?;
    let Some(tls) = settings.tls.clone() else { return Ok(Stream::new(tcp)) };
    let name = ServerName::try_from(settings.host.clone()).map_err(io::Error::other)?;
    Ok(Stream::new(tokio_rustls::TlsConnector::from(tls).connect(name, tcp).await?))
}

/// The bytes of one connection.
pub(super) struct Stream {
    bytes: Box<dyn Bytes>,
    cutter: Cutter,
    /// The bytes that passed the cutter and are still to be read.
    passed: Vec<u8>,
}

impl Stream {
    fn new(bytes: impl Bytes + 'static) -> Stream {
        Stream { bytes: Box::new(bytes), cutter: Cutter::default(), passed: Vec::new() }
    }
}

/// The place in the bytes that come. Pure.
#[derive(Default)]
struct Cutter {
    /// The head of the packet that begins, as far as it is there.
    head: Vec<u8>,
    /// The bytes of the packet that still pass, and those behind them that do not.
    pass: usize,
    skip: usize,
}

impl Cutter {
    /// Adds to `out` what of `bytes` passes. An error for a packet that is too long and no message.
    fn cut(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.pass > 0 {
                let (now, later) = bytes.split_at(self.pass.min(bytes.len()));
                out.extend_from_slice(now);
                (self.pass, bytes) = (self.pass - now.len(), later);
            } else if self.skip > 0 {
                let skipped = self.skip.min(bytes.len());
                (self.skip, bytes) = (self.skip - skipped, &bytes[skipped..]);
            } else {
                self.head.push(bytes[0]);
                bytes = &bytes[1..];
                self.begin(out)?;
            }
        }
        Ok(())
    }

    /// Begins a packet once its head is whole.
    fn begin(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        let is_whole = self.head.len() > 1 && self.head.last().is_some_and(|byte| byte & 0x80 == 0);
        if !is_whole && self.head.len() < HEAD {
            return Ok(());
        }
        let digits = self.head[1..].iter().enumerate();
        let length: usize = digits.map(|(at, byte)| usize::from(byte & 0x7f) << (7 * at)).sum();
        let is_cut = is_whole && length > LARGEST_PACKET;
        if is_cut && self.head[0] >> 4 != PUBLISH {
            return Err(io::Error::other(format!(
                "the broker sends a packet of {length} bytes that is no message"
            )));
        }
        self.pass = if is_cut { LARGEST_PACKET } else { length };
        self.skip = length - self.pass;
        match is_cut {
            true => out.extend([self.head[0]].into_iter().chain(digits_of(self.pass))),
            false => out.extend_from_slice(&self.head),
        }
        self.head.clear();
        Ok(())
    }
}

/// A packet's length as it is written: seven bits a byte, the lowest first.
fn digits_of(mut length: usize) -> Vec<u8> {
    let mut digits = Vec::with_capacity(4);
    loop {
        let digit = (length & 0x7f) as u8;
        length >>= 7;
        digits.push(if length > 0 { digit | 0x80 } else { digit });
        if length == 0 {
            return digits;
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.passed.is_empty() {
            let mut buffer = [0; 8 << 10];
            let mut read = ReadBuf::new(&mut buffer);
            ready!(Pin::new(&mut self.bytes).poll_read(context, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            let Stream { cutter, passed, .. } = &mut *self;
            cutter.cut(read.filled(), passed)?;
        }
        let now = into.remaining().min(self.passed.len());
        into.put_slice(&self.passed[..now]);
        self.passed.drain(..now);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.bytes).poll_write(context, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.bytes).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.bytes).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(first: u8, length: usize) -> Vec<u8> {
        [vec![first], digits_of(length), vec![b'x'; length]].concat()
    }

    #[test]
    fn only_messages_that_are_too_long_are_cut() {
        for (first, length, wanted) in [
            (0x30, 3, 3),
            (0x30, 0, 0),
            (0x32, LARGEST_PACKET, LARGEST_PACKET),
            (0x32, LARGEST_PACKET + 70_000, LARGEST_PACKET),
            (0x20, LARGEST_PACKET, LARGEST_PACKET),
        ] {
            let sent = [packet(first, length), vec![0xd0, 0x00]].concat();
            for pieces in [sent.len(), 1, 3] {
                let (mut cutter, mut out) = (Cutter::default(), Vec::new());
                sent.chunks(pieces.max(sent.len() / 1000))
                    .for_each(|piece| cutter.cut(piece, &mut out).unwrap());
                assert!(out == [packet(first, wanted), vec![0xd0, 0x00]].concat(), "{first:x} {length}");
            }
        }
    }

    #[test]
    fn another_packet_that_is_too_long_ends_the_connection() {
        let sent = packet(0x20, LARGEST_PACKET + 1);
        assert!(Cutter::default().cut(&sent, &mut Vec::new()).is_err());
    }

    #[test]
    fn a_length_without_end_passes_for_the_client_to_refuse() {
        let (mut cutter, mut out) = (Cutter::default(), Vec::new());
        cutter.cut(&[0x30, 0xff, 0xff, 0xff, 0xff, 0xff], &mut out).unwrap();
        assert_eq!(out, [0x30, 0xff, 0xff, 0xff, 0xff, 0xff]);
    }
}
