//! The rooms of one connection: entering, leaving, messages to them and what is heard in them. Pure: stanzas come in with the
//! time, and stanzas to be written, messages heard and answers to waiting messages go out.

mod questions;
mod room;

use std::collections::BTreeMap;
use std::time::Duration;

use tellhal::Timestamp;
use tokio::time::Instant;
use tokio_xmpp::Stanza;
use tokio_xmpp::jid::{BareJid, Jid};
use tokio_xmpp::minidom::Element;
use tokio_xmpp::parsers::ns;

use super::classify::{About, Refusal};
use super::heard::{self, Heard};
use super::pending::{Pending, Say, Target};
use super::stanza::{self, Statement, sender};
use super::{Muc, Settings};
use crate::platform::{Failure, Sent};
use questions::{Question, Questions};
use room::{Room, State};

/// The longest wait for a room to let us in.
const JOIN: Duration = Duration::from_secs(10);
/// The silence of a room after which we ask whether we are still in it (XEP-0410).
const SILENCE: Duration = Duration::from_secs(60);
/// The same when a message to it is not confirmed.
const UNCONFIRMED: Duration = Duration::from_secs(3);
/// The number of nicks that are tried.
const NICKS: usize = 4;

pub(super) struct Rooms<'a> {
    settings: &'a Settings,
    rooms: BTreeMap<BareJid, Room>,
    pending: Pending,
    questions: Questions,
    /// Stanzas to be written, in order.
    pub(super) out: Vec<Stanza>,
    pub(super) heard: Vec<Heard>,
}

impl<'a> Rooms<'a> {
    pub(super) fn new(settings: &'a Settings) -> Self {
        Rooms {
            settings,
            rooms: BTreeMap::new(),
            pending: Pending::default(),
            questions: Questions::new(),
            out: Vec::new(),
            heard: Vec::new(),
        }
    }

    /// Writes a message, or enters its room first. A retry of a message that a slow room already has is not written.
    pub(super) fn say(&mut self, say: Say, now: Instant) {
        let Some(say) = self.pending.new_only(say) else { return };
        let Target::Room(muc) = &say.target else { return self.put(say, now) };
        let address = muc.address.clone();
        let nick = &self.settings.nick;
        let room = self.rooms.entry(address.clone()).or_insert_with(|| Room::new(muc, nick, now));
        if room.is_inside() {
            return self.put(say, now);
        }
        // A message that was given up is retried as a new one, and the room is asked again.
        room.muc = muc.clone();
        room.waiting.retain(|say| !say.reply.is_closed());
        room.waiting.push(say);
        if !matches!(room.state, State::Entering(since) if now.duration_since(since) < JOIN) {
            self.enter(&address, now);
        }
    }

    /// Enters a listener's rooms.
    pub(super) fn want(&mut self, muc: &Muc, now: Instant) {
        let nick = &self.settings.nick;
        let room = self.rooms.entry(muc.address.clone()).or_insert_with(|| Room::new(muc, nick, now));
        room.is_wanted = true;
        if matches!(room.state, State::Outside) && room.again.0 <= now {
            self.enter(&muc.address, now);
        }
    }

    /// Reads a stanza; an error ends the connection.
    pub(super) fn hear(&mut self, stanza: &Element, cut: bool, now: Instant) -> Result<(), Failure> {
        if stanza.is("error", ns::STREAM) {
            let condition =
                stanza.children().next().map(Element::name).unwrap_or("without a name").to_owned();
            return Err(self.settings.transient(&format!("the server ended the stream: {condition}")));
        }
        if stanza.has_ns(ns::JABBER_CLIENT) {
            match stanza.name() {
                "presence" => self.presence(stanza, now),
                "message" => self.message(stanza, cut, now),
                "iq" => self.iq(stanza, now),
                _ => {}
            }
        }
        Ok(())
    }

    /// Looks after what time brings: rooms to be entered again, questions without an answer, a room that is silent.
    pub(super) fn look(&mut self, now: Instant) {
        self.pending.forget(now);
        self.questions.forget(now);
        let addresses: Vec<BareJid> = self.rooms.keys().cloned().collect();
        for address in addresses {
            let Some(room) = self.rooms.get_mut(&address) else { continue };
            match room.state {
                State::Entering(since) if now.duration_since(since) > JOIN => {
                    let failure = self.settings.transient("the room does not answer");
                    self.no_way_in(&address, &failure, now);
                }
                State::Outside if room.is_wanted && room.again.0 <= now => self.enter(&address, now),
                State::Inside => self.look_inside(&address, now),
                _ => {}
            }
        }
    }

