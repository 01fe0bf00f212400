//! The answer to a `sync`, read into what was heard. Pure. An event that cannot be read is skipped and hides no other.

use std::collections::{BTreeMap, VecDeque};

use serde::Deserialize;
use serde_json::value::RawValue;
use tellhal::Timestamp;

/// The events that a listener hears, in the order of each room.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    Message(Message),
    /// The server left out events of this room: more had come since the last answer than it gives at once.
    Gap {
        room: String,
    },
    /// We are invited to this room. Nothing is heard from it until it is joined.
    Invite {
        room: String,
        by: String,
    },
    /// The end of an answer. A listener that resumes with this token hears what comes after it.
    Through(String),
}

/// A text that somebody else wrote. Edits, notices (which robots write), files and our own events are left out.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    pub event_id: String,
    pub room: String,
    /// The writer's user id, for which the homeserver vouches.
    pub sender: String,
    pub text: String,
    /// The writer and we are alone in the room.
    pub is_private: bool,
    /// The event at the top of the thread that it was written in.
    pub thread: Option<String>,
    /// The time that the writer's server gave it.
    pub at: Timestamp,
}

#[derive(Deserialize)]
pub(super) struct Sync {
    next_batch: String,
    #[serde(default)]
    rooms: Rooms,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Rooms {
    join: BTreeMap<String, Joined>,
    invite: BTreeMap<String, Invited>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Joined {
    timeline: Timeline,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Timeline {
    /// Raw: one of another shape, or nested without end, must not spoil the others.
    events: Vec<Box<RawValue>>,
    limited: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Invited {
    invite_state: InviteState,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct InviteState {
    events: Vec<Box<RawValue>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Event {
    event_id: String,
    sender: String,
    #[serde(rename = "type")]
    kind: String,
    state_key: Option<String>,
    origin_server_ts: i64,
    content: Content,
    unsigned: Unsigned,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Content {
    msgtype: Option<String>,
    body: Option<String>,
    membership: Option<String>,
    #[serde(rename = "m.relates_to")]
    relation: Option<Relation>,
}

#[derive(Deserialize)]
struct Relation {
    rel_type: Option<String>,
    event_id: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Unsigned {
    prev_content: Option<Membership>,
}

#[derive(Deserialize)]
struct Membership {
    membership: Option<String>,
}

/// The content of one answer.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Batch {
    pub(super) heard: VecDeque<Heard>,
    pub(super) token: String,
    /// The rooms whose members may be others now.
    pub(super) changed: Vec<String>,
}

/// Reads an answer for the account `us`. The first answer of a listener without a token is all history: only its invitations
/// count.
pub(super) fn read(sync: Sync, us: &str, is_first: bool) -> Batch {
    let mut batch = Batch { token: sync.next_batch.clone(), ..Batch::default() };
    let by = |invited: &Invited| {
        let mut events = events(&invited.invite_state.events);
        events.find(|event| is_membership(event, us, "invite")).map(|event| event.sender)
    };
    for (room, invited) in sync.rooms.invite {
        let by = by(&invited).unwrap_or_default();
        batch.heard.push_back(Heard::Invite { room, by });
    }
    for (room, joined) in sync.rooms.join.into_iter().filter(|_| !is_first) {
        read_room(&mut batch, room, &joined.timeline, us);
    }
    batch.heard.push_back(Heard::Through(sync.next_batch));
    batch
}

fn read_room(batch: &mut Batch, room: String, timeline: &Timeline, us: &str) {
    let mut events: Vec<Event> = events(&timeline.events).collect();
    let joined = events.iter().rposition(|event| has_joined(event, us));
    // A server shows a newcomer what was written before: no history is heard, and no gap is in it.
    events.drain(..joined.map_or(0, |at| at + 1));
    let is_gap = timeline.limited && joined.is_none();
    if is_gap {
        batch.heard.push_back(Heard::Gap { room: room.clone() });
    }
    if is_gap || joined.is_some() || events.iter().any(|event| event.kind == "m.room.member") {
        batch.changed.push(room.clone());
    }
    let messages = events.into_iter().filter_map(|event| message(event, &room, us));
    batch.heard.extend(messages.map(Heard::Message));
}

fn events(raw: &[Box<RawValue>]) -> impl Iterator<Item = Event> {
    raw.iter().filter_map(|event| serde_json::from_str(event.get()).ok())
}

fn is_membership(event: &Event, user: &str, membership: &str) -> bool {
    event.kind == "m.room.member"
        && event.state_key.as_deref() == Some(user)
        && event.content.membership.as_deref() == Some(membership)
}

/// True if the user came into the room by this event. A changed display name is a `join` too.
fn has_joined(event: &Event, user: &str) -> bool {
    let before = event.unsigned.prev_content.as_ref().and_then(|before| before.membership.as_deref());
    is_membership(event, user, "join") && before != Some("join")
}

fn message(event: Event, room: &str, us: &str) -> Option<Message> {
    let Event { event_id, sender, kind, state_key, origin_server_ts, content, .. } = event;
    let is_text = kind == "m.room.message" && content.msgtype.as_deref() == Some("m.text");
    let is_ours = sender == us || sender.is_empty() || event_id.is_empty();
    if !is_text || is_ours || state_key.is_some() {
        return None;
    }
    let (kind, related) =
        content.relation.map(|relation| (relation.rel_type, relation.event_id)).unwrap_or_default();
    if kind.as_deref() == Some("m.replace") {
        return None;
    }
    let thread = related.filter(|_| kind.as_deref() == Some("m.thread"));
    Some(Message {
        event_id,
        room: room.to_owned(),
        sender,
        text: content.body?,
        is_private: false,
        thread,
        at: Timestamp(origin_server_ts),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const US: &str = "@hal:example.com";

    fn text(id: &str, sender: &str, content: Value) -> Value {
        let mut whole = json!({ "msgtype": "m.text", "body": id });
        whole.as_object_mut().unwrap().extend(content.as_object().unwrap().clone());
        json!({ "type": "m.room.message", "event_id": id, "sender": sender, "origin_server_ts": 7, "content": whole })
    }

    fn member(user: &str, membership: &str, before: &str) -> Value {
        json!({
            "type": "m.room.member", "event_id": "$m", "sender": user, "state_key": user,
            "content": { "membership": membership }, "unsigned": { "prev_content": { "membership": before } },
        })
    }

    fn sync(events: &[Value], limited: bool) -> String {
        let timeline = json!({ "events": events, "limited": limited, "prev_batch": "p" });
        json!({ "next_batch": "s2", "rooms": { "join": { "!r": { "timeline": timeline } } } }).to_string()
    }

    /// Texts that were heard, and whether there was a gap.
    fn heard(json: &str, is_first: bool) -> (Vec<String>, bool) {
        let batch = read(serde_json::from_str(json).unwrap(), US, is_first);
        assert_eq!(batch.heard.back(), Some(&Heard::Through("s2".into())));
        let texts = batch.heard.iter().filter_map(|heard| match heard {
            Heard::Message(message) => Some(message.text.clone()),
            _ => None,
        });
        (texts.collect(), batch.heard.contains(&Heard::Gap { room: "!r".into() }))
    }

    #[test]
    fn only_new_texts_of_others_are_heard() {
        let alice = "@alice:example.com";
        let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
        let events = [
            text("$1", alice, json!({})),
            text("$own", US, json!({})),
            text("$edit", alice, json!({ "m.relates_to": { "rel_type": "m.replace", "event_id": "$1" } })),
            text("$notice", alice, json!({ "msgtype": "m.notice" })),
            text("$image", alice, json!({ "msgtype": "m.image" })),
            text("$number", alice, json!({ "body": 5 })),
            text("$strange", alice, json!({ "m.relates_to": ["m.thread"] })),
            text("$deep", alice, json!({ "m.relates_to": "DEEP" })),
            json!({ "type": "m.room.message", "event_id": "$redacted", "sender": alice, "content": {} }),
            json!("not an event"),
            text("$2", alice, json!({ "m.relates_to": { "m.in_reply_to": { "event_id": "$1" } } })),
        ];
        let json = sync(&events, false).replace("\"DEEP\"", &deep);
        assert_eq!(heard(&json, false), (vec!["$1".into(), "$2".into()], false));
        assert_eq!(heard(&json, true), (vec![], false), "a first answer is history");
    }

    #[test]
    fn a_text_has_its_place() {
        let relation = json!({ "m.relates_to": { "rel_type": "m.thread", "event_id": "$root" } });
        let json = sync(&[text("$1", "@alice:example.com", relation)], false);
        let batch = read(serde_json::from_str(&json).unwrap(), US, false);
        let expected = Message {
            event_id: "$1".into(),
            room: "!r".into(),
            sender: "@alice:example.com".into(),
            text: "$1".into(),
            is_private: false,
            thread: Some("$root".into()),
            at: Timestamp(7),
        };
        assert_eq!(batch.heard[0], Heard::Message(expected));
        assert_eq!((batch.token.as_str(), batch.changed.len()), ("s2", 0));
    }

    #[test]
    fn what_came_before_we_joined_is_history_and_no_gap() {
        let alice = "@alice:example.com";
        let (old, new) = (text("$old", alice, json!({})), text("$new", alice, json!({})));
        let come = member(US, "join", "invite");
        let renamed = member(US, "join", "join");
        let both = vec!["$old".to_owned(), "$new".to_owned()];
        let new_alone = (vec!["$new".to_owned()], false);
        assert_eq!(heard(&sync(&[old.clone(), come, new.clone()], true), false), new_alone);
        assert_eq!(heard(&sync(&[old.clone(), renamed, new.clone()], false), false), (both.clone(), false));
        let other = member("@bob:example.com", "join", "leave");
        assert_eq!(heard(&sync(&[old.clone(), other.clone(), new], true), false), (both, true));
        let batch = read(serde_json::from_str(&sync(&[other], false)).unwrap(), US, false);
        assert_eq!(batch.changed, ["!r"]);
    }

    #[test]
    fn an_invitation_is_told_even_at_first() {
        let mut invite = member(US, "invite", "leave");
        invite["sender"] = "@alice:example.com".into();
        let state = json!({ "invite_state": { "events": [invite] } });
        let json = json!({ "next_batch": "s2", "rooms": { "invite": { "!r": state } } }).to_string();
        let batch = read(serde_json::from_str(&json).unwrap(), US, true);
        let invite = Heard::Invite { room: "!r".into(), by: "@alice:example.com".into() };
        assert_eq!(batch.heard, [invite, Heard::Through("s2".into())]);
    }
}
