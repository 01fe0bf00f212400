//! Chats, one file each with its settings and its tests, and one line each in `registry`. A chat hears what people say and says
//! something back where it was said; which of it is a command, and what comes of it, is decided in `command`.

pub(crate) mod addressed;
pub(crate) mod cursor;
pub(crate) mod door;
mod irc;
mod matrix;
pub(crate) mod page;
pub(crate) mod registry;
pub(crate) mod session;
pub(crate) mod sessions;
mod shown;
mod slack;
mod xmpp;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use service::config::KeyProblem;
use service::platform::Failure;
use service::secret::Pair;
use tellhal::command::Answer;

use self::cursor::Cursor;
use crate::command::person::Account;

/// The longest time that the commands of a chat may take to finish when it is closed.
const GRACE: Duration = Duration::from_secs(10);

/// A line that somebody said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    /// The room in the chat; `None` for a private conversation.
    pub(crate) room: Option<String>,
    /// The account that the platform vouches for.
    pub(crate) account: Option<Account>,
    /// The name that the speaker has chosen.
    pub(crate) speaker: String,
    /// The platform's id of the event, the same each time it is delivered.
    pub(crate) event: Option<String>,
    pub(crate) text: String,
    /// The place for answers, as [`Chat::reply`] takes it. It outlives the connection.
    pub(crate) to: String,
}

/// A connection to a chat, in both directions.
#[async_trait]
pub(crate) trait Chat: Send + Sync {
    /// The next line of somebody else. Connects again by itself, without end.
    async fn next(&self) -> Heard;

    /// Says `text` at a place that a [`Heard`] named. `earlier` is what an earlier call returned: a platform that can edit shows
    /// the new text in its stead. Returns the platform's id of the post, if it can be edited.
    async fn reply(&self, to: &str, text: &Answer, earlier: Option<&str>) -> Result<Option<String>, Failure>;

    /// Answers a request that came for the chat over HTTP, whoever sent it. `body` is as it came.
    async fn deliver(&self, _headers: &HeaderMap, _body: Bytes) -> Response {
        StatusCode::NOT_FOUND.into_response()
    }

    /// The place for something that answers nobody, in a room by its name in rules.
    fn place(&self, room: &str) -> String {
        room.to_owned()
    }

    /// The platform can edit a post, so progress may be shown often.
    fn edits(&self) -> bool {
        false
    }

    /// The platform takes files of an answer; elsewhere they are links.
    fn takes_files(&self) -> bool {
        false
    }

    /// The bridge's names in the chat, by which it may be addressed; a longer one before its own beginning.
    fn names(&self) -> Vec<String>;

    /// The reason why the chat cannot be heard now.
    fn trouble(&self) -> Option<String>;
}

/// The settings of one kind of chat.
pub(crate) trait Settings {
    /// Settings that cannot work. Reads no file and no variable.
    fn problems(&self) -> Vec<KeyProblem>;

    /// The secrets, whether or not they are written.
    fn secrets(&self) -> Vec<Pair<'_>>;

    /// The CA certificate to trust, if one is named.
    fn tls_ca(&self) -> Option<&Path>;

    /// True if nobody on the way can change what is heard.
    fn is_protected(&self) -> bool {
        true
    }

    /// The signs before a command.
    fn trigger(&self) -> &str;

    /// True if what is said comes over a connection that we open, which one bridge at a time has. False if the platform sends it
    /// to the port of any bridge.
    fn has_connection(&self) -> bool {
        true
    }

    /// Opens the chat, whose name in the configuration is `name`. `rooms` are the only ones to join, if there are such. `cursor` keeps
    /// how far it has heard. Must be called where a runtime is: it begins to connect.
    fn open(&self, name: &str, rooms: Option<&[String]>, cursor: Cursor) -> anyhow::Result<Arc<dyn Chat>>;
}

/// True for one of these rooms. Platforms do not tell rooms apart by the case of their names.
fn is_among(room: &str, rooms: &[String]) -> bool {
    rooms.iter().any(|one| one.eq_ignore_ascii_case(room))
}
