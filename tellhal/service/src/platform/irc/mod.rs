//! IRC: one connection for everybody who uses the same server under the same nick, with one flood limit.
//!
//! A line counts as sent when the server has confirmed it: with `labeled-response` by its labelled echo,
//! elsewhere by the PONG to a PING sent right behind it. A connection is opened when there is something to
//! say, lives until it is lost, and is not reopened before the next line.

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

/// How much of what a server says an error shows, in bytes.
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
    /// `host: what the server said`, clean and without any of our secrets.
    fn reason(&self, said: &str) -> String {
        let mut said = one_line(said);
        for secret in self.sasl.iter().map(|(_, secret)| secret).chain(&self.pass) {
            said = said.replace(secret.reveal(), "…");
        }
        format!("{}: {}", self.host, cut(&said, EXCERPT))
    }

    fn transient(&self, said: &str) -> Failure {
        Failure::transient(self.reason(said))
    }

    fn auth(&self, said: &str) -> Failure {
        Failure::Auth { reason: self.reason(said) }
    }

    fn lost(&self, error: &std::io::Error) -> Failure {
        self.transient(&error.to_string())
    }
}

/// The connections there are. One ends with its last user.
#[derive(Debug, Default)]
pub struct Connections(Mutex<HashMap<Settings, Weak<Connection>>>);

impl Connections {
    /// The connection with these settings, opened when something is said on it.
    pub fn get(&self, settings: Settings) -> anyhow::Result<Arc<Connection>> {
        let mut known = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        known.retain(|_, connection| connection.strong_count() > 0);
        if let Some(connection) = known.get(&settings).and_then(Weak::upgrade) {
            return Ok(connection);
        }
        let tls = settings.tls.then(|| tls::client(settings.tls_ca.as_deref()).map(Arc::new)).transpose()?;
        let connection = Arc::new(Connection::new(settings.clone(), tls));
        known.insert(settings, Arc::downgrade(&connection));
        Ok(connection)
    }
}
