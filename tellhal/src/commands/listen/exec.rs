//! Runs a command for one message. The text is only ever data for it: in its environment and on its standard
//! input, never in the line that the shell reads.

use std::io::Write;
use std::process::{Command, Stdio};

use tellhal::Message;

/// Runs `command` with `sh`; fails unless it exits with 0. On a thread of its own: tokio's way to wait for
/// a process would make every start of tellhal set up signals.
pub(super) async fn run(command: &str, message: &Message) -> Result<(), String> {
    let json = serde_json::to_vec(message).map_err(|error| error.to_string())?;
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", command]).envs(environment(message)).stdin(Stdio::piped());
    let ended = tokio::task::spawn_blocking(move || feed(shell, &json)).await;
    match ended.map_err(|error| format!("the command was lost: {error}"))? {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("the command ended with {status}")),
        Err(error) => Err(format!("cannot run {command:?}: {error}")),
    }
}

fn feed(mut command: Command, input: &[u8]) -> std::io::Result<std::process::ExitStatus> {
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that does not read its input is not a failure.
        let _ = stdin.write_all(input);
    }
    child.wait()
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
