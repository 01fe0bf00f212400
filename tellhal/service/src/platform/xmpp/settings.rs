//! The settings of one connection, the address of a room, and what an error may show of a server's words.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use tokio_xmpp::jid::BareJid;

use crate::hidden::Hidden;
use crate::platform::Failure;
use crate::secret::Secret;
use crate::text::{cut, one_line};

/// The most that an error shows of a server's text, in bytes.
const EXCERPT: usize = 200;

/// A connection's settings: users that agree in all of them share one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    pub(super) jid: BareJid,
    pub(super) password: Secret,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: bool,
    pub(super) tls_ca: Option<PathBuf>,
    pub(super) nick: String,
    pub(super) burst: u32,
    pub(super) message_every: Duration,
}

/// A room, such as `ops@conference.example.com`, and the password that it asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Muc {
    pub(super) address: BareJid,
    pub(super) password: Option<Secret>,
}

impl Muc {
    /// The room with this address.
    pub fn new(address: &str, password: Option<Secret>) -> anyhow::Result<Self> {
        let address =
            BareJid::new(address).with_context(|| format!("{address:?} is not a room's address"))?;
        Ok(Muc { address, password })
    }
}

impl Settings {
    /// `host: text`, clean and without the password. `text` may be the server's.
    pub(super) fn reason(&self, text: &str) -> String {
        let mut hidden = Hidden::default();
        hidden.secret(self.password.reveal());
        format!("{}: {}", self.host, cut(&hidden.hide(&one_line(text)), EXCERPT))
    }

    pub(super) fn transient(&self, text: &str) -> Failure {
        Failure::transient(self.reason(text))
    }

    pub(super) fn auth(&self, text: &str) -> Failure {
        Failure::Auth { reason: self.reason(text) }
    }
}
