//! Matrix: the client-server API over HTTP, for rooms that are not encrypted. Joins, sends, edits, uploads and listens.
//!
//! An event is sent under a transaction id, and the server makes one event of all that have the same. So no failure is
//! ambiguous: whatever came of an attempt, the same can be sent again.

mod client;
mod config;
pub mod content;
mod listener;
mod sync;
mod target;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

pub use client::{Client, Settings};
pub use config::{Server, room_problem};
pub use content::{Content, File};
pub use listener::Listener;
pub use sync::{Heard, Message};
pub use target::Target;

/// The clients in use: one a homeserver and token, with one limit of posts. One ends with its last user.
#[derive(Debug, Default)]
pub struct Clients(Mutex<HashMap<Settings, Weak<Client>>>);

impl Clients {
    /// The client with these settings.
    pub fn get(&self, settings: Settings) -> anyhow::Result<Arc<Client>> {
        let mut clients = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        clients.retain(|_, client| client.strong_count() > 0);
        if let Some(client) = clients.get(&settings).and_then(Weak::upgrade) {
            return Ok(client);
        }
        let client = Arc::new(Client::open(&settings)?);
        clients.insert(settings, Arc::downgrade(&client));
        Ok(client)
    }
}
