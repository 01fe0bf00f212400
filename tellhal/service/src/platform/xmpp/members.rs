//! The people in one room by nick, as the room states them now. Pure.

use std::collections::HashMap;

use tokio_xmpp::jid::BareJid;

/// The most people that are remembered of a room; of others no address is known.
const MOST: usize = 20_000;

/// The occupants whose real address the room shows.
#[derive(Debug, Default)]
pub(super) struct Members(HashMap<String, Member>);

#[derive(Debug)]
struct Member {
    jid: BareJid,
    /// The id by which the room knows the person, in messages of earlier too (XEP-0421).
    id: Option<String>,
}

impl Members {
    /// The room says that an occupant is there. A statement without an address takes back an earlier one.
    pub(super) fn present(&mut self, nick: &str, jid: Option<BareJid>, id: Option<String>) {
        match jid {
            Some(jid) if self.0.len() < MOST || self.0.contains_key(nick) => {
                drop(self.0.insert(nick.to_owned(), Member { jid, id }))
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
        self.0.get(nick).map(|member| &member.jid)
    }

    /// The real address of the occupant with this id.
    pub(super) fn by_id(&self, id: &str) -> Option<&BareJid> {
        let member = self.0.values().find(|member| member.id.as_deref() == Some(id));
        member.map(|member| &member.jid)
    }
}
