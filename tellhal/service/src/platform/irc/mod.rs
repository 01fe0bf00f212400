//! IRC: one connection for all users of the same server and nick, with one flood limit.
//!
//! A line counts as sent when the server has confirmed it: with `labeled-response` by its labelled echo,
//! elsewhere by the PONG to a PING sent right behind it. A connection is opened by the first
//! line, and one that is lost is opened again by the next line.

mod config;
mod connection;
pub mod line;
mod register;
mod session;
mod stream;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

pub use config::Server;
pub use connection::Connection;

use super::Failure;
use crate::secret::Secret;
use crate::text::{cut, one_line};
use crate::tls;

/// The most that an error shows of a server's text, in bytes.
const EXCERPT: usize = 200;

/// A connection's settings: users that agree in all of them share one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    host: String,
    port: u16,
    tls: bool,
    tls_ca: Option<PathBuf>,
    nick: String,
    sasl: Option<(String, Secret)>,
    pass: Option<Secret>,
    burst: u32,
    line_every: Duration,
}

impl Settings {
    /// `host: text`, clean and without secrets. `text` may be the server's.
    fn reason(&self, text: &str) -> String {
        let mut text = one_line(text);
        for secret in self.sasl.iter().map(|(_, secret)| secret).chain(&self.pass) {
            text = text.replace(secret.reveal(), "…");
        }
        format!("{}: {}", self.host, cut(&text, EXCERPT))
    }

    fn transient(&self, text: &str) -> Failure {
        Failure::transient(self.reason(text))
    }

    fn auth(&self, text: &str) -> Failure {
        Failure::Auth { reason: self.reason(text) }
    }

    fn lost(&self, error: &std::io::Error) -> Failure {
        self.transient(&error.to_string())
    }
}

/// The open connections. One ends with its last user.
#[derive(Debug, Default)]
pub struct Connections(Mutex<HashMap<Settings, Weak<Connection>>>);

impl Connections {
    /// The connection with these settings, opened by its first line.
    pub fn get(&self, settings: Settings) -> anyhow::Result<Arc<Connection>> {
        let mut connections = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        connections.retain(|_, connection| connection.strong_count() > 0);
        if let Some(connection) = connections.get(&settings).and_then(Weak::upgrade) {
            return Ok(connection);
        }
        let tls = settings.tls.then(|| tls::client(settings.tls_ca.as_deref()).map(Arc::new)).transpose()?;
        let connection = Arc::new(Connection::new(settings.clone(), tls));
        connections.insert(settings, Arc::downgrade(&connection));
        Ok(connection)
    }
}
