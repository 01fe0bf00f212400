//! Passes a command's output through and remembers its last lines. The command must not notice: a terminal
//! stays a terminal, and a standard output that is a file or a pipe of its own stays that file or pipe.

use std::fs::File;
use std::io::{ErrorKind, IsTerminal, PipeReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FileType, fstat};

use super::event::Event;
use super::tail::Tail;

/// Bytes passed through at most after the command's end: the capacity of a pipe. A daemon that it left
/// behind could write for ever.
const LEFT_IN_PIPE: usize = 1024 * 1024;

/// The outputs that become a message's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Capture {
    Nothing,
    /// All but a standard output that is data: it goes to a file or a pipe of its own.
    Messages,
    All,
}

/// One of the command's outputs, copied to our own output.
pub(super) struct Copier {
    from: PipeReader,
    to: File,
}

impl Copier {
    /// Puts pipes between the command and our own outputs, where the command cannot notice that.
    pub(super) fn attach(process: &mut Command, capture: Capture) -> std::io::Result<Vec<Copier>> {
        if capture == Capture::Nothing {
            return Ok(Vec::new());
        }
        let (stdout, stderr) = (std::io::stdout(), std::io::stderr());
        let (out, err) = (fstat(&stdout)?, fstat(&stderr)?);
        let same = (out.st_dev, out.st_ino) == (err.st_dev, err.st_ino);
        // The rows of `… | gzip` and `$(…)` are for the next program, not for a chat.
        let goes_on = matches!(
            FileType::from_raw_mode(out.st_mode),
            FileType::RegularFile | FileType::Fifo | FileType::Socket
        );
        let is_data = goes_on && !same && capture == Capture::Messages;
        let capture_out = !stdout.is_terminal() && !is_data;
        let capture_err = !stderr.is_terminal();
        let mut copiers = Vec::new();
        if capture_out {
            let (from, to) = std::io::pipe()?;
            // One pipe for both keeps their lines in order.
            if same {
                process.stderr(Stdio::from(to.try_clone()?));
            }
            process.stdout(Stdio::from(to));
            copiers.push(Copier { from, to: stdout.as_fd().try_clone_to_owned()?.into() });
        }
        if capture_err && !(capture_out && same) {
            let (from, to) = std::io::pipe()?;
            process.stderr(Stdio::from(to));
            copiers.push(Copier { from, to: stderr.as_fd().try_clone_to_owned()?.into() });
        }
        Ok(copiers)
    }

    /// Copies until the last writer is gone, or until the pipe is empty after `over` was closed. When our own
    /// output has no reader any more, the command's output has none either.
    fn copy(mut self, over: &OwnedFd, tail: &Mutex<Tail>) -> std::io::Result<()> {
        let mut chunk = vec![0; 64 * 1024];
        let mut after = 0;
        loop {
            let mut fds = [PollFd::new(&self.from, PollFlags::IN), PollFd::new(over, PollFlags::IN)];
            match poll(&mut fds, None) {
                Err(rustix::io::Errno::INTR) => continue,
                done => done?,
            };
            let (readable, is_over) = (!fds[0].revents().is_empty(), !fds[1].revents().is_empty());
            if is_over && (!readable || after >= LEFT_IN_PIPE) {
                return Ok(());
            }
            if !readable {
                continue;
            }
            let n = match self.from.read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if is_over {
                after += n;
            }
            tail.lock().unwrap_or_else(PoisonError::into_inner).push(&chunk[..n]);
            self.write(&chunk[..n])?;
        }
    }

    /// Writes all bytes, even to a non-blocking standard output.
    fn write(&mut self, mut bytes: &[u8]) -> std::io::Result<()> {
        while !bytes.is_empty() {
            match self.to.write(bytes) {
                Ok(n) => bytes = &bytes[n..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let _ = poll(&mut [PollFd::new(&self.to, PollFlags::OUT)], None);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// All outputs of one command.
pub(super) struct Outputs {
    tail: Arc<Mutex<Tail>>,
    count: usize,
    /// Closed when the command has ended.
    running: Option<std::io::PipeWriter>,
}

impl Outputs {
    /// Copies each output in a thread of its own, and sends an event at the end of each.
    pub(super) fn copy(copiers: Vec<Copier>, tell: &Sender<Event>) -> Outputs {
        let mut outputs = Outputs { tail: Arc::default(), count: 0, running: None };
        let Ok((over, running)) = std::io::pipe() else { return outputs };
        outputs.running = Some(running);
        for copier in copiers {
            let Ok(over) = over.as_fd().try_clone_to_owned() else { continue };
            let (tail, tell) = (outputs.tail.clone(), tell.clone());
            outputs.count += 1;
            std::thread::spawn(move || {
                let _ = copier.copy(&over, &tail);
                let _ = tell.send(Event::Copied);
            });
        }
        outputs
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn no_more_is_coming(&mut self) {
        self.running = None;
    }

    /// The last lines of all outputs, and the number of bytes before them.
    pub(super) fn last_lines(&self, lines: usize) -> (String, u64) {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner).last_lines(lines)
    }
}
