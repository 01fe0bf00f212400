//! Runs the program of one request. What the person typed is only ever an argument, a variable or standard input for it,
//! never read by a shell.

use std::io::Write as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tellhal::command::{Answer, Request};
use tellhal::ends::Ends;
use tellhal::handler::Asked;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::folder::{FILES, Folder};
use crate::commands::group::{GRACE, Group};
use crate::commands::stop::Stop;

/// The shortest time between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(2);
/// The time for output that is still to be read after the program's end. A daemon that it left may keep the pipe open for ever.
const REST: Duration = Duration::from_millis(500);

/// Runs `argv` to its end, and tells how far it is meanwhile. It is ended when its time is over, when it is cancelled, and
/// together with tellhal.
pub(super) async fn run(argv: &[String], asked: &Asked, cancelled: &Notify, stop: &mut Stop) -> Answer {
    let begun = Instant::now();
    let output = Output::default();
    let files = match Folder::new() {
        Ok(folder) => folder,
        Err(error) => return Answer::failed(format!("cannot make a folder for files: {error}")),
    };
    let (child, group) = match start(argv, &asked.request, &output, &files) {
        Ok(started) => started,
        Err(error) => return Answer::failed(format!("cannot run {}: {error}", argv[0])),
    };
    let limit = Duration::from_millis(asked.request.timeout_ms);
    let mut ended = tokio::task::spawn_blocking({
        let (group, output) = (group.clone(), output.clone());
        move || wait(child, &group, &output)
    });
    let after = |what: &str| {
        format!("{what} after {}", humantime::format_duration(Duration::from_secs(begun.elapsed().as_secs())))
    };
    let why = tokio::select! {
        status = &mut ended => {
            return answer(status.map_err(std::io::Error::other).flatten(), &output, &files);
        }
        () = sleep(limit) => after("it did not end in time, and was ended"),
        () = cancelled.notified() => after("it was cancelled"),
        () = stop.requested() => "it was ended together with tellhal serve".into(),
        never = tell(asked, &output) => match never {},
    };
    group.signal(Signal::TERM);
    tokio::select! {
        _ = &mut ended => {}
        () = sleep(GRACE) => group.signal(Signal::KILL),
        () = stop.urged() => group.signal(Signal::KILL),
    }
    let text = output.take();
    Answer { fixed_width: true, ..Answer::failed(joined(&why, &text)) }
}

fn start(
    argv: &[String],
    request: &Request,
    output: &Output,
    files: &Folder,
) -> std::io::Result<(Child, Group)> {
    let (reader, writer) = std::io::pipe()?;
    let mut command = Command::new(&argv[0]);
    command.args(&argv[1..]).envs(environment(request)).env(FILES, files.path()).stdin(Stdio::piped());
    command.stdout(writer.try_clone()?).stderr(writer).process_group(0);
    let mut child = command.spawn()?;
    let group = Group::of(&child);
    let input = serde_json::to_vec(request)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read its input is not a failure; one that reads nothing must not hold us up.
        std::thread::spawn(move || stdin.write_all(&input));
    }
    let output = output.clone();
    std::thread::spawn(move || output.read(reader));
    Ok((child, group))
}

fn wait(mut child: Child, group: &Group, output: &Output) -> std::io::Result<ExitStatus> {
    let status = group.wait(&mut child)?;
    let until = Instant::now() + REST;
    while !output.is_whole() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(status)
}

async fn tell(asked: &Asked, output: &Output) -> std::convert::Infallible {
    let mut told = String::new();
    loop {
        sleep(PROGRESS).await;
        let line = output.last_line();
        if !line.is_empty() && line != told {
            asked.progress(&line).await;
            told = line;
        }
    }
}

fn answer(status: std::io::Result<ExitStatus>, output: &Output, files: &Folder) -> Answer {
    let (files, left_out) = files.take();
    let mut text = output.take();
    for line in left_out {
        text += &format!("\n{line}");
    }
    let exit_status = status.as_ref().ok().and_then(ExitStatus::code);
    let answer = match status {
        Ok(status) if status.success() => Answer::done(text),
        Ok(status) => {
            let how = match (status.code(), status.signal()) {
                (Some(code), _) => format!("exit status {code}"),
                (None, signal) => format!("ended by signal {}", signal.unwrap_or_default()),
            };
            Answer::failed(joined(&how, &text))
        }
        Err(error) => Answer::failed(format!("cannot wait for it: {error}")),
    };
    Answer { fixed_width: true, exit_status, files, ..answer }
}

fn joined(how: &str, text: &str) -> String {
    if text.is_empty() { how.into() } else { format!("{how}\n{text}") }
}

/// The output so far: its beginning, its end, and its last line.
#[derive(Clone, Default)]
struct Output(Arc<Mutex<Captured>>);

struct Captured {
    ends: Ends,
    line: Vec<u8>,
    last: String,
    is_whole: bool,
}

impl Default for Captured {
    fn default() -> Self {
        Captured { ends: Ends::new(0), line: Vec::new(), last: String::new(), is_whole: false }
    }
}

/// The longest last line that is kept, in bytes.
const LINE: usize = 400;

impl Output {
    fn read(&self, mut reader: impl std::io::Read) {
        let mut piece = [0; 8192];
        while let Ok(length @ 1..) = reader.read(&mut piece) {
            let mut captured = self.captured();
            captured.ends.push(&piece[..length]);
            captured.lines(&piece[..length]);
        }
        self.captured().is_whole = true;
    }

    fn captured(&self) -> std::sync::MutexGuard<'_, Captured> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_whole(&self) -> bool {
        self.captured().is_whole
    }

    fn last_line(&self) -> String {
        self.captured().last.clone()
    }

    fn take(&self) -> String {
        let ends = std::mem::replace(&mut self.captured().ends, Ends::new(0));
        ends.into_text().trim_end().to_owned()
    }
}

impl Captured {
    fn lines(&mut self, piece: &[u8]) {
        for byte in piece {
            match byte {
                b'\n' | b'\r' => {
                    let line = String::from_utf8_lossy(&self.line).trim().to_owned();
                    if !line.is_empty() {
                        self.last = line;
                    }
                    self.line.clear();
                }
                _ if self.line.len() < LINE => self.line.push(*byte),
                _ => {}
            }
        }
    }
}

fn environment(request: &Request) -> Vec<(&'static str, String)> {
    let values = [
        ("TELLHAL_REQUEST", request.id.clone()),
        ("TELLHAL_COMMAND", request.command.clone()),
        ("TELLHAL_PERSON", request.person.clone().unwrap_or_default()),
        ("TELLHAL_ROLES", request.roles.join(" ")),
        ("TELLHAL_ROOM", request.room.clone()),
    ];
    // An environment cannot hold NUL.
    values.map(|(name, value)| (name, value.replace('\0', "\u{fffd}"))).into()
}
