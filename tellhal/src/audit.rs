//! Entries of the audit: what was asked in a chat, whether it was allowed, and how it ended. Published by the bridge on
//! `hal.audit.<kind>.<command>`, each before the deed that it is about.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::timestamp::Timestamp;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Entry {
    /// Version of the format, 1.
    pub v: u32,
    /// Id of the request; all entries about it have the same.
    pub id: String,
    /// The bridge's time.
    pub time: Timestamp,
    /// The words of the entry.
    pub kind: Kind,
    /// Chat and room, such as `main/#ops`.
    pub room: String,
    /// The person, if the account is one's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
    /// The account as its platform vouches for it, such as `irc main/oncall`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The name that the speaker has chosen. It proves nothing.
    pub speaker: String,
    /// The command.
    pub command: String,
    /// The arguments, with secret ones masked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// The reason of a denial, or the beginning of an answer.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// The files of an answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileEntry>,
}

/// A file of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileEntry {
    /// Its name, such as `load.png`.
    pub name: String,
    /// The name under which it is kept: `GET /api/files/<object>` of the relay's page.
    pub object: String,
    /// Its length.
    pub bytes: usize,
    /// It is a picture.
    pub picture: bool,
}

/// The step of a command that an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// It is allowed, and is asked next.
    Asked,
    /// The person may not.
    Denied,
    /// It was not understood, or has wrong arguments.
    Refused,
    /// It waits for a confirmation or an approval.
    Waiting,
    /// It was confirmed or approved.
    Approved,
    /// The approval was denied.
    Declined,
    /// It was answered.
    Done,
    /// It was answered with a failure.
    Failed,
    /// No handler answered in time, or the bridge ended meanwhile: it may have run.
    Unknown,
}

impl Kind {
    /// The token in the subject.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Asked => "asked",
            Kind::Denied => "denied",
            Kind::Refused => "refused",
            Kind::Waiting => "waiting",
            Kind::Approved => "approved",
            Kind::Declined => "declined",
            Kind::Done => "done",
            Kind::Failed => "failed",
            Kind::Unknown => "unknown",
        }
    }
}

/// A line from the page's command box, on `hal.ask.page`. It is answered as a command is: progress, then an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PageLine {
    /// Version of the format, 1.
    pub v: u32,
    /// Id of the request.
    pub id: String,
    /// Name of the token of the person who typed it; absent for somebody without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The line.
    pub line: String,
}
