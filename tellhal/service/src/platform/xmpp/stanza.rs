//! The stanzas that we write, their texts made legal XML, and what is read of those of others. Pure.

use std::str::FromStr as _;
use std::time::Duration;

use tellhal::Timestamp;
use tokio_xmpp::Stanza;
use tokio_xmpp::jid::{BareJid, Jid};
use tokio_xmpp::minidom::Element;
use tokio_xmpp::parsers::data_forms::{DataForm, DataFormType, Field};
use tokio_xmpp::parsers::disco::DiscoInfoQuery;
use tokio_xmpp::parsers::iq::Iq;
use tokio_xmpp::parsers::mam::{Query, QueryId};
use tokio_xmpp::parsers::message::{Id, Lang, Message, MessageType};
use tokio_xmpp::parsers::message_correct::Replace;
use tokio_xmpp::parsers::muc::muc::{History, Muc as Join};
use tokio_xmpp::parsers::muc::user::MucUser;
use tokio_xmpp::parsers::ns;
use tokio_xmpp::parsers::ping::Ping;
use tokio_xmpp::parsers::presence::{Presence, Type};
use tokio_xmpp::parsers::rsm::SetQuery;
use tokio_xmpp::parsers::stanza_id::OriginId;

use super::pending::{Say, Target};
use crate::secret::Secret;
use crate::text::cut;

/// The longest text of a message, in bytes. Escaped it takes at most five times as much; the least that servers take is 64 KiB.
const LONGEST_TEXT: usize = 12_000;
/// The longest id that we give a message, in bytes.
const LONGEST_ID: usize = 512;
/// The age of messages that are heard late, and the most of them: enough for another bridge to take over, and no older command.
const MISSED: Duration = Duration::from_secs(120);
const MOST_MISSED: usize = 50;
const OWNER: &str = "http://jabber.org/protocol/muc#owner";

