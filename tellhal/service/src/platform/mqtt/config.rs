//! The settings of a broker's connection, and their checks.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::{KeyProblem, PATH};
use crate::hidden::Hidden;
use crate::http::is_loopback;
use crate::platform::Failure;
use crate::platform::address::host_and_port;
use crate::secret::{Pair, Secret};
use crate::text::{cut, one_line};
use crate::tls;

/// The most that an error shows of a broker's text, in bytes.
const EXCERPT: usize = 200;
/// The longest client id and user name, in bytes.
const LONGEST: usize = 128;

/// The version of the protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
pub enum Version {
    /// MQTT 3.1.1, which every broker speaks.
    #[default]
    #[serde(rename = "3.1.1")]
    Three,
    /// MQTT 5.
    #[serde(rename = "5")]
    Five,
}

/// The broker, and how to get in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Broker {
    /// `mqtt://host` or, with TLS, `mqtts://host`; with `:port` if it is another one than 1883 or 8883.
    #[schemars(extend("format" = "uri", "writeOnly" = true))]
    pub url: String,
    /// `3.1.1` when absent, or `5`.
    pub version: Version,
    /// The user's name.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<Secret>,
    /// A file with the user's password.
    #[schemars(extend("format" = PATH))]
    pub password_file: Option<PathBuf>,
    /// A CA certificate to trust instead of the system's.
    #[schemars(extend("format" = PATH))]
    pub tls_ca: Option<PathBuf>,
    /// A client certificate in PEM, together with `tls_key`.
    #[schemars(extend("format" = PATH))]
    pub tls_cert: Option<PathBuf>,
    /// The client certificate's key.
    #[schemars(extend("format" = PATH))]
    pub tls_key: Option<PathBuf>,
    /// The client's id. A broker closes the connection of a client when another one comes with the same id.
    pub client_id: Option<String>,
    /// Let the password cross the network without TLS.
    pub insecure: bool,
}

/// A connection's settings, secrets read.
#[derive(Clone, Debug)]
pub struct Settings {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: Option<Arc<rustls::ClientConfig>>,
    pub(super) version: Version,
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) client_id: String,
}

impl Broker {
    /// The secret of the connection, whether or not it is written.
    pub fn password(&self) -> Pair<'_> {
        Pair::new("password", "password_file", &self.password, &self.password_file)
    }

    /// The secrets of the connection, whether or not they are written: the key of the certificate is one that has a file alone.
    pub fn secrets(&self) -> Vec<Pair<'_>> {
        let key = Pair { key: "tls_key", file_key: "tls_key", inline: None, file: self.tls_key.as_deref() };
        vec![self.password(), key]
    }

    /// TLS as this client speaks it.
    fn tls(&self) -> anyhow::Result<rustls::ClientConfig> {
        let ca = self.tls_ca.as_deref();
        match (&self.tls_cert, &self.tls_key) {
            (Some(cert), Some(key)) => tls::client_as(ca, cert, key),
            _ => tls::client(ca),
        }
    }

    /// Host, port and whether it is TLS.
    fn address(&self) -> Option<(&str, u16, bool)> {
        let (rest, port, tls) = match (self.url.strip_prefix("mqtt://"), self.url.strip_prefix("mqtts://")) {
            (Some(rest), _) => (rest, 1883, false),
            (_, Some(rest)) => (rest, 8883, true),
            _ => return None,
        };
        let (host, port) = host_and_port(rest.strip_suffix('/').unwrap_or(rest), port)?;
        Some((host, port, tls))
    }

    /// The settings, secrets and certificates read. `client_id` is used if none is configured.
    pub fn settings(&self, client_id: &str) -> anyhow::Result<Settings> {
        let (host, port, tls) = self.address().context("url: it is not the address of a broker")?;
        Ok(Settings {
            host: host.to_owned(),
            port,
            tls: tls.then(|| self.tls()).transpose()?.map(Arc::new),
            version: self.version,
            user: self.user.clone(),
            password: self.password().read()?,
            client_id: self.client_id.clone().unwrap_or_else(|| client_id.to_owned()),
        })
    }

    /// Users with the same identity share one connection.
    pub fn identity(&self) -> String {
        let address = self.address().map_or_else(String::new, |(host, port, _)| format!("{host}:{port}"));
        format!("{address} as {}", self.client_id.as_deref().unwrap_or("a client without an id"))
    }

    /// Settings that cannot work. Reads no file and no variable.
    pub fn problems(&self) -> Vec<KeyProblem> {
        let mut problems: Vec<KeyProblem> = self.password().problem().into_iter().collect();
        let mut refuse = |good: bool, key, what: &str, hint: &str| {
            if !good {
                problems.push(KeyProblem::new(key, what, hint));
            }
        };
        let hint = "such as mqtt://127.0.0.1:1883, or mqtts://mqtt.example.com";
        let address = self.address();
        match self.url.as_str() {
            "" => refuse(false, "url", "the broker's address is missing", hint),
            // A password may stand in it, so that it is not shown, nor is any other one.
            url if url.contains('@') => {
                refuse(false, "url", "a user stands in it", "write user and password_file beside it");
            }
            _ => refuse(address.is_some(), "url", "it is not the address of a broker", hint),
        }
        let is_plain = address.is_some_and(|(_, _, tls)| !tls);
        let is_near = address.is_some_and(|(host, _, _)| is_loopback(host));
        let in_the_clear = is_plain && !is_near && self.password().is_set() && !self.insecure;
        let hint = "write mqtts://, or insecure = true if the network is trusted";
        refuse(!in_the_clear, "url", "the password would go in the clear", hint);
        refuse(!is_plain || self.tls_ca.is_none(), "tls_ca", "has no effect without TLS", "write mqtts://");
        refuse(
            !is_plain || self.tls_cert.is_none(),
            "tls_cert",
            "has no effect without TLS",
            "write mqtts://",
        );
        for (key, other, has, needs) in [
            ("tls_cert", "tls_key", &self.tls_cert, &self.tls_key),
            ("tls_key", "tls_cert", &self.tls_key, &self.tls_cert),
        ] {
            let what = format!("there is no {other} to it");
            refuse(has.is_none() || needs.is_some(), key, &what, &format!("write {other} beside it"));
        }
        let is_lone = self.password().is_set() && self.user.is_none();
        refuse(!is_lone, "password", "there is no user to it", "write user beside it");
        for (key, value) in [("user", &self.user), ("client_id", &self.client_id)] {
            let good = |text: &String| {
                !text.is_empty() && text.len() <= LONGEST && !text.contains(tellhal::text::is_hidden)
            };
            let hint = format!("1 to {LONGEST} bytes that can be seen");
            refuse(value.as_ref().is_none_or(good), key, "it is empty, too long or not visible", &hint);
        }
        problems
    }
}