    /// Asks the server for a sign of life.
    pub(super) fn ask_server(&mut self, now: Instant) {
        let server = Jid::from(BareJid::from_parts(None, self.settings.jid.domain()));
        self.ask(server.clone(), Question::Alive, now, |id| stanza::ping(id, server));
    }

    /// Ends all messages that wait.
    pub(super) fn fail_all(&mut self, reason: &str) {
        let waiting = self.rooms.values_mut().flat_map(|room| room.waiting.drain(..));
        for say in self.pending.drain().chain(waiting) {
            let ambiguous = say.stage.is_written();
            let failure = Failure::Transient { reason: reason.to_owned(), wait: None, ambiguous };
            let _ = say.reply.send(Err(failure));
        }
    }

    fn ask(&mut self, to: Jid, question: Question, now: Instant, stanza: impl FnOnce(String) -> Stanza) {
        if let Some(id) = self.questions.ask(to, question, now) {
            self.out.push(stanza(id));
        }
    }

    fn enter(&mut self, address: &BareJid, now: Instant) {
        let Some(room) = self.rooms.get_mut(address) else { return };
        let Ok(occupant) = address.with_resource_str(&room.nick) else { return };
        room.state = State::Entering(now);
        let join = stanza::join(occupant.into(), room.muc.password.as_ref());
        // Asked before, so that the answer comes before anything is heard.
        self.ask_features(address, now);
        self.out.push(join);
    }

    fn ask_features(&mut self, address: &BareJid, now: Instant) {
        let question = Question::Features(address.clone());
        self.ask(address.clone().into(), question, now, |id| stanza::features(id, address));
    }

    fn entered(&mut self, address: &BareJid, now: Instant) {
        let Some(room) = self.rooms.get_mut(address) else { return };
        if !room.is_inside() {
            tracing::debug!(room = %address, nick = room.nick, "xmpp room entered");
        }
        let is_new = !room.is_inside();
        room.state = State::Inside;
        room.again.1 = 0;
        let asks_for_missed = is_new && room.is_wanted && room.has_archive;
        for say in std::mem::take(&mut room.waiting) {
            self.put(say, now);
        }
        if asks_for_missed {
            let (to, question) = (Jid::from(address.clone()), Question::Missed(address.clone()));
            self.ask(to, question, now, |id| stanza::missed(id, address, Timestamp::now()));
        }
    }

    fn no_way_in(&mut self, address: &BareJid, failure: &Failure, now: Instant) {
        let Some(room) = self.rooms.get_mut(address) else { return };
        if room.is_wanted {
            tracing::warn!(room = %address, %failure, "xmpp room cannot be entered");
        }
        room.nick = self.settings.nick.clone();
        room.leave(now);
        for say in room.waiting.drain(..) {
            let failure = failure.clone().without(room.muc.password.as_ref());
            let _ = say.reply.send(Err(failure));
        }
    }

    fn look_inside(&mut self, address: &BareJid, now: Instant) {
        let Some(room) = self.rooms.get(address) else { return };
        let silent =
            now.duration_since(room.seen) > SILENCE || self.pending.is_late(address, UNCONFIRMED, now);
        let Ok(own) = address.with_resource_str(&room.nick) else { return };
        if silent {
            let own = Jid::from(own);
            self.ask(own.clone(), Question::Inside(address.clone()), now, |id| stanza::ping(id, own));
        }
    }

    fn put(&mut self, say: Say, now: Instant) {
        if say.reply.is_closed() || !say.stage.write() {
            return;
        }
        let address = say.target.bare();
        let is_person = matches!(say.target, Target::Person(_));
        self.out.push(stanza::message(&say, is_person && self.rooms.contains_key(&address)));
        if is_person {
            // It is not reflected: the server has taken it when it answers what comes behind it.
            let server = Jid::from(BareJid::from_parts(None, self.settings.jid.domain()));
            let question = Question::Taken(say.id.clone(), address);
            self.ask(server.clone(), question, now, |id| stanza::ping(id, server));
        }
        self.pending.written(say, now);
    }

