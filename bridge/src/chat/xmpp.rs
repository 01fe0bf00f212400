//! XMPP rooms (XEP-0045): who speaks is the real address that the room shows us with the speaker's presence, never the nick. A room
//! that hides real addresses from us makes everybody unidentified; the account should be a moderator there.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use service::config::{KeyProblem, OneOrMany};
use service::platform::Failure;
use service::platform::xmpp::{
    Account as Login, Connection, Connections, Heard as Said, Listener, Message, Muc, room_problem,
};
use service::secret::Pair;
use tellhal::command::Answer;
use tellhal::fingerprint::fingerprint;
use tokio::sync::Mutex;

use super::cursor::Cursor;
use super::shown::shown;
use super::{Chat, Heard, Settings, is_among};
use crate::command::person::Account;

/// The most lines, and bytes, of one answer.
const LINES: usize = 60;
const LONGEST: usize = 10_000;

/// `[chat.NAME.xmpp]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[schemars(extend("additionalProperties" = false))]
pub(crate) struct Config {
    #[serde(flatten)]
    account: Login,
    /// The rooms to listen in, such as `ops@conference.example.com`.
    #[serde(default)]
    rooms: Option<OneOrMany>,
    /// The sign before a command; `!` when absent.
    #[serde(default = "trigger")]
    trigger: String,
}

fn trigger() -> String {
    "!".into()
}

impl Config {
    fn rooms(&self) -> Vec<String> {
        self.rooms.iter().flat_map(OneOrMany::items).map(|(_, room)| room.to_lowercase()).collect()
    }
}

impl Settings for Config {
    fn problems(&self) -> Vec<KeyProblem> {
        let rooms = self.rooms();
        self.account
            .problems()
            .into_iter()
            .chain(rooms.iter().filter_map(|room| room_problem("rooms", room)))
            .collect()
    }

    fn secrets(&self) -> Vec<Pair<'_>> {
        self.account.secrets()
    }

    fn tls_ca(&self) -> Option<&Path> {
        self.account.tls_ca.as_deref()
    }

    fn trigger(&self) -> &str {
        &self.trigger
    }

    fn open(&self, _: &str, rooms: Option<&[String]>, _: Cursor) -> anyhow::Result<Arc<dyn Chat>> {
        let connection = Connections::default().get(self.account.settings()?)?;
        let mut joined = self.rooms();
        joined.retain(|room| rooms.is_none_or(|rooms| is_among(room, rooms)));
        let mucs = joined.iter().map(|room| Muc::new(room, None)).collect::<anyhow::Result<Vec<_>>>()?;
        let listener = Mutex::new(Listener::new(connection.clone(), mucs));
        Ok(Arc::new(Xmpp { connection, listener, nick: self.account.nick().to_owned() }))
    }
}

struct Xmpp {
    connection: Arc<Connection>,
    listener: Mutex<Listener>,
    nick: String,
}

/// The sign before a place in which everybody reads the answer.
const PUBLIC: &str = "room ";
const PRIVATE: &str = "to ";

#[async_trait]
impl Chat for Xmpp {
    async fn next(&self) -> Heard {
        heard(self.listener.lock().await.next().await)
    }

    fn place(&self, room: &str) -> String {
        format!("{PUBLIC}{room}")
    }

    async fn reply(&self, to: &str, text: &Answer, earlier: Option<&str>) -> Result<Option<String>, Failure> {
        let body = body(text, to);
        // The same reply has the same id, however often it is tried.
        let id = fingerprint(&[to.as_bytes(), body.as_bytes(), earlier.unwrap_or_default().as_bytes()]);
        let message = Message { id: &id, text: &body, replaces: earlier };
        while let Err(wait) = self.connection.limiter.take() {
            tokio::time::sleep(wait).await;
        }
        match to.strip_prefix(PRIVATE) {
            Some(person) => self.connection.tell(person, message).await?,
            None => self.connection.post(&muc(to)?, message).await?,
        };
        // A correction is of the first message, never of a correction.
        Ok(Some(earlier.map_or(id, str::to_owned)))
    }

    fn edits(&self) -> bool {
        true
    }

    fn names(&self) -> Vec<String> {
        vec![self.nick.clone()]
    }

    fn trouble(&self) -> Option<String> {
        self.connection.trouble()
    }
}

fn muc(to: &str) -> Result<Muc, Failure> {
    let room = to.strip_prefix(PUBLIC).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
    Muc::new(room, None).map_err(|error| Failure::Permanent { reason: format!("{error:#}") })
}

fn heard(said: Said) -> Heard {
    let to = match (&said.room, said.is_private) {
        (Some(room), false) => format!("{PUBLIC}{room} {}", said.nick),
        _ => format!("{PRIVATE}{}", said.reply_to),
    };
    Heard {
        room: said.room.filter(|_| !said.is_private),
        account: said.person.map(|person| Account::Xmpp(person.to_lowercase())),
        speaker: said.nick,
        event: said.event,
        text: said.text,
        to,
    }
}

/// The text of an answer. In a room one line names the one who asked, and each of several begins with a sign, so that no text of
/// a command stands where another robot looks for its own.
fn body(answer: &Answer, to: &str) -> String {
    let shown = shown(answer, LONGEST, LINES);
    let name = to.strip_prefix(PUBLIC).and_then(|rest| rest.split_once(' ')).map(|(_, nick)| nick);
    match (name, shown.as_slice()) {
        (Some(name), [only]) => format!("{name}: {only}"),
        (Some(name), several) => format!(
            "{name}:\n{}",
            several.iter().map(|line| format!("| {line}")).collect::<Vec<_>>().join("\n")
        ),
        (None, several) => several.join("\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_in_a_room_names_the_one_who_asked() {
        let public = format!("{PUBLIC}ops@x ann b");
        assert_eq!(body(&Answer::done("up"), &public), "ann b: up");
        assert_eq!(body(&Answer::failed("!a\n!b"), &public), "ann b:\n| ✗ !a\n| !b");
        assert_eq!(body(&Answer::done("a\nb"), "to ops@x/ann"), "a\nb");
        assert_eq!(body(&Answer::done(""), "to ops@x/ann"), "done");
    }

    #[test]
    fn only_the_real_address_says_who_speaks() {
        let said = Said {
            event: Some("e".into()),
            room: Some("ops@x".into()),
            nick: "oncall".into(),
            person: None,
            text: "!status".into(),
            is_private: false,
            reply_to: "ops@x/oncall".into(),
        };
        let unknown = heard(said.clone());
        assert_eq!((unknown.account, unknown.to.as_str()), (None, "room ops@x oncall"));
        let known = heard(Said { person: Some("OnCall@example.com".into()), is_private: true, ..said });
        assert_eq!(known.account, Some(Account::Xmpp("oncall@example.com".into())));
        assert_eq!((known.room, known.to.as_str()), (None, "to ops@x/oncall"));
    }
}
