//! A real nats-server and the real binary, for the tests beside this folder. Each test has its own server,
//! its own folder and its own port.
#![allow(dead_code, clippy::unwrap_used)]

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use async_nats::jetstream::stream::{Config, DiscardPolicy};
use serde_json::Value;
use tests::{NatsOptions, NatsServer};

/// A place with a server, a home and a spool.
pub(crate) struct Place {
    pub(crate) server: NatsServer,
    pub(crate) dir: tempfile::TempDir,
    /// The login with which the tests themselves connect.
    pub(crate) login: String,
}

impl Place {
    /// A place with a log.
    pub(crate) fn new() -> Place {
        let place = Place::bare("");
        place.make_stream("HAL_OPS", -1);
        place
    }

    /// A place without a log.
    pub(crate) fn bare(config: &str) -> Place {
        Place::with(options(config))
    }

    /// A place without a log, with a server of these options.
    pub(crate) fn with(options: NatsOptions) -> Place {
        let dir = tempfile::tempdir().unwrap();
        let server = block_on(NatsServer::with(options));
        Place { server, dir, login: String::new() }
    }

    /// Suspends the server until `self.server.process().resume()`.
    pub(crate) fn pause_server(&mut self) {
        block_on(self.server.process().pause());
    }

    /// Starts the server again on its port and data.
    pub(crate) fn restart_server(&mut self) {
        block_on(self.server.restart());
    }

    /// Makes the running server read `config`.
    pub(crate) fn reload_server(&mut self, config: &str) {
        self.server.reconfigure(&options(config));
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn spool(&self) -> PathBuf {
        self.path("spool")
    }

    /// The names in a folder of the spool.
    pub(crate) fn spooled(&self, folder: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.spool().join(folder)).into_iter().flatten();
        let mut names: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        names.sort();
        names
    }

    pub(crate) fn tellhal(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tellhal"));
        command.args(args);
        self.environment(&mut command);
        command
    }

    /// Our environment, and no other, for a command that calls tellhal.
    pub(crate) fn environment(&self, command: &mut Command) {
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.dir.path())
            .env("TELLHAL", env!("CARGO_BIN_EXE_tellhal"))
            .env("TELLHAL_URL", self.server.url())
            .env("TELLHAL_SPOOL", self.spool())
            .env("TELLHAL_SOURCE", "db1")
            .env("TELLHAL_TIMEOUT", "5s")
            .stdin(Stdio::null());
    }

    pub(crate) fn shell(&self, script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        self.environment(&mut command);
        command
    }

    fn in_jetstream<T>(&self, work: impl AsyncFnOnce(async_nats::jetstream::Context) -> T) -> T {
        block_on(async {
            let mut options = async_nats::ConnectOptions::new();
            if let Some((user, password)) = self.login.split_once(':') {
                options = options.user_and_password(user.into(), password.into());
            }
            let client = options.connect(self.server.url()).await.unwrap();
            work(async_nats::jetstream::new(client)).await
        })
    }

    pub(crate) fn make_stream(&self, name: &str, max_bytes: i64) {
        let config = Config {
            name: name.into(),
            subjects: vec!["hal.ops.>".into(), "hal.ctl.>".into()],
            max_bytes,
            discard: DiscardPolicy::New,
            ..Config::default()
        };
        self.in_jetstream(async |context| context.create_stream(config).await.map(drop).unwrap());
    }

    pub(crate) fn update_stream(&self, max_bytes: i64) {
        self.in_jetstream(async |context| {
            let mut config = context.get_stream("HAL_OPS").await.unwrap().cached_info().config.clone();
            config.max_bytes = max_bytes;
            context.update_stream(config).await.map(drop).unwrap();
        });
    }

    pub(crate) fn delete_stream(&self, name: &str) {
        self.in_jetstream(async |context| context.delete_stream(name).await.map(drop).unwrap());
    }

    /// All entries of the log: subject, `Nats-Msg-Id`, body.
    pub(crate) fn log(&self) -> Vec<(String, String, Value)> {
        self.in_jetstream(async |context| {
            let stream = context.get_stream("HAL_OPS").await.unwrap();
            let last = stream.cached_info().state.last_sequence;
            let mut entries = Vec::new();
            for sequence in 1..=last {
                let message = stream.get_raw_message(sequence).await.unwrap();
                let id = message.headers.get("Nats-Msg-Id").map(ToString::to_string).unwrap_or_default();
                let body = serde_json::from_slice(&message.payload).unwrap();
                entries.push((message.subject.to_string(), id, body));
            }
            entries
        })
    }

    /// The bodies in the log.
    pub(crate) fn bodies(&self) -> Vec<Value> {
        self.log().into_iter().map(|(_, _, body)| body).collect()
    }

    /// The texts in the log.
    pub(crate) fn texts(&self) -> Vec<String> {
        self.bodies().iter().map(|body| body["text"].as_str().unwrap().to_owned()).collect()
    }
}

/// Without users unless `config` has some: what hosts may is in `tests/tests/fleet.rs`, and here servers of any kind are met.
fn options(config: &str) -> NatsOptions {
    NatsOptions { open: true, extra: config.into(), ..NatsOptions::default() }
}

/// Runs a future to its end. The tests themselves have no runtime: they are about a program that they wait for.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Runs the command with `input` on standard input.
pub(crate) fn feed(command: &mut Command, input: &[u8]) -> Output {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || {
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    output
}

/// Runs the command; its exit status and standard error.
pub(crate) fn ended(command: &mut Command) -> (i32, String) {
    let output = command.output().unwrap();
    (status(&output), stderr(&output))
}

pub(crate) fn status(output: &Output) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    output.status.code().unwrap_or_else(|| -output.status.signal().unwrap())
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Reads one line of a child's output.
pub(crate) fn line(from: &mut impl Read) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while from.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap()
}
