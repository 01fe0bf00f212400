//! The `[nats]` table of a configuration, the same for tellhal, relay, bridge and any other service.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_nats::{ConnectOptions, ServerAddr};
use nkeys::KeyPair;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};

use crate::file;
use crate::subject::{DEFAULT_PREFIX, Names};

/// The default address of the server.
pub const DEFAULT_URL: &str = "nats://127.0.0.1:4222";

/// The `[nats]` table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NatsConfig {
    /// One address or a list, in which a password may stand; `nats://127.0.0.1:4222` when absent.
    #[schemars(extend("writeOnly" = true))]
    pub url: Option<Urls>,
    /// First token of every subject and, in capitals, of every stream's name; `hal` when absent.
    pub prefix: Option<String>,
    /// A `.creds` file.
    #[schemars(extend("format" = "path"))]
    pub creds_file: Option<PathBuf>,
    /// A file with an nkey seed.
    #[schemars(extend("format" = "path"))]
    pub nkey_file: Option<PathBuf>,
    /// A file with a token.
    #[schemars(extend("format" = "path"))]
    pub token_file: Option<PathBuf>,
    /// A user name, together with `password_file`.
    pub user: Option<String>,
    /// A file with the user's password.
    #[schemars(extend("format" = "path"))]
    pub password_file: Option<PathBuf>,
    /// A CA certificate to trust instead of the system's.
    #[schemars(extend("format" = "path"))]
    pub tls_ca: Option<PathBuf>,
    /// A client certificate, together with `tls_key`.
    #[schemars(extend("format" = "path"))]
    pub tls_cert: Option<PathBuf>,
    /// The client certificate's key.
    #[schemars(extend("format" = "path"))]
    pub tls_key: Option<PathBuf>,
    /// TLS from the first byte on, for a server with `handshake_first`.
    pub tls_first: Option<bool>,
    /// First tokens of reply subjects; `_INBOX` when absent. A host's credentials usually allow only its own.
    pub inbox_prefix: Option<String>,
    /// A login that an address or a NATS CLI context holds in clear text; the files above outrank it.
    #[serde(skip)]
    pub login: Option<Login>,
    /// First tokens of JetStream's API if they are not `$JS.API`, from a NATS CLI context: a leaf node reaches its
    /// hub's JetStream under the hub's domain.
    #[serde(skip)]
    pub api_prefix: Option<String>,
}

/// A user and its password, or a token. Never shown, never written.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The user; `None` for a token.
    pub user: Option<String>,
    /// The password or the token.
    pub secret: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("Login(…)")
    }
}

/// One address or several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(untagged)]
pub enum Urls {
    /// One address, or several with commas between them.
    One(String),
    /// Several addresses, tried in turn.
    Many(Vec<String>),
}

/// A problem of the configuration. Names the key, never a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {what}")]
pub struct BadNats {
    /// The key in the `[nats]` table.
    pub key: &'static str,
    /// The problem, and how to correct it.
    pub what: String,
}

impl NatsConfig {
    /// The servers' addresses.
    pub fn servers(&self) -> Vec<String> {
        match &self.url {
            None => vec![DEFAULT_URL.into()],
            Some(Urls::One(url)) => url.split(',').map(|url| url.trim().into()).collect(),
            Some(Urls::Many(urls)) => urls.clone(),
        }
    }

    /// The names on the bus under this configuration's prefix.
    pub fn names(&self) -> Result<Names, BadNats> {
        let prefix = self.prefix.as_deref().unwrap_or(DEFAULT_PREFIX);
        Names::new(prefix).map_err(|what| BadNats { key: "prefix", what })
    }

    /// True if all servers are on this machine.
    pub fn is_local(&self) -> bool {
        let is_here = |host: &str| matches!(host, "localhost" | "::1" | "[::1]") || host.starts_with("127.");
        let host = |url: &String| url.parse::<ServerAddr>().map(|address| address.host().to_owned());
        self.servers().iter().all(|url| host(url).is_ok_and(|host| is_here(&host)))
    }

    /// First tokens of JetStream's API.
    pub fn api(&self) -> &str {
        self.api_prefix.as_deref().unwrap_or("$JS.API")
    }

    /// True if one of the files with credentials, or a user, is set.
    pub fn has_credentials(&self) -> bool {
        self.creds_file.is_some()
            || self.nkey_file.is_some()
            || self.token_file.is_some()
            || self.user.is_some()
    }

