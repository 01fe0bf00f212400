//! The relay's own messages: ordinary ops messages of the source `relay`, so that they are routed, kept and shown like
//! all others. Never about the room that they would go to.

use std::time::Duration;

use tellhal::message::{Message, Severity, Status};
use tellhal::tag::Tag;

use crate::bus::Bus;

/// The source of the relay's own messages.
pub const SOURCE: &str = "relay";
const PATIENCE: Duration = Duration::from_secs(5);

/// Appends the relay's own messages to the log.
#[derive(Clone)]
pub struct Notices {
    bus: Bus,
    /// The room of messages that no route takes.
    default_room: String,
}

impl Notices {
    pub fn new(bus: Bus, default_room: String) -> Self {
        Notices { bus, default_room }
    }

    /// A room refuses its posts.
    pub async fn room_broken(&self, room: &str, reason: &str) {
        let text = format!("room {room} refuses messages; they become dead letters: {reason}");
        self.about_room(room, "relay.room.broken", Severity::Error, Status::Failed, text).await;
    }

    /// A room takes messages again.
    pub async fn room_recovered(&self, room: &str) {
        let text = format!("room {room} takes messages again");
        self.about_room(room, "relay.room.recovered", Severity::Notice, Status::Resolved, text).await;
    }

    /// A changed configuration is refused, the old one stays in force.
    pub async fn config_refused(&self, problems: &str) {
        let text = format!("the changed configuration is refused, the old one stays in force\n{problems}");
        self.tell("relay.config.refused", Severity::Error, Some(Status::Failed), Some("config"), text).await;
    }

    async fn about_room(&self, room: &str, tag: &str, severity: Severity, status: Status, text: String) {
        if room == self.default_room {
            // The notice would go to the room that is broken.
            tracing::error!(room, text, "the default room itself is broken or recovered");
            return;
        }
        self.tell(tag, severity, Some(status), Some(room), text).await;
    }

    async fn tell(
        &self,
        tag: &str,
        severity: Severity,
        status: Option<Status>,
        key: Option<&str>,
        text: String,
    ) {
        let mut message = Message::new(SOURCE, Tag::nearest(tag), text);
        message.severity = severity;
        message.status = status;
        message.key = key.map(str::to_owned);
        let Ok(payload) = serde_json::to_vec(&message) else { return };
        let subject = self.bus.names.ops(SOURCE, &message.tag);
        match tokio::time::timeout(PATIENCE, self.bus.append(subject, &message.id, payload)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::error!(text = message.text, error = format!("{error:#}"), "notice not sent")
            }
            Err(_) => tracing::error!(text = message.text, "notice not sent in time"),
        }
    }
}
