//! The way from the bytes of a syslog listener to a message that is kept, and its counts.

use std::net::IpAddr;
use std::sync::Arc;

use tellhal::Message;

use super::config::Config;
use super::line::{self, Transport};
use crate::device::listeners::Settings;
use crate::device::rates::Rates;
use crate::device::tally::Tally;
use crate::outbox::Outbox;

/// The source of these messages in the metrics.
const SOURCE: &str = "syslog";

/// A socket of a listener.
pub(super) struct Intake {
    pub(super) source: String,
    pub(super) settings: Settings<Config>,
    pub(super) rates: Rates,
    pub(super) tally: Arc<Tally>,
    pub(super) outbox: Outbox,
}

impl Intake {
    pub(super) fn settings(&self) -> Arc<Config> {
        self.settings.borrow().clone()
    }

    pub(super) fn admits(&self, peer: IpAddr) -> bool {
        self.tally.admits(&self.settings().allow, peer)
    }

    /// The message in `bytes`, if it is one that is told.
    pub(super) fn read(&self, bytes: &[u8], transport: Transport, peer: IpAddr) -> Option<Message> {
        let read = line::read(&self.settings(), &self.source, bytes, transport, peer);
        read.inspect_err(|why| self.tally.count(why)).ok()
    }

    pub(super) async fn keep(&self, message: &Message, peer: IpAddr) {
        match self.outbox.publish(SOURCE, message).await.is_kept() {
            true => self.tally.count("kept"),
            false => self.tally.lose("not_kept", peer),
        }
    }
}