    /// The login for a configuration without credentials. Read here, because async-nats ignores the user,
    /// password or token in an address.
    fn login(&self) -> Option<Login> {
        if self.has_credentials() {
            return None;
        }
        let from_address = |url: String| {
            let address: ServerAddr = url.parse().ok()?;
            let user = unescape(address.username()?);
            Some(match address.password() {
                Some(password) => Login { user: Some(user), secret: unescape(password) },
                None => Login { user: None, secret: user },
            })
        };
        self.login.clone().or_else(|| self.servers().into_iter().find_map(from_address))
    }

    /// Credentials and TLS as connect options. Reads the files named here.
    pub fn options(&self) -> Result<ConnectOptions, BadNats> {
        let mut options = ConnectOptions::new();
        if let Some(path) = &self.creds_file {
            let (jwt, key) =
                credentials(&read("creds_file", path)?).map_err(|what| bad("creds_file", path, what))?;
            let key = Arc::new(key);
            options = options.jwt(jwt, move |nonce| {
                std::future::ready(key.sign(&nonce).map_err(async_nats::AuthError::new))
            });
        }
        if let Some(path) = &self.nkey_file {
            options = options.nkey(read("nkey_file", path)?.trim().to_owned());
        }
        if let Some(path) = &self.token_file {
            options = options.token(read("token_file", path)?.trim().to_owned());
        }
        options = match (&self.user, &self.password_file) {
            (Some(user), Some(path)) => {
                options.user_and_password(user.clone(), read("password_file", path)?.trim().to_owned())
            }
            (None, None) => options,
            _ => return Err(BadNats { key: "user", what: "user and password_file go together".into() }),
        };
        options = match self.login() {
            Some(Login { user: Some(user), secret }) => options.user_and_password(user, secret),
            Some(Login { user: None, secret }) => options.token(secret),
            None => options,
        };
        if let Some(path) = &self.tls_ca {
            certificate("tls_ca", path)?;
            options = options.add_root_certificates(path.clone()).require_tls(true);
        }
        options = match (&self.tls_cert, &self.tls_key) {
            (Some(cert), Some(key)) => {
                certificate("tls_cert", cert)?;
                private_key("tls_key", key)?;
                options.add_client_certificate(cert.clone(), key.clone()).require_tls(true)
            }
            (None, None) => options,
            _ => return Err(BadNats { key: "tls_cert", what: "tls_cert and tls_key go together".into() }),
        };
        if self.tls_first == Some(true) {
            options = options.tls_first();
        }
        if let Some(prefix) = &self.inbox_prefix {
            options = options.custom_inbox_prefix(prefix.clone());
        }
        Ok(options)
    }
}

/// The JWT and the key in a `.creds` file. Parsed here: async-nats uses a regular expression for it, and that
/// engine would be a fifth of tellhal.
fn credentials(creds: &str) -> Result<(String, KeyPair), String> {
    let lines: Vec<&str> = creds.lines().map(str::trim).collect();
    let is_fence = |line: &str| line.len() >= 6 && line.starts_with("---") && line.ends_with("---");
    let mut fenced = lines.windows(3).filter_map(|lines| match lines {
        [before, between, after] if is_fence(before) && is_fence(after) => Some(*between),
        _ => None,
    });
    let jwt = fenced.next().filter(|jwt| !jwt.is_empty()).ok_or("there is no user JWT in it")?;
    let seed = fenced.next().ok_or("there is no nkey seed in it")?;
    let key = KeyPair::from_seed(seed).map_err(|error| format!("its nkey seed is wrong: {error}"))?;
    Ok((jwt.to_owned(), key))
}

fn read(key: &'static str, path: &Path) -> Result<String, BadNats> {
    file::read_text(path).map_err(|error| bad(key, path, error))
}

/// Refuses a file without certificates: async-nats would trust no server at all, without a word about the file.
fn certificate(key: &'static str, path: &Path) -> Result<(), BadNats> {
    let bytes = file::read(path).map_err(|error| bad(key, path, error))?;
    let certificates = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(()),
        Ok(_) => Err(bad(key, path, "there is no certificate in it")),
        Err(error) => Err(bad(key, path, format!("it is not a PEM file: {error}"))),
    }
}

