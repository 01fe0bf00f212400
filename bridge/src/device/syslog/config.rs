//! The settings of a syslog listener, checked.

use std::net::SocketAddr;

use tellhal::message::Severity;

use crate::device::networks::Networks;
use crate::webhook::template::Template;

/// The parts of a message that a tag and a key may name.
pub(crate) const PARTS: [&str; 4] = ["facility", "severity", "app", "host"];

/// The settings of a listener, checked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    pub(crate) udp: Option<SocketAddr>,
    pub(crate) tcp: Option<SocketAddr>,
    pub(crate) allow: Networks,
    pub(crate) tag: Template,
    /// The key of messages, if they have one.
    pub(crate) key: Option<Template>,
    /// The least severity that is told.
    pub(crate) severity: Severity,
    /// The messages of one address in a second.
    pub(crate) rate: u32,
}
