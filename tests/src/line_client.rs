//! A client in another language: takes lines on standard input and writes what it receives as JSON, a line each.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde::de::DeserializeOwned;

/// A running client; killed when dropped.
#[derive(Debug)]
pub struct LineClient<T> {
    child: Child,
    stdin: ChildStdin,
    received: Arc<Mutex<Vec<T>>>,
}

impl<T> Drop for LineClient<T> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl<T: DeserializeOwned + Clone + Send + 'static> LineClient<T> {
    /// Runs `command`.
    pub fn start(mut command: Command) -> LineClient<T> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let stdin = child.stdin.take().expect("a pipe");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let received = Arc::new(Mutex::new(Vec::new()));
        let client = LineClient { child, stdin, received: received.clone() };
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let item = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
                received.lock().expect("no panic").push(item);
            }
        });
        client
    }

    /// Sends one line.
    pub fn send(&mut self, line: &str) {
        assert!(!line.contains('\n'), "{line}");
        writeln!(self.stdin, "{line}").and_then(|()| self.stdin.flush()).expect("the client lives");
    }

    /// All that it has received so far.
    pub fn received(&self) -> Vec<T> {
        self.received.lock().expect("no panic").clone()
    }
}
