//! XMPP with its rooms (XEP-0045): one connection for all users of the same account, with one limit of messages.
//!
//! A message to a room counts as sent when the room has reflected it to us under its id. A connection is opened by the first
//! message, and one that is lost is opened again by the next. A [`Listener`] keeps it open and hears what people say, with
//! the real address of the speaker where the room shows it. Encryption from end to end (OMEMO) is not spoken.
//!
//! ```text
//!  users ──▶ connection ──▶ session ──▶ rooms (pure) ──▶ stream ──▶ server
//!  listener ◀──────────────────────────────┘
//! ```

mod classify;
mod config;
mod connection;
mod ears;
mod heard;
mod inbound;
mod listener;
mod members;
mod pending;
mod rooms;
mod session;
mod settings;
mod stanza;
mod stream;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

pub use config::{Account, room_problem};
pub use connection::{Connection, Message};
pub use heard::Heard;
pub use listener::Listener;
pub use settings::{Muc, Settings};

use crate::tls;

/// The open connections. One ends with its last user.
#[derive(Debug, Default)]
pub struct Connections(Mutex<HashMap<Settings, Weak<Connection>>>);

impl Connections {
    /// The connection with these settings, opened by its first message.
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
