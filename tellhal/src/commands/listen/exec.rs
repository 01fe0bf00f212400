//! Runs a command for one message. The text is only ever data for it: in its environment and on its standard
//! input, never in the line that the shell reads.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tellhal::Message;
use tokio::time::sleep;

use crate::commands::group::{GRACE, Group};
use crate::commands::stop::Stop;

/// Runs `command` with `sh`; fails unless it exits with 0. It is ended after `limit`, and when tellhal is to end. On
/// a thread of its own: tokio's way to wait for a process would make every start of tellhal set up signals.
pub(super) async fn run(
    command: &str,
    message: &Message,
    limit: Option<Duration>,
    stop: &mut Stop,
) -> Result<(), String> {
    let json = serde_json::to_vec(message).map_err(|error| error.to_string())?;
    let failed = |error: std::io::Error| format!("cannot run {command:?}: {error}");
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", command]).envs(environment(message)).stdin(Stdio::piped());
    // A group of its own, so that everything the shell has started can be ended with it.
    let child = shell.process_group(0).spawn().map_err(failed)?;
    let group = Group::of(&child);
    let mut ended = tokio::task::spawn_blocking({
        let group = group.clone();
        move || feed(&group, child, &json)
    });
    let over = async {
        match limit {
            Some(limit) => sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    let why = tokio::select! {
        ended = &mut ended => {
            let status = ended.map_err(std::io::Error::other).flatten().map_err(failed)?;
            return if status.success() { Ok(()) } else { Err(format!("the command ended with {status}")) };
        }
        () = over => {
            let limit = humantime::format_duration(limit.unwrap_or_default());
            format!("the command did not end within {limit} and was ended")
        }
        () = stop.requested() => "the command was ended together with tellhal".into(),
    };
    group.signal(Signal::TERM);
    tokio::select! {
        _ = &mut ended => return Err(why),
        () = sleep(GRACE) => {}
        () = stop.urged() => {}
    }
    group.signal(Signal::KILL);
    let _ = ended.await;
    Err(why)
}

/// Gives the command its input and waits for its end.
fn feed(group: &Group, mut child: Child, input: &[u8]) -> std::io::Result<ExitStatus> {
    if let Some(mut stdin) = child.stdin.take() {
        // A command that does not read its input is not a failure.
        let _ = stdin.write_all(input);
    }
    group.wait(&mut child)
}

/// The source is `TELLHAL_FROM`: `TELLHAL_SOURCE` would make a `tellhal` in the command send in its name.
fn environment(message: &Message) -> Vec<(&'static str, String)> {
    let status = message.status.map(|status| status.to_string());
    let optional = |text: &Option<String>| text.clone().unwrap_or_default();
    let values = [
        ("TELLHAL_ID", message.id.clone()),
        ("TELLHAL_TAG", message.tag.to_string()),
        ("TELLHAL_FROM", message.source.clone()),
        ("TELLHAL_HOST", optional(&message.host)),
        ("TELLHAL_USER", optional(&message.user)),
        ("TELLHAL_TIME", message.time.to_string()),
        ("TELLHAL_SEVERITY", message.severity.to_string()),
        ("TELLHAL_TITLE", optional(&message.title)),
        ("TELLHAL_TEXT", message.text.clone()),
        ("TELLHAL_KEY", optional(&message.key)),
        ("TELLHAL_STATUS", status.unwrap_or_default()),
    ];
    // An environment cannot hold NUL.
    values.map(|(name, value)| (name, value.replace('\0', "\u{fffd}"))).into()
}
