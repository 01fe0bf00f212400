//! IRC: one connection for all users of the same server and nick, with one flood limit.
//!
//! A line counts as sent when the server has confirmed it: with `labeled-response` by its labelled echo,
//! elsewhere by the PONG to a PING sent right behind it. A connection is opened by the first
//! line, and one that is lost is opened again by the next line.

mod config;
mod connection;
mod hear;
pub mod line;
mod register;
mod say;
mod session;
mod settings;
mod stream;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

pub use config::Server;
pub use connection::Connection;
pub use hear::Heard;
pub use line::{budget, is_channel_name};
pub use settings::{Channel, Settings};

use crate::tls;

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