    fn presence(&mut self, presence: &Element, now: Instant) {
        let Some(from) = sender(presence) else { return };
        let address = from.to_bare();
        let Some(room) = self.rooms.get_mut(&address) else { return };
        room.seen = now;
        let kind = presence.attr("type");
        if kind == Some("error") {
            return self.presence_refused(&address, presence, now);
        }
        let Some(nick) = from.resource().map(|nick| nick.to_string()) else { return };
        let (statement, id) = (Statement::of(presence), stanza::occupant_id(presence));
        // While we are in, our nick changes only by a presence of our old one.
        let is_own = if room.is_inside() { nick == room.nick } else { statement.has(110) };
        match kind {
            None if is_own => {
                room.nick = nick.clone();
                room.members.present(&nick, statement.jid.clone(), id);
                self.own_presence(&address, &statement, now);
            }
            None => room.members.present(&nick, statement.jid, id),
            Some("unavailable") => {
                room.members.gone(&nick);
                match statement.nick {
                    Some(nick) if is_own && statement.codes.contains(&303) => room.nick = nick,
                    _ if is_own => {
                        tracing::info!(room = %address, codes = ?statement.codes, "xmpp room left");
                        room.nick = self.settings.nick.clone();
                        room.leave(now);
                    }
                    _ => {}
                }
            }
            Some(_) => {}
        }
    }

    fn own_presence(&mut self, address: &BareJid, statement: &Statement, now: Instant) {
        if !statement.has(201) {
            return self.entered(address, now);
        }
        // The room was made by our entering and is locked.
        let question = Question::Unlock(address.clone());
        self.ask(address.clone().into(), question, now, |id| stanza::unlock(id, address));
    }

    fn presence_refused(&mut self, address: &BareJid, presence: &Element, now: Instant) {
        let refusal = Refusal::of(presence);
        let Some(room) = self.rooms.get_mut(address) else { return };
        if room.is_inside() {
            return room.leave(now);
        }
        let tried = room.nick.len().saturating_sub(self.settings.nick.len());
        if refusal.condition == "conflict" && tried + 1 < NICKS {
            room.nick.push('_');
            return self.enter(address, now);
        }
        let failure = refusal.failure(About::Join, self.settings);
        self.no_way_in(address, &failure, now);
    }

    fn message(&mut self, message: &Element, cut: bool, now: Instant) {
        let Some(from) = sender(message) else { return };
        let address = from.to_bare();
        if message.attr("type") == Some("error") {
            return self.message_refused(&from, message, now);
        }
        let text = heard::command(message, cut);
        let Some(room) = self.rooms.get_mut(&address) else {
            let heard = text.and_then(|text| heard::direct(message, text, &self.settings.jid));
            return self.heard.extend(heard);
        };
        room.seen = now;
        let Some(nick) = from.resource().map(|nick| nick.to_string()) else {
            return self.missed(&address, message, cut);
        };
        let is_private = message.attr("type") != Some("groupchat");
        if nick == room.nick {
            if !is_private && !message.has_child("delay", ns::DELAY) {
                self.reflected(&address, message);
            }
            return;
        }
        let person = room.members.person(&nick);
        let is_own = person == Some(&self.settings.jid);
        if let Some(text) = text.filter(|_| room.is_wanted && room.is_inside() && !is_own) {
            let has_id = room.has_stable_ids && !is_private;
            self.heard.push(Heard {
                event: has_id.then(|| stanza::stanza_id(message, &address)).flatten(),
                room: Some(address.to_string()),
                nick,
                person: person.map(BareJid::to_string),
                text,
                is_private,
                reply_to: from.to_string(),
            });
        }
    }

    /// A message from the room's archive. The speaker is known by the id that the room gave both the message and an occupant: a
    /// message of somebody who has left is not heard, since nobody vouches for its sender.
    fn missed(&mut self, address: &BareJid, message: &Element, cut: bool) {
        let Some(result) = message.get_child("result", ns::MAM) else { return };
        let query = result.attr("queryid").unwrap_or_default();
        let Some(room) = self.rooms.get(address) else { return };
        if !self.questions.is_open(query, &Question::Missed(address.clone())) || !room.is_inside() {
            return;
        }
        let forwarded = result.get_child("forwarded", ns::FORWARD);
        let Some(said) = forwarded.and_then(|forwarded| forwarded.get_child("message", ns::JABBER_CLIENT))
        else {
            return;
        };
        let from = sender(said).filter(|from| from.to_bare() == *address);
        let nick = from.as_ref().and_then(|from| from.resource()).map(|nick| nick.to_string());
        let person = stanza::occupant_id(said).and_then(|id| room.members.by_id(&id));
        let (Some(from), Some(nick), Some(person)) = (from, nick, person) else { return };
        let is_public = said.attr("type") == Some("groupchat") && *person != self.settings.jid;
        let text = heard::command(said, cut).filter(|_| is_public);
        let event = result.attr("id").filter(|id| !id.is_empty());
        if let (Some(text), Some(event)) = (text, event) {
            self.heard.push(Heard {
                event: Some(event.to_owned()),
                room: Some(address.to_string()),
                nick,
                person: Some(person.to_string()),
                text,
                is_private: false,
                reply_to: from.to_string(),
            });
        }
    }

