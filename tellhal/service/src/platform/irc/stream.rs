//! The byte stream below a connection: TCP or TLS, read and written by lines.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::platform::Failure;
use crate::tls;

/// The longest line with tags is 4,607 + 512 bytes.
const LONGEST: usize = 16 * 1024;
/// The longest time that a write may take.
const WRITE: Duration = Duration::from_secs(5);

trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

pub(super) struct Stream {
    bytes: BufReader<Box<dyn Bytes>>,
    partial: Vec<u8>,
}

impl Stream {
    /// Connects, over TLS if `tls` is given.
    pub(super) async fn connect(
        host: &str,
        port: u16,
        tls: Option<Arc<rustls::ClientConfig>>,
    ) -> Result<Stream, Failure> {
        let refused = |error: io::Error| {
            let why = tls::refusal(&error).unwrap_or_else(|| error.to_string());
            Failure::transient(format!("{host}:{port}: {why}"))
        };
        let tcp = TcpStream::connect((host, port)).await.map_err(refused)?;
        // Lines are small and are sent at once.
        tcp.set_nodelay(true).map_err(refused)?;
        let Some(config) = tls else { return Ok(Stream::new(tcp)) };
        let name = ServerName::try_from(host.to_owned()).map_err(|error| refused(io::Error::other(error)))?;
        let tls = tokio_rustls::TlsConnector::from(config).connect(name, tcp).await.map_err(refused)?;
        Ok(Stream::new(tls))
    }

    fn new(bytes: impl Bytes + 'static) -> Self {
        Stream { bytes: BufReader::new(Box::new(bytes)), partial: Vec::new() }
    }

    /// The next line; may be dropped and called again without losing anything.
    pub(super) async fn line(&mut self) -> io::Result<String> {
        loop {
            let bytes = self.bytes.fill_buf().await?;
            if bytes.is_empty() {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection"));
            }
            let end = bytes.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
            let taken = end.unwrap_or(bytes.len());
            self.partial.extend_from_slice(&bytes[..taken]);
            self.bytes.consume(taken);
            if self.partial.len() > LONGEST {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the server sent an endless line"));
            }
            if end.is_some() {
                let line = String::from_utf8_lossy(&self.partial).trim_end().to_owned();
                self.partial.clear();
                return Ok(line);
            }
        }
    }

    /// Writes lines, each without its end. Characters that would end one early are removed.
    pub(super) async fn write(&mut self, lines: &[&str]) -> io::Result<()> {
        let mut bytes = Vec::new();
        for line in lines {
            bytes.extend(line.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n' | 0)));
            bytes.extend_from_slice(b"\r\n");
        }
        let write = async {
            self.bytes.write_all(&bytes).await?;
            self.bytes.flush().await
        };
        match tokio::time::timeout(WRITE, write).await {
            Ok(written) => written,
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the server does not read what is sent")),
        }
    }
}
