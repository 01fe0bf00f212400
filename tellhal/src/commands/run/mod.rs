//! `tellhal run -t TAG -- COMMAND`: runs a command and sends messages about its start and end. The command
//! comes first: it starts before configuration and server are looked at, its exit status becomes ours, and a
//! failure to send does not affect it.

mod event;
mod job;
mod output;
mod story;
mod tail;
mod tell;

use std::path::Path;

use signal_hook::consts::SIGINT;
use tellhal::Tag;

use crate::cli::{About, Run};
use crate::config::Flags;
use crate::exit::{Exit, Failure, Outcome, say};
use job::{How, Job};
use output::Capture;
use story::Story;
use tell::Teller;

pub(crate) fn run(args: Run, flags: &Flags) -> Outcome {
    let tag: Tag = args.tag.parse().map_err(Failure::usage)?;
    let capture = match (args.no_output, args.output) {
        (true, _) => Capture::Nothing,
        (false, false) => Capture::Messages,
        (false, true) => Capture::All,
    };
    let job = Job::start(&args.command, capture);
    let about = About { status: None, ..args.about };
    if args.about.status.is_some() {
        say("--status has no effect: it is that of the command");
    }
    let story = Story { tag, about, on_failure_only: args.on_failure_only, command: name(&args.command) };
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
    let interrupted = matches!(ended.how, How::Signaled(SIGINT));
    teller.finish(ended);
    if interrupted {
        // A shell stops its loop only if the command has died of Ctrl-C, whatever status it has.
        let _ = signal_hook::low_level::emulate_default_handler(SIGINT);
    }
    Ok(Exit(status))
}

fn name(command: &[std::ffi::OsString]) -> String {
    Path::new(&command[0]).file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}
