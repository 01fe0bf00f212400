//! TLS clients: ring, the system's roots or one given CA. Certificates are always verified.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use rustls::client::WantsClientCert;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{AlertDescription, ClientConfig, ConfigBuilder, RootCertStore};
use tellhal::Timestamp;

/// A client's settings that trust `ca`, or the system's roots when there is none.
pub fn client(ca: Option<&Path>) -> anyhow::Result<ClientConfig> {
    Ok(trusting(ca)?.with_no_client_auth())
}

/// The same for a client that shows a certificate of its own; the files are PEM.
pub fn client_as(ca: Option<&Path>, cert: &Path, key: &Path) -> anyhow::Result<ClientConfig> {
    let read = |path: &Path| tellhal::file::read(path).with_context(|| path.display().to_string());
    let chain = CertificateDer::pem_slice_iter(&read(cert)?).collect::<Result<Vec<_>, _>>();
    let chain = chain.with_context(|| format!("{}: it is not a certificate", cert.display()))?;
    let own_key = PrivateKeyDer::from_pem_slice(&read(key)?)
        .map_err(|_| anyhow::anyhow!("{}: it is not a private key", key.display()))?;
    let config = trusting(ca)?.with_client_auth_cert(chain, own_key);
    config.with_context(|| format!("{} and {} do not belong together", cert.display(), key.display()))
}

fn trusting(ca: Option<&Path>) -> anyhow::Result<ConfigBuilder<ClientConfig, WantsClientCert>> {
    let mut roots = RootCertStore::empty();
    match ca {
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        Some(path) => {
            let name = || path.display().to_string();
            let bytes = tellhal::file::read(path).with_context(name)?;
            let certs = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
            let (added, _) = roots.add_parsable_certificates(certs.with_context(name)?);
            if added == 0 {
                bail!("{}: the file contains no certificate", name());
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots))
}

/// The time at which a certificate in DER ends; `None` if it cannot be read.
pub fn ends(certificate: &[u8]) -> Option<Timestamp> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let seconds = certificate.validity().not_after.timestamp();
    Some(Timestamp(seconds.checked_mul(1000)?))
}

/// The TLS error in the causes of `error`, as a text for a person; `None` if there is none.
pub fn refusal(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    use rustls::CertificateError as Bad;
    let error = find(error)?;
    let bad = match error {
        rustls::Error::InvalidCertificate(bad) => bad,
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            return Some("tls: the server wants a client certificate".into());
        }
        error => return Some(format!("tls: {error}")),
    };
    Some(match bad {
        Bad::Expired | Bad::ExpiredContext { .. } => "tls: the certificate has expired".into(),
        Bad::NotValidYet | Bad::NotValidYetContext { .. } => "tls: the certificate is not valid yet".into(),
        Bad::NotValidForName | Bad::NotValidForNameContext { .. } => {
            "tls: the certificate is for another host".into()
        }
        Bad::UnknownIssuer | Bad::BadSignature => "tls: the certificate is of an unknown CA".into(),
        Bad::Revoked => "tls: the certificate is revoked".into(),
        bad => format!("tls: {bad}"),
    })
}

/// The TLS error in a chain of causes. One inside an `io::Error` is not among its sources.
fn find<'a>(mut error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    loop {
        if let Some(tls_error) = error.downcast_ref() {
            return Some(tls_error);
        }
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        error = match inner {
            Some(inner) => inner,
            None => error.source()?,
        };
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use crate::http::{Endpoint, Reach};
    use crate::platform::Failure;
    use crate::testing::Ca;

    use super::*;

    /// Posts to a server with that certificate, trusting `ca`.
    async fn post(acceptor: TlsAcceptor, ca: Option<&Path>) -> Result<u16, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://127.0.0.1:{}/secret", listener.local_addr().unwrap().port());
        tokio::spawn(async move {
            let Ok(mut stream) = acceptor.accept(listener.accept().await.unwrap().0).await else { return };
            let mut request = [0; 4096];
            assert!(stream.read(&mut request).await.unwrap() > 0);
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            stream.flush().await.unwrap();
        });
        let endpoint = Endpoint::new(&url, &Reach { tls_ca: ca, ..Reach::default() }).unwrap();
        let answer = endpoint.post("{}".into(), reqwest::header::HeaderMap::new()).await?;
        Ok(answer.status.as_u16())
    }

    #[tokio::test]
    async fn bad_certificates_are_refused_by_name() {
        let ca = Ca::new();
        let other = Ca::new();
        let trusted = Some(ca.file.as_path());
        let (good, expired, host) =
            (ca.server("127.0.0.1", false), ca.server("127.0.0.1", true), ca.server("example.com", false));
        assert_eq!(post(good.clone(), trusted).await, Ok(204));
        let refused = [
            (expired, trusted, "127.0.0.1: tls: the certificate has expired"),
            (host, trusted, "127.0.0.1: tls: the certificate is for another host"),
            (good.clone(), Some(other.file.as_path()), "127.0.0.1: tls: the certificate is of an unknown CA"),
            (good, None, "127.0.0.1: tls: the certificate is of an unknown CA"),
        ];
        for (server, ca, reason) in refused {
            assert_eq!(post(server, ca).await, Err(Failure::transient(reason)));
        }
    }

    #[test]
    fn a_ca_file_without_a_certificate_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        let error = format!("{:#}", client(Some(&path)).unwrap_err());
        assert!(error.contains("ca.pem"), "{error}");
        std::fs::write(&path, "nothing").unwrap();
        assert!(client(Some(&path)).unwrap_err().to_string().contains("no certificate"));
    }
}
