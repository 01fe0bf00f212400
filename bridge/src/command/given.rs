//! A line with the person who gave it, and what the audit says of it.

use std::sync::Arc;

use service::text::{cut, one_line};
use tellhal::Timestamp;
use tellhal::audit::{Entry, Kind};
use tellhal::command::{Answer, LONGEST_NAME, VERSION};
use tokio::sync::Mutex as AsyncMutex;

use super::attached;
use super::claims::Held;
use super::line::Line;
use super::own::Call;
use super::person::Person;
use super::policy::{self, Policy};

/// The most of an answer that an entry of the audit has, in bytes: chats show less, and say that the page has more.
const EXCERPT: usize = 32 * 1024;
/// The word that asks all machines.
pub(super) const EACH: &str = "--each";

/// A line with the person who gave it, on its way to an answer.
pub(super) struct Given<'a> {
    pub(super) id: String,
    pub(super) line: &'a Line,
    pub(super) held: &'a AsyncMutex<Held>,
    pub(super) policy: Arc<Policy>,
    pub(super) command: String,
    pub(super) words: Vec<String>,
    pub(super) each: bool,
    /// The arguments as they may be shown.
    pub(super) shown: Vec<String>,
    /// The person who asked, if it is not the one who gives this line: an approved command is the asker's.
    pub(super) asker: Option<String>,
}

impl Given<'_> {
    pub(super) fn person(&self) -> Option<&Person> {
        match &self.asker {
            Some(asker) => self.policy.people.named(asker),
            None => self.policy.people.of(self.line.account.as_ref()?),
        }
    }

    pub(super) fn request<'r>(&'r self, place: &'r str) -> policy::Request<'r> {
        policy::Request { person: self.person(), room: place, command: &self.command, words: &self.words }
    }

    pub(super) fn entry(&self, kind: Kind, text: &str) -> Entry {
        let mut args = self.shown.clone();
        if self.each {
            args.insert(0, EACH.into());
        }
        Entry {
            v: VERSION,
            id: self.id.clone(),
            time: Timestamp::now(),
            kind,
            room: self.line.place(),
            person: self.person().map(|person| person.name.clone()),
            account: self.line.account.as_ref().map(ToString::to_string),
            speaker: cut(&one_line(&self.line.speaker), 100),
            command: cut(&one_line(&self.command), LONGEST_NAME),
            args,
            text: cut(text, EXCERPT),
            files: Vec::new(),
        }
    }

    /// The entry about its end.
    pub(super) fn ended(&self, kind: Kind, answer: &Answer) -> Entry {
        Entry { files: attached::entries(&answer.files), ..self.entry(kind, &answer.answer) }
    }

    pub(super) fn call<'c>(&'c self, place: &'c str) -> Call<'c> {
        Call {
            command: &self.command,
            words: &self.words,
            person: self.person().map_or("", |person| person.name.as_str()),
            chat: &self.line.chat,
            room: place,
            to: &self.line.to,
        }
    }

    /// The command with its arguments, as it may be shown.
    pub(super) fn shown_line(&self) -> String {
        let words = [self.command.clone()].into_iter().chain(self.shown.iter().cloned());
        words.collect::<Vec<_>>().join(" ")
    }
}
