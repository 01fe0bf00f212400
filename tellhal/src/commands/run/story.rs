//! The messages about a command: what its start and its end say.

use std::time::Duration;

use tellhal::Tag;
use tellhal::message::{Message, Run as Report, Severity, Status};

use super::job::{Ended, How};
use crate::cli::About;
use crate::config::Settings;

/// The contents of messages about a command that are known before its end.
pub(super) struct Story {
    pub(super) tag: Tag,
    pub(super) about: About,
    pub(super) on_failure_only: bool,
    /// The program's name. Its arguments may be secret.
    pub(super) command: String,
}

impl Story {
    pub(super) fn started(&self, settings: &Settings) -> Message {
        let mut message = self.compose(settings, String::new(), Status::Started, Severity::Info);
        message.title.get_or_insert_with(|| format!("{} started", self.command));
        message.run = Some(Report { command: self.command.clone(), ..Report::default() });
        message
    }

    /// `None` when the command succeeded and only failures are sent.
    pub(super) fn ended(&self, settings: &Settings, ended: Ended) -> Option<Message> {
        let well = ended.how.status() == 0;
        if well && self.on_failure_only {
            return None;
        }
        let (status, severity) = match well {
            true => (Status::Succeeded, Severity::Info),
            false => (Status::Failed, self.about.severity.unwrap_or(Severity::Error)),
        };
        let took = took(ended.duration);
        let (how, exit, signal) = match &ended.how {
            How::Exited(0) => (format!("succeeded in {took}"), Some(0), None),
            How::Exited(status) => (format!("failed with status {status} after {took}"), Some(*status), None),
            How::Signaled(signal) => {
                (format!("was ended by signal {signal} after {took}"), None, Some(*signal))
            }
            How::NotStarted(status, why) => (format!("could not be run: {why}"), Some(*status), None),
        };
        let mut message = self.compose(settings, ended.text, status, severity);
        message.title = Some(match &message.title {
            Some(title) => format!("{title}: {how}"),
            None => format!("{} {how}", self.command),
        });
        message.run = Some(Report {
            command: self.command.clone(),
            duration: Some(ended.duration.as_secs_f64()),
            exit,
            signal,
            cut: Some(ended.cut).filter(|cut| *cut > 0),
        });
        Some(message)
    }

    fn compose(&self, settings: &Settings, text: String, status: Status, severity: Severity) -> Message {
        let mut message = crate::commands::compose(settings, self.tag.clone(), text, &self.about);
        message.severity = severity;
        message.status = self.about.status.or(Some(status));
        // With one key, start and end belong together, and a success resolves the failure before it.
        message.key.get_or_insert_with(|| self.tag.to_string());
        message
    }
}

fn took(duration: Duration) -> String {
    match duration.as_secs() {
        0 => format!("{}ms", duration.as_millis()),
        1..60 => format!("{:.1}s", duration.as_secs_f64()),
        seconds => humantime::format_duration(Duration::from_secs(seconds)).to_string(),
    }
}