impl Settings {
    /// The broker's address, for people.
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// `host:port: text`, clean and without the password. `text` may be the broker's.
    pub(super) fn reason(&self, text: &str) -> String {
        let mut hidden = Hidden::default();
        self.password.iter().for_each(|password| hidden.secret(password.reveal()));
        format!("{}: {}", self.address(), cut(&hidden.hide(&one_line(text)), EXCERPT))
    }

    pub(super) fn transient(&self, text: &str) -> Failure {
        Failure::transient(self.reason(text))
    }

    pub(super) fn auth(&self, text: &str) -> Failure {
        Failure::Auth { reason: self.reason(text) }
    }

    /// The failure of a message that was sent and not answered.
    pub(super) fn lost(&self) -> Failure {
        let reason = self.reason("the message was not acknowledged");
        Failure::Transient { reason, wait: None, ambiguous: true }
    }

    /// The failure of an answer that says why in `words`; `lasts` if it is the same at the next attempt.
    pub(super) fn refused(&self, words: &str, lasts: bool) -> Failure {
        let text = format!("the broker refuses the connection: {words}");
        if lasts { self.auth(&text) } else { self.transient(&text) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(toml: &str) -> Vec<&'static str> {
        toml::from_str::<Broker>(toml).unwrap().problems().iter().map(|problem| problem.key).collect()
    }

    #[test]
    fn settings_that_cannot_work_are_refused_by_key() {
        for (toml, wrong) in [
            ("url = 'mqtt://127.0.0.1'", &[][..]),
            (
                "url = 'mqtts://m.example:8884/'\nversion = '5'\nuser = 'a'\npassword = 'b'\ntls_ca = 'ca'",
                &[],
            ),
            ("url = 'mqtt://127.0.0.1'\nuser = 'a'\npassword_file = 'b'", &[]),
            ("url = 'mqtts://m.example'\ntls_cert = 'a'\ntls_key = 'b'", &[]),
            ("url = 'mqtts://m.example'\ntls_key = 'b'", &["tls_key"]),
            ("url = 'mqtt://m.example'\ntls_cert = 'b'", &["tls_cert", "tls_cert"]),
            ("url = 'mqtt://m.example'\nuser = 'a'\npassword = 'b'\ninsecure = true", &[]),
            ("", &["url"]),
            ("url = 'http://m.example'", &["url"]),
            ("url = 'mqtt://m.example'\nuser = 'a'\npassword = 'b'\ntls_ca = 'ca'", &["url", "tls_ca"]),
            (
                "url = 'mqtt://127.0.0.1'\npassword = ''\nclient_id = ''",
                &["password", "password", "client_id"],
            ),
        ] {
            assert_eq!(keys(toml), wrong, "{toml}");
        }
    }

    #[test]
    fn a_password_in_the_address_is_refused_and_not_shown() {
        let broker = Broker { url: "mqtt://hal:hunter2@m.example".into(), ..Broker::default() };
        let problems = broker.problems();
        assert_eq!((problems.len(), problems[0].key), (1, "url"));
        assert!(!format!("{problems:?}").contains("hunter2"), "{problems:?}");
    }
}
