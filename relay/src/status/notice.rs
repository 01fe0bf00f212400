//! The relay's own messages: ordinary ops messages of the source `relay`, so that they are routed, kept and shown like
//! all others. The rules take those about its health to the default room too.

use std::time::Duration;

use tellhal::message::{Message, Severity, Status};
use tellhal::tag::Tag;

use crate::bus::Bus;
pub use crate::engine::OWN_SOURCE as SOURCE;

const PATIENCE: Duration = Duration::from_secs(5);
/// The key of messages about the configuration.
const CONFIG: &str = "config";

/// Appends the relay's own messages to the log.
#[derive(Clone)]
pub struct Notices {
    bus: Bus,
}

impl Notices {
    pub fn new(bus: Bus) -> Self {
        Notices { bus }
    }

    /// A changed configuration is refused, the old one stays in force.
    pub async fn config_refused(&self, problems: &str) {
        let text = format!("the changed configuration is refused, the old one stays in force\n{problems}");
        self.send(&message(CONFIG, CONFIG, Severity::Error, Status::Failed, text)).await;
    }

    /// A configuration is in force after one that was refused.
    pub async fn config_accepted(&self) {
        let text = "the changed configuration is in force".to_owned();
        self.send(&message(CONFIG, CONFIG, Severity::Notice, Status::Resolved, text)).await;
    }

    /// Appends a message; false if it may not be in the log.
    pub async fn send(&self, message: &Message) -> bool {
        let Ok(payload) = serde_json::to_vec(message) else { return false };
        let subject = self.bus.names.ops(SOURCE, &message.tag);
        match tokio::time::timeout(PATIENCE, self.bus.append(subject, &message.id, payload)).await {
            Ok(Ok(_)) => return true,
            Ok(Err(error)) => {
                tracing::error!(text = message.text, error = format!("{error:#}"), "notice not sent")
            }
            Err(_) => tracing::error!(text = message.text, "notice not sent in time"),
        }
        false
    }
}

/// A message about the state of a room.
pub fn about_room(room: &str, severity: Severity, status: Status, text: String) -> Message {
    message(&room_tag(room), room, severity, status, text)
}

/// The tag of messages about the state of a room; `*` for those of all.
pub fn room_tag(room: &str) -> String {
    format!("room.{room}")
}

fn message(tag: &str, key: &str, severity: Severity, status: Status, text: String) -> Message {
    let mut message = Message::new(SOURCE, Tag::nearest(tag), text);
    (message.severity, message.status, message.key) = (severity, Some(status), Some(key.to_owned()));
    message
}
