//! A program's own words about its arguments: what it prints when it is run with `--hal-describe`. They are shown and give the
//! values their places; whether somebody may give the command with them is decided by the bridge's rules.

use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::Signal;
use serde::Deserialize;

use crate::commands::group::Group;
use crate::config::{Arg, Serve, placeholder};

/// The flag, which is the last argument of the program.
const FLAG: &str = "--hal-describe";
/// The longest time for the answer, and its most bytes.
const PATIENCE: Duration = Duration::from_secs(10);
const LONGEST: u64 = 64 * 1024;

/// The answer.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Description {
    help: String,
    args: Vec<Arg>,
}

/// Asks the program, if it is to be asked. What is written about the command counts more.
pub(super) fn describe(serve: &mut Serve) -> Result<(), String> {
    if !serve.describe {
        return Ok(());
    }
    let answer = ask(&serve.exec)?;
    let description: Description = serde_json::from_slice(&answer).map_err(|error| {
        format!("its answer is not {{\"help\": \"…\", \"args\": [{{\"name\": \"…\"}}]}} in JSON: {error}")
    })?;
    if serve.help.is_empty() {
        serve.help = description.help.lines().next().unwrap_or_default().to_owned();
    }
    serve.args.get_or_insert(description.args);
    match serve.problems().into_iter().next() {
        Some((key, what)) => Err(format!("{key}: {what}")),
        None => Ok(()),
    }
}

fn ask(exec: &[String]) -> Result<Vec<u8>, String> {
    let words = exec[1..].iter().filter(|word| placeholder(word).is_none());
    let mut command = Command::new(&exec[0]);
    command.args(words).arg(FLAG).stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0);
    let mut child = command.spawn().map_err(|error| format!("cannot run {}: {error}", exec[0]))?;
    let group = Group::of(&child);
    let (sender, ended) = mpsc::channel();
    std::thread::spawn({
        let group = group.clone();
        move || {
            let mut output = Vec::new();
            let read = child.stdout.take().map(|pipe| pipe.take(LONGEST + 1).read_to_end(&mut output));
            let status = group.wait(&mut child);
            let _ = sender.send((read.transpose().and(status), output));
        }
    });
    let ended = ended.recv_timeout(PATIENCE);
    group.signal(Signal::KILL);
    match ended {
        Err(_) => Err(format!("no end within {} s", PATIENCE.as_secs())),
        Ok((Err(error), _)) => Err(error.to_string()),
        Ok((Ok(_), output)) if output.len() as u64 > LONGEST => Err(format!("more than {LONGEST} bytes")),
        Ok((Ok(status), _)) if !status.success() => Err(status.to_string()),
        Ok((Ok(_), output)) => Ok(output),
    }
}
