//! `tellhal run -t TAG -- COMMAND`: runs a command and sends messages about its start and end. The command
//! comes first: it starts before configuration and server are looked at, its exit status becomes ours, and a
//! failure to send does not affect it.

mod job;
mod output;
mod tail;
mod tell;

use std::path::Path;
use std::time::Duration;

use tellhal::message::{Message, Run as Report, Severity, Status};
use tellhal::{Spool, Tag};

use crate::cli::{About, Run};
use crate::config::{Flags, Settings};
use crate::exit::{Exit, Failure, Outcome, say};
use job::{Ended, How, Job};
use tell::Teller;

pub(crate) fn run(args: Run, flags: &Flags) -> Outcome {
    let tag: Tag = args.tag.parse().map_err(Failure::usage)?;
    let job = Job::start(&args.command, !args.no_output);
    let story =
        Story { tag, about: args.about, on_failure_only: args.on_failure_only, command: name(&args.command) };
    let running = job.as_ref().is_ok_and(|_| !args.on_failure_only);
    let teller = Teller::start(flags.clone(), story, running);
    let ended = match job {
        Ok(job) => job.wait(args.lines),
        Err(ended) => {
            if let How::NotStarted(_, why) = &ended.how {
                say(format!("cannot run {}: {why}", args.command[0].to_string_lossy()));
            }
            ended
        }
    };
    let status = ended.how.status();
    teller.finish(ended);
    Ok(Exit(status))
}

fn name(command: &[std::ffi::OsString]) -> String {
    Path::new(&command[0]).file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// The contents of messages about a command that are known before its end.
struct Story {
    tag: Tag,
    about: About,
    on_failure_only: bool,
    /// The program's name. Its arguments may be secret.
    command: String,
}

impl Story {
    fn started(&self, settings: &Settings) -> Message {
        let mut message = self.compose(settings, String::new(), Status::Started, Severity::Info);
        message.title.get_or_insert_with(|| format!("{} started", self.command));
        message.run = Some(Report { command: self.command.clone(), ..Report::default() });
        message
    }

    /// `None` when the command succeeded and only failures are sent.
    fn ended(&self, settings: &Settings, ended: Ended) -> Option<Message> {
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
        let mut message = super::compose(settings, self.tag.clone(), text, &self.about);
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

/// Sends the messages in the spool while the command runs.
async fn send_older(settings: &Settings, publisher: &tellhal::Publisher) {
    let deadline = tokio::time::Instant::now() + settings.timeout;
    if let Ok(path) = &settings.spool
        && let Ok(Some(spool)) = Spool::existing(path)
        && let Ok(flushed) = tellhal::flush::flush(publisher, &spool, deadline).await
    {
        super::send::say_about(&flushed, &spool);
    }
}
