//! A message that somebody said, as far as it may be a command. Pure.

use tokio_xmpp::jid::{BareJid, Jid};
use tokio_xmpp::minidom::Element;
use tokio_xmpp::parsers::ns;

use super::stanza::{sender, text};

/// The longest text that is heard, in bytes. A longer one is skipped, not cut: half a command is another command.
const LONGEST: usize = 16 * 1024;

/// A message of another person, in a room or to us alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// The room's own id of the message, if the room gives its messages ids that nobody can forge.
    pub event: Option<String>,
    /// The room; `None` for a message to our own address.
    pub room: Option<String>,
    /// The speaker's nick in the room, which anybody may choose; for a message to our own address the name before the `@`.
    pub nick: String,
    /// The speaker's real address, without its resource, as the server states it; `None` if the room does not show it.
    pub person: Option<String>,
    pub text: String,
    /// It can be read by nobody else.
    pub is_private: bool,
    /// The address for an answer in private: the occupant's or the person's.
    pub reply_to: String,
}

/// The text of a message that may be a command. History, corrections, errors, subjects and messages without text are none.
pub(super) fn command(message: &Element, cut: bool) -> Option<String> {
    let is_said = matches!(message.attr("type"), None | Some("groupchat" | "chat" | "normal"));
    let is_old = message.has_child("delay", ns::DELAY) || message.has_child("x", "jabber:x:delay");
    let is_correction = message.has_child("replace", ns::MESSAGE_CORRECT);
    let text = text(message, "body").filter(|text| !text.trim().is_empty() && text.len() <= LONGEST)?;
    (is_said && !is_old && !is_correction && !cut).then_some(text)
}

/// A message to our own address, outside of any room.
pub(super) fn direct(message: &Element, text: String, own: &BareJid) -> Option<Heard> {
    let from = sender(message).filter(|from| from.node().is_some() && from.to_bare() != *own)?;
    let nick = from.node().map(|node| node.to_string()).unwrap_or_default();
    Some(Heard {
        event: None,
        room: None,
        nick,
        person: Some(from.to_bare().to_string()),
        text,
        is_private: true,
        reply_to: Jid::to_string(&from),
    })
}
