//! The people in one room by nick, as the room states them now. Pure.

use std::collections::HashMap;

use tokio_xmpp::jid::BareJid;

/// The most people that are remembered of a room; of others no address is known.
const MOST: usize = 20_000;

/// The real address of each occupant whose address the room shows.
#[derive(Debug, Default)]
pub(super) struct Members(HashMap<String, BareJid>);

impl Members {
    /// The room says that an occupant is there. A statement without an address takes back an earlier one.
    pub(super) fn present(&mut self, nick: &str, jid: Option<BareJid>) {
        match jid {
            Some(jid) if self.0.len() < MOST || self.0.contains_key(nick) => {
                drop(self.0.insert(nick.to_owned(), jid))
            }
            _ => self.gone(nick),
        }
    }

    /// An occupant has left, or has another nick now.
    pub(super) fn gone(&mut self, nick: &str) {
        self.0.remove(nick);
    }

    /// We have left: nothing is known any more.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The occupant's real address.
    pub(super) fn person(&self, nick: &str) -> Option<&BareJid> {
        self.0.get(nick)
    }
}
