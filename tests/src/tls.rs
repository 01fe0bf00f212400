//! Certificates for tests: valid ones, and ones that must be refused; and TLS in front of a fake.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use time::{Duration, OffsetDateTime};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

/// A flaw of the server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The certificate is valid.
    None,
    /// It expired yesterday.
    Expired,
    /// It is for another host.
    OtherHost,
}

/// PEM files of one authority, a server and a client. Two sets are independent, so the `ca` of one is an unknown authority
/// for the `cert` of the other.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// The authority's certificate.
    pub ca: PathBuf,
    /// The server's certificate.
    pub cert: PathBuf,
    /// The server's key.
    pub key: PathBuf,
    /// A client's certificate.
    pub client_cert: PathBuf,
    /// The client's key.
    pub client_key: PathBuf,
}

impl Certificates {
    /// Writes them to `dir`, which must outlive the servers that use them.
    pub fn create(dir: &Path, flaw: Flaw) -> Certificates {
        let other = flaw == Flaw::OtherHost;
        Self::of(dir, if other { &["elsewhere.example"] } else { &["localhost", "127.0.0.1"] }, flaw)
    }

    /// The same for other hosts.
    pub fn of(dir: &Path, hosts: &[&str], flaw: Flaw) -> Certificates {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.distinguished_name.push(DnType::CommonName, "tests' authority");
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().expect("a key"));
        let authority = authority.expect("a certificate of our own");

        let leaf = |name: &str, flaw: Flaw| {
            let hosts: Vec<String> = hosts.iter().map(|&host| host.into()).collect();
            let mut params = CertificateParams::new(hosts).expect("legal host names");
            params.distinguished_name.push(DnType::CommonName, name);
            let now = OffsetDateTime::now_utc();
            params.not_before = now - Duration::days(30);
            params.not_after = now + Duration::days(if flaw == Flaw::Expired { -1 } else { 30 });
            let key = KeyPair::generate().expect("a key");
            let cert = params.signed_by(&key, &authority).expect("a signature");
            let cert_path = write(dir, &format!("{name}.pem"), &cert.pem());
            (cert_path, write(dir, &format!("{name}.key"), &key.serialize_pem()))
        };
        let (cert, key) = leaf("server", flaw);
        let (client_cert, client_key) = leaf("client", Flaw::None);
        Certificates { ca: write(dir, "ca.pem", &authority.pem()), cert, key, client_cert, client_key }
    }
}

/// Accepts TLS from clients and passes plain text to a fake behind it; ends when dropped.
#[derive(Debug)]
pub struct TlsFront {
    addr: SocketAddr,
    first_bytes: Arc<Mutex<Vec<u8>>>,
    accepting: JoinHandle<()>,
}

impl TlsFront {
    /// A front for the server at `behind`, with the server's certificate.
    pub async fn of(certificates: &Certificates, behind: SocketAddr) -> TlsFront {
        let chain = CertificateDer::pem_file_iter(&certificates.cert).expect("a certificate of our own");
        let chain = chain.collect::<Result<Vec<_>, _>>().expect("it is PEM");
        let key = PrivateKeyDer::from_pem_file(&certificates.key).expect("a key of our own");
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has them")
            .with_no_client_auth()
            .with_single_cert(chain, key);
        let acceptor = TlsAcceptor::from(Arc::new(config.expect("key and certificate belong together")));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port for TLS");
        let addr = listener.local_addr().expect("a bound socket has an address");
        let first_bytes = Arc::new(Mutex::new(Vec::new()));
        let seen = first_bytes.clone();
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(pass(client, acceptor.clone(), behind, seen.clone()));
            }
        });
        TlsFront { addr, first_bytes, accepting }
    }

    /// The address for clients with TLS.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The first byte of each connection so far: 0x16 begins a TLS handshake.
    pub fn first_bytes(&self) -> Vec<u8> {
        self.first_bytes.lock().expect("no panic here").clone()
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn pass(client: TcpStream, tls: TlsAcceptor, behind: SocketAddr, seen: Arc<Mutex<Vec<u8>>>) {
    let mut first = [0];
    if client.peek(&mut first).await.is_ok_and(|read| read == 1) {
        seen.lock().expect("no panic here").push(first[0]);
    }
    // A client that refuses our certificate disconnects, as it should.
    let Ok(mut client) = tls.accept(client).await else { return };
    let Ok(mut server) = TcpStream::connect(behind).await else { return };
    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
}

fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    path
}