    /// The room shows our own message: it was taken.
    fn reflected(&mut self, address: &BareJid, message: &Element) {
        let origin = message.get_child("origin-id", ns::SID).and_then(|origin| origin.attr("id"));
        let post = stanza::stanza_id(message, address);
        let sent = Sent { answer: self.settings.reason("reflected"), post, ..Sent::default() };
        // Rooms that give a message an id of their own leave the other in place.
        for id in [message.attr("id"), origin].into_iter().flatten() {
            self.pending.confirm(id, &Jid::from(address.clone()), sent.clone());
        }
    }

    fn message_refused(&mut self, from: &Jid, message: &Element, now: Instant) {
        let (refusal, settings) = (Refusal::of(message), self.settings);
        let Some(id) = message.attr("id") else { return };
        let mut outside = false;
        self.pending.refuse(id, from, |target| match target {
            Target::Room(_) => {
                outside = refusal.says_outside();
                refusal.failure(About::Message, settings)
            }
            Target::Person(_) => refusal.failure(About::Person, settings),
        });
        if let Some(room) = self.rooms.get_mut(&from.to_bare()).filter(|_| outside) {
            room.leave(now);
        }
    }

    fn iq(&mut self, iq: &Element, now: Instant) {
        if matches!(iq.attr("type"), Some("get" | "set")) {
            return self.out.extend(stanza::answer(iq));
        }
        let own = Jid::from(self.settings.jid.clone());
        let server = Jid::from(BareJid::from_parts(None, self.settings.jid.domain()));
        let from = sender(iq);
        let may_answer = |asked: &Jid| match &from {
            Some(from) => from == asked,
            None => *asked == server || *asked == own,
        };
        let id = iq.attr("id").unwrap_or_default();
        let Some(question) = self.questions.answered(id, may_answer) else { return };
        let refusal = (iq.attr("type") != Some("result")).then(|| Refusal::of(iq));
        self.answered(question, refusal, iq, now);
    }

    fn answered(&mut self, question: Question, refusal: Option<Refusal>, iq: &Element, now: Instant) {
        match (question, refusal) {
            (Question::Alive, _) | (Question::Features(_), Some(_)) | (Question::Missed(_), None) => {}
            (Question::Missed(address), Some(refusal)) => {
                tracing::warn!(room = %address, condition = refusal.condition, "the xmpp room does not say what was missed");
            }
            (Question::Taken(id, address), _) => {
                let sent = Sent { answer: self.settings.reason("taken by the server"), ..Sent::default() };
                self.pending.confirm(&id, &Jid::from(address), sent);
            }
            (Question::Unlock(address), None) => {
                self.ask_features(&address, now);
                self.entered(&address, now);
            }
            (Question::Unlock(address), Some(refusal)) => {
                let failure = refusal.failure(About::Join, self.settings);
                self.no_way_in(&address, &failure, now);
            }
            (Question::Features(address), None) => {
                if let (Some(room), Some(query)) =
                    (self.rooms.get_mut(&address), iq.get_child("query", ns::DISCO_INFO))
                {
                    let features: Vec<&str> =
                        query.children().filter_map(|feature| feature.attr("var")).collect();
                    let has = |name: &str| features.contains(&name);
                    room.has_stable_ids = has(ns::SID);
                    room.has_archive = has(ns::MAM) && has(ns::SID) && has(ns::OID);
                }
            }
            (Question::Inside(address), refusal) => {
                let Some(room) = self.rooms.get_mut(&address) else { return };
                room.seen = now;
                if refusal.is_some_and(|refusal| !refusal.says_inside()) {
                    tracing::info!(room = %address, "xmpp room no longer has us");
                    room.leave(now);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
