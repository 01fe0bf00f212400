//! The command's process: started, signalled, waited for. It stays in our process group, so that a terminal
//! treats both as one; only signals that were sent to us alone are passed on.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::fs::{Access, access};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::{Cause, Origin};

use super::event::Event;
use super::output::{Capture, Copier, Outputs};
use crate::commands::stop::is_ignored;
use crate::exit::say;

/// The signals to end, reload or poke a process: HUP, INT, QUIT, USR1, USR2 and TERM.
const PASSED_ON: [i32; 6] = [1, 2, 3, 10, 12, 15];

/// The end of a command.
#[derive(Debug)]
pub(super) enum How {
    Exited(i32),
    Signaled(i32),
    /// With the exit status a shell would give, and the reason.
    NotStarted(i32, String),
}

impl How {
    pub(super) fn status(&self) -> i32 {
        match self {
            How::Exited(status) | How::NotStarted(status, _) => *status,
            How::Signaled(signal) => 128 + signal,
        }
    }
}

/// A command that has ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) how: How,
    pub(super) duration: Duration,
    /// The last lines of its output, with a mark where lines were cut.
    pub(super) text: String,
    pub(super) cut: u64,
}

/// A running command.
pub(super) struct Job {
    child: Child,
    started: Instant,
    outputs: Outputs,
    events: Receiver<Event>,
    /// `None` once the process may be gone and its number reused.
    target: Arc<Mutex<Option<Pid>>>,
}

impl Job {
    /// Starts `command`. Its output is captured where the command cannot notice that.
    pub(super) fn start(command: &[OsString], capture: Capture) -> Result<Job, Ended> {
        let started = Instant::now();
        let not_started = |mut error: std::io::Error| {
            if is_shortage(&error) {
                // The command comes first: it takes this process.
                say(format!("{error}: the command runs without tellhal, and no message tells its end"));
                error = Command::new(&command[0]).args(&command[1..]).exec();
            }
            let status = if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 };
            let how = How::NotStarted(status, error.to_string());
            Ended { how, duration: started.elapsed(), text: String::new(), cut: 0 }
        };
        let signals = signals();
        let (child, copiers) = spawn(command, capture).map_err(not_started)?;
        let (tell, events) = channel();
        let target = Arc::new(Mutex::new(i32::try_from(child.id()).ok().and_then(Pid::from_raw)));
        pass_signals_on(signals, target.clone(), tell.clone());
        Ok(Job { child, started, outputs: Outputs::copy(copiers, &tell), events, target })
    }

    /// Waits for the end of the command and of its output. A daemon it leaves behind is not waited for.
    pub(super) fn wait(mut self, lines: usize) -> Ended {
        let pid = *self.target.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(pid) = pid {
            // Not reaped yet, so that its process id is not reused while a signal may still be passed on.
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while let Err(Errno::INTR) = waitid(WaitId::Pid(pid), options) {}
        }
        *self.target.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = None;
        let how = match self.child.wait() {
            Ok(status) => how(status),
            Err(error) => How::NotStarted(126, error.to_string()),
        };
        let duration = self.started.elapsed();
        self.outputs.no_more_is_coming();
        for _ in 0..self.outputs.count() {
            if !matches!(self.events.recv(), Ok(Event::Copied)) {
                break;
            }
        }
        let (text, cut) = self.outputs.last_lines(lines);
        Ended { how, duration, text, cut }
    }
}

/// Starts `command`, a script without `#!` with `sh`, as shells, nice and timeout do.
fn spawn(command: &[OsString], capture: Capture) -> std::io::Result<(Child, Vec<Copier>)> {
    let start = |mut process: Command| {
        let copiers = Copier::attach(&mut process, capture)?;
        // Our copies of the pipes' writing ends are closed together with `process`.
        Ok((process.spawn()?, copiers))
    };
    let mut process = Command::new(&command[0]);
    process.args(&command[1..]);
    match start(process) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::NOEXEC) => {
            let mut shell = Command::new("/bin/sh");
            shell.arg("--").arg(found(&command[0])).args(&command[1..]);
            start(shell)
        }
        started => started,
    }
}

/// True if files, processes or memory are used up, so that another process cannot be started.
fn is_shortage(error: &std::io::Error) -> bool {
    let shortages = [Errno::MFILE, Errno::NFILE, Errno::AGAIN, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|error| shortages.contains(&error))
}

/// The file that is executed for `program`: the first one in `PATH`, unless it is a path itself.
fn found(program: &OsStr) -> PathBuf {
    if program.as_bytes().contains(&b'/') {
        return program.into();
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    let mut files = std::env::split_paths(&path).map(|folder| folder.join(program));
    let is_executable = |file: &PathBuf| access(file, Access::EXEC_OK).is_ok() && file.is_file();
    files.find(is_executable).unwrap_or_else(|| program.into())
}

fn how(status: std::process::ExitStatus) -> How {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => How::Exited(code),
        (None, signal) => How::Signaled(signal.unwrap_or(0)),
    }
}

/// Catches what is to be passed on, before the command starts: a signal in that moment would end us and leave the command alone. The
/// command inherits our caller's handling, because a caught signal is reset when it is executed; ignored ones follow later.
fn signals() -> std::io::Result<SignalsInfo<WithOrigin>> {
    SignalsInfo::new(PASSED_ON.into_iter().filter(|signal| !is_ignored(*signal)))
}

fn pass_signals_on(
    signals: std::io::Result<SignalsInfo<WithOrigin>>,
    target: Arc<Mutex<Option<Pid>>>,
    tell: Sender<Event>,
) {
    let Ok(mut signals) = signals else { return };
    for signal in PASSED_ON {
        // Adding one that is caught already changes nothing.
        let _ = signals.handle().add_signal(signal);
    }
    std::thread::spawn(move || {
        for origin in &mut signals {
            let pid = target.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            match *pid {
                Some(pid) => pass_on(pid, &origin),
                None => {
                    let _ = tell.send(Event::Signal);
                }
            }
        }
    });
}

/// Signals from the kernel, such as Ctrl-C, come from the terminal, which sent them to the command too.
fn pass_on(pid: Pid, origin: &Origin) {
    if matches!(origin.cause, Cause::Kernel) {
        return;
    }
    if let Some(signal) = Signal::from_named_raw(origin.signal) {
        let _ = kill_process(pid, signal);
    }
}
