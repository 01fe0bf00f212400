//! The way from a mail to its messages, each of which is kept once, however often the mail is sent.

use std::net::IpAddr;
use std::sync::Arc;

use tellhal::Tag;

use super::config::Config;
use super::letter::{Letter, content, message};
use crate::device::listeners::Settings;
use crate::device::tally::Tally;
use crate::once::Once;
use crate::outbox::Outbox;

/// The source of these messages in the metrics, and the kind of their claims.
pub(super) const SOURCE: &str = "mail";

/// An open listener.
pub(super) struct Intake {
    pub(super) name: String,
    pub(super) settings: Settings<Config>,
    pub(super) tally: Arc<Tally>,
    pub(super) outbox: Outbox,
    pub(super) once: Once,
}

impl Intake {
    pub(super) fn settings(&self) -> Arc<Config> {
        self.settings.borrow().clone()
    }

    pub(super) fn admits(&self, peer: IpAddr) -> bool {
        self.tally.admits(&self.settings().allow, peer)
    }

    /// Keeps a message for each recipient; false if one cannot be kept now. Those that were kept are not told again when the mail is
    /// sent again.
    pub(super) async fn keep(&self, letter: &Letter<'_>, recipients: &[(String, Tag)]) -> bool {
        let (config, bytes) = (self.settings(), letter.bytes.to_vec());
        // A hostile mail takes its time, in which the bridge has other things to do.
        let Ok(content) = tokio::task::spawn_blocking(move || content(&bytes)).await else { return false };
        for recipient in recipients {
            let (event, mut message) =
                message(&config, &format!("in-{}", self.name), letter, &content, recipient);
            let event = event.map(|event| format!("{}/{event}", self.name));
            if !self.once.keep(&self.outbox, SOURCE, event.as_deref(), &mut message).await.is_kept() {
                self.tally.lose("not_kept", letter.peer);
                return false;
            }
            self.tally.count("kept");
        }
        true
    }
}
