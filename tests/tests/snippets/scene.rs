//! A host with tellhal, the snippets installed on it, and the messages that they make.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

use relay::delivery::{Content, Delivery, Id, Place};
use relay::render::View;
use service::zone::Zone;
use tellhal::{Message, Timestamp};
use tempfile::TempDir;
use tests::readme::{self, same_each_time};
use tests::wait::SOON;
use tests::{NatsServer, find};

/// The program's place in the snippets.
const TELLHAL: &str = "/usr/bin/tellhal";

pub(super) fn folder() -> PathBuf {
    find::repository().join("deploy/snippets")
}

/// Writes a program of sh, which anybody may run.
pub(super) fn program(path: &Path, script: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// A host `db1`, and the log.
pub(super) struct Scene {
    nats: NatsServer,
    dir: TempDir,
}

impl Scene {
    pub(super) async fn start() -> Scene {
        let (nats, dir) = (NatsServer::start().await, TempDir::new().unwrap());
        nats.create_log().await;
        let scene = Scene { nats, dir };
        // Other users' programs tell too.
        std::fs::create_dir(scene.path("bin")).unwrap();
        program(
            &scene.path("bin/tellhal"),
            &format!(
                "export TELLHAL_URL={} TELLHAL_SPOOL={}/spool-$(id -u) TELLHAL_SOURCE=db1\nexec {} \"$@\"",
                scene.nats.url(),
                scene.dir.path().display(),
                find::ours("tellhal").canonicalize().unwrap().display()
            ),
        );
        scene
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The same as text.
    pub(super) fn at(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// The text of a snippet, with its programs in this scene's folder, and with other addresses.
    pub(super) fn text(&self, snippet: &str, others: &[(&str, &str)]) -> String {
        let path = folder().join(snippet);
        let mut text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{snippet}: {error}"));
        for (from, to) in others {
            assert!(text.contains(from), "{from} in {snippet}");
            text = text.replace(from, to);
        }
        let here = format!("{}/", self.dir.path().display());
        text.replace(TELLHAL, &self.at("bin/tellhal")).replace("/usr/local/sbin/", &here)
    }

    /// Copies a snippet into this scene's folder.
    pub(super) fn install(&self, snippet: &str, others: &[(&str, &str)]) -> PathBuf {
        let (from, to) = (folder().join(snippet), self.path(snippet.rsplit('/').next().unwrap()));
        std::fs::write(&to, self.text(snippet, others)).unwrap();
        std::fs::set_permissions(&to, std::fs::metadata(from).unwrap().permissions()).unwrap();
        to
    }

    /// The command of a line for cron, with this scene's tellhal.
    pub(super) fn cron_command(&self, snippet: &str, others: &[(&str, &str)]) -> String {
        let text = self.text(snippet, others);
        let line = text.lines().rfind(|line| line.contains(" tellhal run ")).unwrap();
        let command = line.splitn(7, ' ').nth(6).unwrap();
        command.replacen("tellhal", &self.at("bin/tellhal"), 1)
    }

    /// Runs a command to its end, here.
    pub(super) async fn run(&self, command: &mut Command) -> Output {
        command.current_dir(self.dir.path());
        let mut command = std::mem::replace(command, Command::new("true"));
        tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap()
    }

    /// Runs a line of sh, which must succeed.
    pub(super) async fn sh(&self, line: &str) {
        let output = self.run(sh(line).env("PATH", self.on_path())).await;
        assert!(output.status.success(), "{line}: {}", text_of(&output));
    }

    /// A search path with this scene's programs first.
    pub(super) fn on_path(&self) -> String {
        format!("{}:{}:/usr/sbin:/sbin", self.at("bin"), std::env::var("PATH").unwrap())
    }

    /// The lines that a room shows of all messages so far, with the paths that the snippets have as they stand.
    pub(super) async fn shown(&self, others: &[(&str, &str)]) -> Vec<String> {
        let stream = self.nats.jetstream().await.get_stream("HAL_OPS").await.unwrap();
        let mut lines = Vec::new();
        for sequence in 1..=stream.cached_info().state.last_sequence {
            let raw = stream.get_raw_message(sequence).await.unwrap();
            let words: Vec<&str> = raw.subject.splitn(4, '.').collect();
            let read = tellhal::message::read(words[2], words[3], &raw.payload, sequence, Timestamp::now());
            assert!(read.marks.is_empty(), "{:?}", read.marks);
            lines.extend(lines_of(read.message));
        }
        let here = self.dir.path().display().to_string();
        let as_it_stands = |line: String| {
            let line = others.iter().fold(line, |line, (from, to)| line.replace(to, from));
            line.replace(&format!("{here}/bin/tellhal"), TELLHAL).replace(&here, "/usr/local/sbin")
        };
        lines.into_iter().map(as_it_stands).collect()
    }

    /// Waits until the messages are those of the README's section; `others` are the addresses that differ.
    pub(super) async fn shows(&self, section: &str, others: &[(&str, &str)]) {
        self.shows_of("snippets", section, others).await;
    }

    /// The same for the README of a folder of `deploy`.
    pub(super) async fn shows_of(&self, folder: &str, section: &str, others: &[(&str, &str)]) {
        let readme = find::repository().join("deploy").join(folder).join("README.md");
        let text = std::fs::read_to_string(readme).unwrap();
        let wanted: Vec<String> =
            readme::shown(readme::section(&text, section)).map(same_each_time).collect();
        assert!(!wanted.is_empty(), "{section} shows no message");
        let end = Instant::now() + SOON;
        loop {
            let lines = self.shown(others).await;
            let shown: Vec<String> = lines.iter().map(|line| same_each_time(line)).collect();
            if shown == wanted {
                return;
            }
            let shown = lines.join("\n");
            assert!(Instant::now() < end, "{section} shows\n{shown}\ninstead of\n{}", wanted.join("\n"));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The number of messages so far.
    pub(super) async fn count(&self) -> u64 {
        self.nats.messages("HAL_OPS").await
    }
}

fn lines_of(message: Message) -> Vec<String> {
    let delivery = Delivery {
        id: Id::of_message(&message.id, "room"),
        room: "room".into(),
        place: Place::default(),
        at: Timestamp(0),
        routes: Vec::new(),
        marks: Vec::new(),
        content: Content::Message(Arc::new(message)),
    };
    View::of(&delivery, &Zone::default()).lines()
}

/// A line of sh, with a small environment, as daemons give one.
pub(super) fn sh(line: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", line]).env_clear().env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin");
    command
}

pub(super) fn text_of(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// True if this machine lets us mount a folder over another for one program alone; where not, the program itself is not tried.
pub(super) fn may_mount(what: &str) -> bool {
    let try_it = Command::new("unshare").args(["--mount", "mount", "-t", "tmpfs", "none", "/mnt"]).output();
    let may = try_it.is_ok_and(|output| output.status.success());
    if !may {
        eprintln!("this machine allows no mount namespace: NOT tried with {what} itself");
    }
    may
}