/// The characters of a text that XML 1.0 allows, in at most `max` bytes: one illegal character would end the whole stream.
pub(super) fn legal(text: &str, max: usize) -> String {
    let allowed = |c: &char| matches!(c, '\t' | '\n' | ' '..='\u{7e}' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    cut(&text.chars().filter(allowed).collect::<String>(), max)
}

/// A message's own id, as it goes on the wire.
pub(super) fn id(text: &str) -> String {
    legal(text, LONGEST_ID)
}

/// A message to a room or a person.
pub(super) fn message(say: &Say, private_in_room: bool) -> Stanza {
    let (to, kind) = match &say.target {
        Target::Room(room) => (Jid::from(room.address.clone()), MessageType::Groupchat),
        Target::Person(jid) => (jid.clone(), MessageType::Chat),
    };
    let mut message = Message::new_with_type(kind, to)
        .with_body(Lang::new(), legal(&say.text, LONGEST_TEXT))
        .with_payload(OriginId { id: say.id.clone() });
    message.id = Some(Id(say.id.clone()));
    if let Some(first) = &say.replaces {
        message = message.with_payload(Replace { id: Id(first.clone()) });
    }
    if private_in_room {
        message.payloads.push(MucUser::new().into());
    }
    message.into()
}

/// The request to enter a room, without its history.
pub(super) fn join(occupant: Jid, password: Option<&Secret>) -> Stanza {
    let mut join = Join::new().with_history(History::new().with_maxstanzas(0));
    join.password = password.map(|password| password.reveal().to_owned());
    Presence::available().with_to(occupant).with_payloads(vec![join.into()]).into()
}

/// Says to the server that we are there, so that messages to our own address reach us.
pub(super) fn available() -> Stanza {
    Presence::available().into()
}

/// Says that we are gone.
pub(super) fn unavailable() -> Stanza {
    Presence::new(Type::Unavailable).into()
}

/// Opens a room that our entering has made, with its defaults.
pub(super) fn unlock(id: String, room: &BareJid) -> Stanza {
    let form = DataForm { type_: DataFormType::Submit, title: None, instructions: None, fields: Vec::new() };
    let payload = Element::builder("query", OWNER).append(Element::from(form)).build();
    Iq::Set { from: None, to: Some(room.clone().into()), id, payload }.into()
}

/// Asks what a room can do.
pub(super) fn features(id: String, room: &BareJid) -> Stanza {
    let payload = DiscoInfoQuery { node: None }.into();
    Iq::Get { from: None, to: Some(room.clone().into()), id, payload }.into()
}

/// Asks a room for the newest messages that it has kept since shortly before `now` (XEP-0313).
pub(super) fn missed(id: String, room: &BareJid, now: Timestamp) -> Stanza {
    let since = Field::text_single("start", &now.minus(MISSED).to_string());
    let form = DataForm::new(DataFormType::Submit, ns::MAM, vec![since]);
    let last = SetQuery { max: Some(MOST_MISSED), after: None, before: Some(String::new()), index: None };
    let queryid = Some(QueryId(id.clone()));
    let query = Query { queryid, node: None, form: Some(form), set: Some(last), flip_page: false };
    Iq::Set { from: None, to: Some(room.clone().into()), id, payload: query.into() }.into()
}

/// A ping, to ourselves in a room or to the server.
pub(super) fn ping(id: String, to: Jid) -> Stanza {
    Iq::Get { from: None, to: Some(to), id, payload: Ping.into() }.into()
}

/// The answer to a request of others: a ping is answered, all else is refused, as the protocol wants it.
pub(super) fn answer(request: &Element) -> Option<Stanza> {
    let id = request.attr("id")?.to_owned();
    let to = sender(request);
    if request.has_child("ping", ns::PING) {
        return Some(Iq::Result { from: None, to, id, payload: None }.into());
    }
    use tokio_xmpp::parsers::stanza_error::{DefinedCondition, ErrorType, StanzaError};
    let (kind, condition) = (ErrorType::Cancel, DefinedCondition::ServiceUnavailable);
    let error = StanzaError {
        type_: kind,
        by: None,
        defined_condition: condition,
        texts: Default::default(),
        other: None,
    };
    Some(Iq::Error { from: None, to, id, error, payload: None }.into())
}

/// The sender of a stanza; `None` is our own server.
pub(super) fn sender(stanza: &Element) -> Option<Jid> {
    stanza.attr("from").and_then(|from| Jid::from_str(from).ok())
}

/// The text of a child, such as the body.
pub(super) fn text(stanza: &Element, child: &str) -> Option<String> {
    stanza.get_child(child, ns::JABBER_CLIENT).map(Element::text)
}

/// The id that `by` gave a message, if it gave exactly one.
pub(super) fn stanza_id(stanza: &Element, by: &BareJid) -> Option<String> {
    let by_room = |child: &&Element| {
        child.is("stanza-id", ns::SID)
            && child.attr("by").and_then(|by| Jid::from_str(by).ok()).is_some_and(|jid| jid == *by)
    };
    let mut ids = stanza.children().filter(by_room).filter_map(|child| child.attr("id"));
    let id = ids.next().filter(|id| !id.is_empty() && id.len() <= LONGEST_ID)?;
    ids.next().is_none().then(|| id.to_owned())
}

/// The id of the occupant who sent this, if the room gave exactly one (XEP-0421).
pub(super) fn occupant_id(stanza: &Element) -> Option<String> {
    let mut ids = stanza.children().filter(|child| child.is("occupant-id", ns::OID));
    let id = ids.next()?.attr("id").filter(|id| !id.is_empty() && id.len() <= LONGEST_ID)?;
    ids.next().is_none().then(|| id.to_owned())
}

/// A room's statement about an occupant.
#[derive(Debug, Default)]
pub(super) struct Statement {
    /// The codes of the statement, such as 110 for our own presence.
    pub(super) codes: Vec<u16>,
    /// The occupant's real address, without its resource.
    pub(super) jid: Option<BareJid>,
    /// The new nick, when the occupant changes it.
    pub(super) nick: Option<String>,
}

impl Statement {
    /// The statement in a presence or a message.
    pub(super) fn of(stanza: &Element) -> Statement {
        let Some(x) = stanza.get_child("x", ns::MUC_USER) else { return Statement::default() };
        let codes = x.children().filter(|child| child.name() == "status");
        let item = x.get_child("item", ns::MUC_USER);
        let attr = |name: &'static str| item.and_then(|item| item.attr(name));
        Statement {
            codes: codes.filter_map(|code| code.attr("code")?.parse().ok()).collect(),
            jid: attr("jid").and_then(|jid| Jid::from_str(jid).ok()).map(Jid::into_bare),
            nick: attr("nick").map(str::to_owned),
        }
    }

    pub(super) fn has(&self, code: u16) -> bool {
        self.codes.contains(&code)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::platform::xmpp::{Account, Settings};

    pub(in crate::platform::xmpp) fn settings() -> Settings {
        let toml = "jid = 'hal@x.test'\npassword = 'very-secret'\nserver = 'x.test'";
        toml::from_str::<Account>(toml).unwrap().settings().unwrap()
    }

    #[test]
    fn a_text_is_legal_xml_and_bounded() {
        assert_eq!(legal("a\u{1}\0\u{b}\u{7f}\u{85}\u{fffe}\r\n\tb\u{1f600}é", 99), "a\n\tb\u{1f600}é");
        assert_eq!(legal("</body>&amp;]]>", 99), "</body>&amp;]]>");
        assert_eq!(legal(&"é".repeat(9_000), LONGEST_TEXT).len(), LONGEST_TEXT - 1);
    }

    #[test]
    fn only_the_one_id_that_the_room_gave_counts() {
        let room = BareJid::new("ops@c.x").unwrap();
        let id = |ids: &str| {
            stanza_id(&format!("<message xmlns='jabber:client'>{ids}</message>").parse().unwrap(), &room)
        };
        let by = |by: &str, id: &str| format!("<stanza-id xmlns='urn:xmpp:sid:0' by='{by}' id='{id}'/>");
        assert_eq!(id(&by("ops@c.x", "1")), Some("1".into()));
        assert_eq!(id(&(by("evil@c.x", "0") + &by("ops@c.x", "1"))), Some("1".into()));
        assert_eq!(id(&by("ops@c.x/evil", "1")), None);
        assert_eq!(id(&(by("ops@c.x", "1") + &by("ops@c.x", "2"))), None);
    }
}
