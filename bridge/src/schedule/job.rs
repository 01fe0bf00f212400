//! One schedule of the configuration, and the message that it makes. Pure.

use std::time::Duration;

use tellhal::message::{Message, Severity, Status};
use tellhal::tag::Tag;

use super::record::{Firing, ON_TIME, Rule};
use super::when::When;
use crate::hash::hash;
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

    /// The message that nobody knows what came of its command. It has an id of its own, made of the firing's: the log takes it
    /// once, whichever bridge tells it, and takes the answer too if that comes after all.
    pub(crate) fn unknown(&self, firing: &Firing) -> Message {
        let command = self.command.as_deref().unwrap_or_default();
        let text = format!("{command}: outcome unknown, its bridge does not answer; it is not run again");
        let mut message = self.answered(firing, &text, true);
        message.id = hash(&format!("{} unknown", firing.id));
        message
    }
}

#[cfg(test)]
mod tests {
    use tellhal::Timestamp;

    use super::*;

    #[test]
    fn an_answer_that_comes_after_all_has_another_id_than_the_unknown_outcome() {
        let at: Timestamp = "2026-11-28T08:00:00Z".parse().unwrap();
        let firing = Firing { due: at, at, id: "0".repeat(32), missed: 0, by: None };
        let job = Job {
            name: "nightly".into(),
            when: When::Every(Duration::from_secs(60)),
            catch_up: Duration::ZERO,
            tag: "report".parse().unwrap(),
            title: None,
            text: String::new(),
            severity: Severity::Info,
            status: None,
            key: None,
            command: Some("disk db1".into()),
        };
        let (unknown, again) = (job.unknown(&firing), job.unknown(&firing));
        assert_eq!(unknown.id, again.id, "two bridges tell it once");
        assert_ne!(unknown.id, job.answered(&firing, "12 % free", false).id);
        assert!(unknown.text.starts_with("disk db1: outcome unknown"), "{}", unknown.text);
    }
}
