//! The floor with TLS: `floor-tls ADDRESS AUTHORITY SUBJECT TEXT`, rustls with ring and one pinned authority.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use bench::nats::{Handshake, fresh_id, greeting, publish};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let [_, address, authority, subject, text] = &args[..] else {
        return Err(io::Error::other("usage: floor-tls ADDRESS AUTHORITY SUBJECT TEXT"));
    };
    let address: SocketAddr = address.parse().map_err(io::Error::other)?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(authority).map_err(io::Error::other)? {
        roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    greeting(&mut stream)?;
    let name = ServerName::IpAddress(address.ip().into());
    let connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, stream);
    publish(&mut stream, Handshake::AtOnce, subject, &fresh_id(), text)
}
