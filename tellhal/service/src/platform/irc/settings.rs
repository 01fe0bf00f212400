//! The settings of one connection, and what an error may show of a server's words.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::hidden::Hidden;
use crate::platform::Failure;
use crate::secret::Secret;
use crate::text::{cut, one_line};

/// The most that an error shows of a server's text, in bytes.
const EXCERPT: usize = 200;

/// A connection's settings: users that agree in all of them share one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: bool,
    pub(super) tls_ca: Option<PathBuf>,
    pub(super) nick: String,
    pub(super) sasl: Option<(String, Secret)>,
    pub(super) pass: Option<Secret>,
    pub(super) burst: u32,
    pub(super) line_every: Duration,
    /// Channels that are joined at once and kept, and what is said in them is heard.
    pub(super) listen: Vec<Channel>,
}

/// A channel, with its key if it has one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Channel {
    pub name: String,
    pub key: Option<Secret>,
}

impl Settings {
    /// The same, for a connection that listens in `channels`.
    pub fn listening(self, channels: Vec<Channel>) -> Settings {
        Settings { listen: channels, ..self }
    }

    /// `host: text`, clean and without secrets. `text` may be the server's.
    pub(super) fn reason(&self, text: &str) -> String {
        let mut hidden = Hidden::default();
        if let Some((user, password)) = &self.sasl {
            hidden.secret(password.reveal());
            hidden.secret(&sasl_plain(user, password));
        }
        self.pass.iter().for_each(|pass| hidden.secret(pass.reveal()));
        format!("{}: {}", self.host, cut(&hidden.hide(&one_line(text)), EXCERPT))
    }

    pub(super) fn transient(&self, text: &str) -> Failure {
        Failure::transient(self.reason(text))
    }

    pub(super) fn auth(&self, text: &str) -> Failure {
        Failure::Auth { reason: self.reason(text) }
    }

    pub(super) fn lost(&self, error: &std::io::Error) -> Failure {
        self.transient(&error.to_string())
    }
}

/// User and password as SASL PLAIN sends them.
pub(super) fn sasl_plain(user: &str, password: &Secret) -> String {
    BASE64.encode(format!("\0{user}\0{}", password.reveal()))
}