fn private_key(key: &'static str, path: &Path) -> Result<(), BadNats> {
    let bytes = file::read(path).map_err(|error| bad(key, path, error))?;
    // The parser's error is not shown: it may repeat a part of the file.
    let parsed = PrivateKeyDer::from_pem_slice(&bytes);
    parsed.map(drop).map_err(|_| bad(key, path, "there is no private key in it"))
}

fn bad(key: &'static str, path: &Path, what: impl std::fmt::Display) -> BadNats {
    BadNats { key, what: format!("{}: {what}", path.display()) }
}

/// `text` with escapes such as `%41` decoded.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let code = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match code.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_hold_the_login_and_debug_does_not_show_it() {
        let at = |url: &str| NatsConfig { url: Some(Urls::One(url.into())), ..NatsConfig::default() };
        let login = at("nats://bob:p%40ss@h:4222").login().unwrap();
        assert_eq!((login.user.as_deref(), login.secret.as_str()), (Some("bob"), "p@ss"));
        assert_eq!(format!("{login:?}"), "Login(…)");
        assert_eq!(at("nats://s3cret@h").login().unwrap().user, None);
        assert_eq!(at("nats://h").login(), None);
        let filed = NatsConfig { token_file: Some("/t".into()), ..at("nats://bob:x@h") };
        assert_eq!(filed.login(), None);
    }

    #[test]
    fn a_file_that_holds_no_certificate_or_key_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            std::fs::write(dir.path().join(name), text).unwrap();
            Some(dir.path().join(name))
        };
        let signed = rcgen::generate_simple_self_signed(vec!["h".to_owned()]).unwrap();
        let (cert, key) =
            (file("cert", &signed.cert.pem()), file("key", &signed.signing_key.serialize_pem()));
        let junk = file("junk", "s3cret");
        let torn = file("torn", "-----BEGIN CERTIFICATE-----\ns3cret\n");
        let with = |tls_ca: &Option<PathBuf>, tls_cert: &Option<PathBuf>, tls_key: &Option<PathBuf>| {
            let (tls_ca, tls_cert, tls_key) = (tls_ca.clone(), tls_cert.clone(), tls_key.clone());
            NatsConfig { tls_ca, tls_cert, tls_key, ..NatsConfig::default() }.options().err()
        };
        assert_eq!(with(&cert, &cert, &key), None);
        for (bad, name, words) in [
            (with(&junk, &None, &None), "tls_ca", "junk: there is no certificate in it"),
            (with(&key, &None, &None), "tls_ca", "key: there is no certificate in it"),
            (with(&torn, &None, &None), "tls_ca", "torn: it is not a PEM file"),
            (with(&Some("/dev/zero".into()), &None, &None), "tls_ca", "it is not a regular file"),
            (with(&None, &junk, &key), "tls_cert", "junk: there is no certificate in it"),
            (with(&None, &cert, &cert), "tls_key", "cert: there is no private key in it"),
            (with(&None, &cert, &junk), "tls_key", "junk: there is no private key in it"),
        ] {
            let bad = bad.unwrap();
            assert!(bad.key == name && bad.what.contains(words), "{bad}");
            assert!(!bad.what.contains("s3cret"), "{bad}");
        }
    }

    #[test]
    fn a_creds_file_holds_a_jwt_and_a_key_whatever_stands_around_them() {
        let key = KeyPair::new_user();
        let (seed, jwt) = (key.seed().unwrap(), "eyJ0eXAi.eyJqdGki.c2ln-_");
        let file = format!(
            "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
             ************************* IMPORTANT *************************\n\
             NKEYs are sensitive and should be treated as secrets.\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n\n\
             *************************************************************\n"
        );
        for text in [file.clone(), file.replace('\n', "\r\n"), file.trim_end_matches('*').trim().into()] {
            let (got, pair) = credentials(&text).unwrap();
            assert_eq!((got.as_str(), pair.public_key()), (jwt, key.public_key()), "{text}");
        }
        for broken in ["", &file[..60], &file.replace(&seed, "SUAWRONG"), &file.replace("-----", "--")] {
            let why = credentials(broken).map(|(jwt, _)| jwt).unwrap_err();
            assert!(!why.contains(&seed) && !why.contains("SUAWRONG"), "{why}");
        }
    }
}
