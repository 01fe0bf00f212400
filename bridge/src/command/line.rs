//! A line that is a command, and the way back to the one who gave it.

use async_trait::async_trait;
use tellhal::command::Answer;

use super::person::Account;

/// A line that somebody addressed to the bridge, without the sign or name that addressed it.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// The chat's name in the configuration; `page` for the page's command box.
    pub(crate) chat: String,
    /// The kind of chat, such as `irc`.
    pub(crate) kind: &'static str,
    /// The room in the chat; `private` for a private conversation.
    pub(crate) room: String,
    /// The account, if the platform vouches for one.
    pub(crate) account: Option<Account>,
    /// The name that the speaker has chosen.
    pub(crate) speaker: String,
    /// The platform's id of the event.
    pub(crate) event: Option<String>,
    pub(crate) text: String,
    /// The place for answers, as the chat knows it.
    pub(crate) to: String,
}

impl Line {
    /// Chat and room.
    pub(crate) fn place(&self) -> String {
        format!("{}/{}", self.chat, self.room)
    }
}

/// The way back to the one who asked.
#[async_trait]
pub(crate) trait Out: Send + Sync {
    /// The command still runs under this id. Shown where the platform can edit it away, and now and then elsewhere.
    async fn progress(&self, id: &str, line: &str);
    /// The last word.
    async fn answer(&self, answer: &Answer);
}
