//! One schedule of the configuration, and the message that it makes. Pure.

use std::time::Duration;

use tellhal::message::{Message, Severity, Status};
use tellhal::tag::Tag;

use super::record::{Firing, ON_TIME, Rule};
use super::when::When;
use crate::outbox::SOURCE;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Job {
    pub(crate) name: String,
    pub(crate) when: When,
    /// The age up to which a missed due time is caught up.
    pub(crate) catch_up: Duration,
    pub(crate) tag: Tag,
    pub(crate) title: Option<String>,
    pub(crate) text: String,
    pub(crate) severity: Severity,
    pub(crate) status: Option<Status>,
    pub(crate) key: Option<String>,
    /// A chat command, as it would be typed; its answer is the message's text.
    pub(crate) command: Option<String>,
}

impl Job {
    pub(crate) fn rule(&self) -> Rule<'_> {
        Rule { when: &self.when, catch_up: self.catch_up }
    }

    /// The message of a due time.
    pub(crate) fn message(&self, firing: &Firing) -> Message {
        let mut message = Message::new(SOURCE, self.tag.clone(), self.text.as_str());
        message.id.clone_from(&firing.id);
        message.severity = self.severity;
        message.title.clone_from(&self.title);
        message.status = self.status;
        message.key.clone_from(&self.key);
        let mut field = |name: &str, value: String| message.fields.insert(name.to_owned(), value);
        field("schedule", self.name.clone());
        if let Some(by) = &firing.by {
            field("by", by.clone());
        }
        if firing.at.since(firing.due) > ON_TIME {
            field("due", firing.due.to_string());
        }
        if firing.missed > 0 {
            field("missed", firing.missed.to_string());
        }
        message
    }

    /// The message with the answer to its command.
    pub(crate) fn answered(&self, firing: &Firing, text: &str, failed: bool) -> Message {
        let mut message = self.message(firing);
        text.clone_into(&mut message.text);
        if failed {
            message.severity = self.severity.max(Severity::Error);
            message.status = Some(Status::Failed);
        }
        message
    }
}
