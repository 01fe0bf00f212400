//! The settings of an XMPP room, and their checks.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use service::config::{KeyProblem, PATH};
use service::platform::xmpp::{Account, Muc, room_problem};
use service::secret::{Pair, Secret};

/// `[rooms.NAME.xmpp]`. Rooms of one account share one connection and need the same settings for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(extend("additionalProperties" = false))]
pub struct Config {
    #[serde(flatten)]
    pub account: Account,
    /// The room, such as `ops@conference.example.com`. It is entered before the first post, and made if it is not there.
    pub room: String,
    /// The room's password, when it has one.
    #[serde(default)]
    pub room_password: Option<Secret>,
    /// A file with the room's password.
    #[serde(default)]
    #[schemars(extend("format" = PATH))]
    pub room_password_file: Option<PathBuf>,
}

impl Config {
    pub(super) fn room_password(&self) -> Pair<'_> {
        Pair::new("room_password", "room_password_file", &self.room_password, &self.room_password_file)
    }

    /// The room, its password read.
    pub(super) fn muc(&self) -> anyhow::Result<Muc> {
        Muc::new(&self.room, self.room_password().read()?)
    }

    /// The values that are wrong independent of other rooms.
    pub(super) fn problems(&self) -> Vec<KeyProblem> {
        let mut problems = self.account.problems();
        problems.extend(room_problem("room", &self.room));
        problems.extend(self.room_password().problem());
        problems
    }
}
