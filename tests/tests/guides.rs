//! The README and the guides say what is so: configurations are given to the programs that check them, commands are run on a site
//! with nats-server, relay and bridge, and links lead somewhere.
//!
//! A block of TOML begins with the name of its file: `# relay.toml`. The blocks of one file in one document are one configuration. A block of
//! commands is not run if the line before it is `<!-- not run: REASON -->`; with `<!-- until Ctrl-C -->` it must
//! run until it is stopped.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process_group};
use tests::markdown::{Block, anchors, blocks, links};
use tests::wait::SOON;
use tests::{Bridge, NatsServer, Port, Process, Relay, find, tellhal, wait_until};

const GUIDES: &str = "deploy/guides";
const TOKEN: &str = "kZ3pQ9vX2mB7nR4tY8wL1c";

fn read(name: &str) -> String {
    let path = find::repository().join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All Markdown files of the repository.
fn documents() -> Vec<String> {
    let (mut names, mut folders) = (Vec::new(), vec![find::repository()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let is_ours = !name.starts_with('.') && !["target", "node_modules"].contains(&name);
            if path.is_dir() && is_ours {
                folders.push(path);
            } else if name.ends_with(".md") {
                names.push(path.strip_prefix(find::repository()).unwrap().display().to_string());
            }
        }
    }
    names
}

/// A folder for one document: its configurations, our programs, and programs that do as if.
struct Scratch {
    dir: tempfile::TempDir,
    name: &'static str,
    blocks: Vec<Block>,
    /// Texts that are different here, such as addresses.
    others: Vec<(String, String)>,
}

impl Scratch {
    fn of(name: &'static str) -> Scratch {
        let dir = tempfile::tempdir().unwrap();
        let folder = |part: &str| {
            let path = dir.path().join(part);
            std::fs::create_dir_all(&path).unwrap();
            path.display().to_string()
        };
        let secrets = folder("credentials");
        let mut others = vec![
            ("/run/credentials/hal-bridge.service".into(), secrets.clone()),
            ("/run/credentials/hal-relay.service".into(), secrets.clone()),
            ("/etc/alertmanager/tellhal.token".into(), format!("{secrets}/prometheus")),
            ("/usr/local/bin".into(), folder("bin")),
        ];
        others.extend([
            ("/etc/tellhal".into(), folder("etc")),
            ("/var/spool/tellhal".into(), folder("spools")),
        ]);
        std::fs::create_dir_all(dir.path().join("target")).unwrap();
        let ours = find::ours("tellhal").parent().unwrap().to_owned();
        symlink(ours, dir.path().join("target/debug")).unwrap();
        // The users that deploy/up makes.
        symlink(tests::users::config("handler").parent().unwrap(), dir.path().join(".tellhal")).unwrap();
        let scratch = Scratch { dir, name, blocks: blocks(&read(name)), others };
        scratch.stubs();
        scratch.secrets();
        scratch
    }

    /// Makes each program of `/usr/local/bin` that the document names.
    fn stubs(&self) {
        let text = read(self.name);
        for rest in text.split("/usr/local/bin/").skip(1) {
            let program: String =
                rest.chars().take_while(|c| c.is_alphanumeric() || "-_.".contains(*c)).collect();
            let path = self.dir.path().join("bin").join(program.trim_end_matches('.'));
            std::fs::write(&path, "#!/bin/sh\necho \"$0 $*\"\n").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    /// Makes each secret that the document names.
    fn secrets(&self) {
        let text = read(self.name);
        for rest in text.split("/run/credentials/hal-").skip(1) {
            let (_, rest) = rest.split_once(".service/").unwrap_or_default();
            let secret: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '-').collect();
            if !secret.is_empty() {
                std::fs::write(self.dir.path().join("credentials").join(secret), TOKEN).unwrap();
            }
        }
    }

    fn here(&self, text: &str) -> String {
        self.others.iter().fold(text.to_owned(), |text, (there, here)| text.replace(there, here))
    }

    /// The configurations of the document by the names of their files, each without its first line.
    fn configurations(&self) -> BTreeMap<String, Vec<String>> {
        let mut files = BTreeMap::<String, Vec<String>>::new();
        for block in self.blocks.iter().filter(|block| block.language == "toml") {
            let first = block.text.lines().next().unwrap_or_default();
            // `# /etc/tellhal/tellhal.toml of host db1` is a `tellhal.toml`.
            let path = first.strip_prefix("# ").and_then(|words| words.split(' ').next());
            let name = path.and_then(|path| path.rsplit('/').next()).filter(|name| name.ends_with(".toml"));
            let name = name.unwrap_or_else(|| {
                panic!("{}:{}: it must begin with its file's name", self.name, block.line)
            });
            files.entry(name.to_owned()).or_default().push(self.here(&block.text));
        }
        files
    }

    /// Writes the blocks of a service's file as one folder, with what a document need not repeat.
    fn write(&self, file: &str, blocks: &[String], more: &str) -> PathBuf {
        let folder = self.dir.path().join(file.replace(".toml", ".d"));
        std::fs::create_dir_all(&folder).unwrap();
        for (number, block) in blocks.iter().enumerate() {
            std::fs::write(folder.join(format!("{number}.toml")), block).unwrap();
        }
        if !more.is_empty() {
            std::fs::write(folder.join("more.toml"), more).unwrap();
        }
        folder
    }
}

/// The keys that every configuration of a service needs and that none of the blocks has.
fn base(file: &str, blocks: &[String], nats: &str) -> String {
    let has =
        |line: &str| blocks.iter().any(|block| block.lines().any(|own| own.trim_start().starts_with(line)));
    let mut text = String::new();
    if file == "relay.toml" && !has("default_room") {
        text += "default_room = \"page\"\n";
    }
    if !has("[nats]") {
        let key = tests::users::key(file.trim_end_matches(".toml"));
        text += &format!("[nats]\nurl = \"{nats}\"\nnkey_file = {key:?}\n");
    }
    text
}

/// Runs a program that checks; it must find nothing.
fn checked(command: &mut Command, what: &str) {
    let output = command.output().unwrap();
    let words = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {words}");
}

fn check_configurations(scratch: &Scratch) {
    for (file, blocks) in scratch.configurations() {
        let what = format!("{}: {file}", scratch.name);
        match file.as_str() {
            "relay.toml" | "bridge.toml" => {
                let folder = scratch.write(&file, &blocks, &base(&file, &blocks, "nats://127.0.0.1:4222"));
                let program = find::ours(&format!("hal-{}", file.trim_end_matches(".toml")));
                checked(Command::new(program).arg("check").arg("--config").arg(folder), &what);
            }
            "tellhal.toml" | "serve.toml" => {
                let path = scratch.dir.path().join(&file);
                std::fs::write(&path, blocks.concat()).unwrap();
                checked(tellhal("nats://127.0.0.1:4222", scratch.dir.path()).arg("check").arg(path), &what);
            }
            other => panic!("{what}: nothing checks {other}"),
        }
    }
    for block in scratch.blocks.iter().filter(|block| block.language == "yaml") {
        let path = scratch.dir.path().join("alertmanager.yml");
        std::fs::write(&path, scratch.here(&block.text)).unwrap();
        checked(Command::new(find::theirs("amtool")).arg("check-config").arg(path), scratch.name);
    }
}

/// The bus, a relay and a bridge as `deploy/up` has them, with the listeners of the document's own configuration.
struct Site {
    nats: NatsServer,
    relay: Relay,
    bridge: Bridge,
    scratch: Scratch,
    _ports: [Port; 2],
}

impl Site {
    async fn start(mut scratch: Scratch) -> Site {
        let nats = NatsServer::start().await;
        let ports = [Port::free(), Port::free()];
        let [tcp, ntfy] = [ports[0].addr().to_string(), ports[1].addr().to_string()];
        scratch.others.extend([("127.0.0.1:7890".into(), tcp.clone()), ("127.0.0.1:8482".into(), ntfy)]);
        scratch
            .others
            .push(("/dev/tcp/127.0.0.1/7890".into(), format!("/dev/tcp/{}", tcp.replace(':', "/"))));
        // Chats and monitors of a document lead to other machines; listeners are of this one.
        let listens =
            |block: &&String| ["[tcp]", "[ntfy]", "[webhooks."].iter().any(|table| block.contains(table));
        let configurations = scratch.configurations();
        let of_bridge = configurations.get("bridge.toml").map(Vec::as_slice).unwrap_or_default();
        let listeners: Vec<&String> = of_bridge.iter().filter(listens).collect();
        // The harness adds addresses and credentials.
        let ours = ["listen = ", "[nats]", "[handlers.nats]", "url = \"nats://", "nkey_file = "];
        let shipped = |file: &str| {
            let text = read(&format!("deploy/{file}")).replace("${HAL_OPERATOR_TOKEN}", TOKEN);
            let kept = text.lines().filter(|line| !ours.iter().any(|start| line.starts_with(start)));
            kept.collect::<Vec<_>>().join("\n")
        };
        let own = listeners.iter().map(|block| block.as_str()).collect::<Vec<_>>().join("\n");
        let bridge = shipped("bridge.toml").replace("\n[tcp]\n", "\n") + "\n" + &own;
        let relay = Relay::start(&nats.url(), &shipped("relay.toml")).await;
        let bridge = Bridge::start(&nats.url(), &bridge).await;
        let more =
            [("127.0.0.1:8480", relay.http().to_string()), ("127.0.0.1:8481", bridge.http().to_string())];
        scratch.others.extend(more.map(|(there, here)| (there.to_owned(), here)));
        if !of_bridge.is_empty() {
            scratch.write("bridge.toml", of_bridge, &base("bridge.toml", of_bridge, &nats.url()));
        }
        let site = Site { nats, relay, bridge, scratch, _ports: ports };
        checked(site.command("tellhal backup.mysql 'A first message'").as_mut(), "a first message");
        wait_until("the first message is delivered", SOON, async || site.nats.is_through("page").await).await;
        site
    }

    /// Bash with our programs, for these lines.
    fn command(&self, lines: &str) -> Box<Command> {
        let dir = self.scratch.dir.path();
        let mut command = Command::new("bash");
        command.args(["-e", "-u", "-o", "pipefail", "-c", lines]).current_dir(dir);
        let path = format!(
            "{}:{}",
            find::ours("tellhal").parent().unwrap().display(),
            std::env::var("PATH").unwrap()
        );
        // A host's credentials are the server's default; listening and serving need others, which a configuration may name.
        let url = match lines {
            _ if lines.contains("--config .tellhal/") => self.nats.url(),
            _ if lines.contains("tellhal listen") => self.nats.url_as("admin"),
            _ if lines.contains("tellhal serve") => self.nats.url_as("handler"),
            _ => self.nats.url(),
        };
        command.env("PATH", path).env("HOME", dir).env("TELLHAL_URL", url);
        command
            .env("TELLHAL_SPOOL", dir.join("spool"))
            .env("STATE_DIRECTORY", self.bridge.dir().join("state"));
        // `status` compares the relay's configuration with the one in force, and most commands of the bridge are about their own.
        command.env("HAL_RELAY_CONFIG", self.relay.dir().join("config.toml"));
        let own = dir.join("bridge.d");
        let bridge = if own.is_dir() { own } else { self.bridge.dir().join("config.toml") };
        command.env("HAL_BRIDGE_CONFIG", bridge);
        Box::new(command)
    }

    async fn run(&self, block: &Block) {
        let lines = match block.language.as_str() {
            "cron" => block.text.lines().map(scheduled).collect::<Vec<_>>().join("\n"),
            _ => block.text.clone(),
        };
        let (lines, place) = (self.scratch.here(&lines), format!("{}:{}", self.scratch.name, block.line));
        match block.remark.as_deref() {
            Some("until Ctrl-C") => self.run_until_stopped(&lines, &place).await,
            _ => {
                let mut command = self.command(&lines);
                let done = tokio::task::spawn_blocking(move || command.output().unwrap());
                let output = tokio::time::timeout(SOON, done).await;
                let output = output.unwrap_or_else(|_| panic!("{place} does not end: {lines}")).unwrap();
                let words = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{place}: {}\n{lines}\n{words}", output.status);
            }
        }
    }

    /// Starts the lines, and stops them with Ctrl-C as soon as they are connected.
    async fn run_until_stopped(&self, lines: &str, place: &str) {
        let mut command = self.command(&format!("exec {}", lines.trim()));
        command.process_group(0);
        let log = self.scratch.dir.path().join("log");
        let mut process = Process::start(place, &mut command, &log);
        let pid = process.pid();
        process.ready("it is connected", async || is_connected(pid)).await;
        kill_process_group(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::INT).unwrap();
        process.ended(SOON).await;
    }
}

/// True if the process has a connection to a server.
fn is_connected(pid: u32) -> bool {
    let Ok(open) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    let sockets: BTreeSet<String> = open
        .filter_map(|file| Some(std::fs::read_link(file.ok()?.path()).ok()?.display().to_string()))
        .collect();
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap_or_default();
    table.lines().any(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        columns.get(3) == Some(&"01")
            && columns.get(9).is_some_and(|inode| sockets.contains(&format!("socket:[{inode}]")))
    })
}

/// The command of a line of a crontab.
fn scheduled(line: &str) -> String {
    line.split_whitespace().skip(5).collect::<Vec<_>>().join(" ")
}

async fn holds(name: &'static str) {
    let scratch = Scratch::of(name);
    let known = ["sh", "cron", "toml", "yaml", "text", "rust"];
    for block in &scratch.blocks {
        assert!(
            known.contains(&block.language.as_str()),
            "{name}:{}: nothing tries {}",
            block.line,
            block.language
        );
    }
    check_configurations(&scratch);
    let is_run = |block: &&Block| {
        let is_left_out = block.remark.as_deref().is_some_and(|remark| remark.starts_with("not run"));
        matches!(block.language.as_str(), "sh" | "cron") && !is_left_out
    };
    let commands: Vec<Block> = scratch.blocks.iter().filter(is_run).cloned().collect();
    if commands.is_empty() {
        return;
    }
    let site = Site::start(scratch).await;
    for block in &commands {
        site.run(block).await;
    }
}

/// A test for each document.
macro_rules! documents {
    ($($test:ident $name:literal)*) => {
        const TRIED: &[&str] = &[$($name),*];
        $(
            #[tokio::test]
            async fn $test() {
                holds($name).await;
            }
        )*
    };
}

documents! {
    readme "README.md"
    contributing "CONTRIBUTING.md"
    commands "deploy/guides/commands.md"
    inputs "deploy/guides/inputs.md"
    migrating "deploy/guides/migrating.md"
    monitors "deploy/guides/monitors.md"
    nats "deploy/nats/README.md"
    operators "deploy/guides/operators.md"
    readers "deploy/guides/readers.md"
    schedules "deploy/guides/schedules.md"
    scripts "deploy/guides/scripts.md"
    subscribers "deploy/guides/subscribers.md"
}

#[test]
fn every_guide_is_tried_and_every_block_that_is_not_run_says_why() {
    for name in documents().iter().filter(|name| name.starts_with(GUIDES) && !name.contains("/reference-")) {
        assert!(TRIED.contains(&name.as_str()), "{name} has no line in documents!");
    }
    for name in TRIED {
        for block in blocks(&read(name)).iter().filter(|block| block.remark.is_some()) {
            let remark = block.remark.as_deref().unwrap();
            let reason = remark.strip_prefix("not run").and_then(|rest| rest.split_once(": "));
            assert!(remark == "until Ctrl-C" || reason.is_some(), "{name}:{}: {remark:?}", block.line);
        }
    }
}

#[test]
fn links_lead_somewhere() {
    let mut dead = Vec::new();
    for name in documents() {
        let text = read(&name);
        for link in links(&text).iter().filter(|link| !link.contains("://") && !link.starts_with("mailto:")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let folder = Path::new(&name).parent().unwrap().join(file);
            let path = if file.is_empty() {
                find::repository().join(&name)
            } else {
                find::repository().join(folder)
            };
            let is_there = path.exists()
                && (anchor.is_empty()
                    || anchors(&std::fs::read_to_string(&path).unwrap()).contains(&anchor.to_owned()));
            if !is_there {
                dead.push(format!("{name}: {link}"));
            }
        }
    }
    assert!(dead.is_empty(), "{dead:#?}");
}

#[test]
fn the_reference_is_that_of_the_programs() {
    let all = [
        ("tellhal", "schema config", "reference-tellhal.md"),
        ("hal-relay", "schema", "reference-relay.md"),
        ("hal-bridge", "schema", "reference-bridge.md"),
    ];
    for (program, arguments, file) in all {
        let output = Command::new(find::ours(program)).args(arguments.split(' ')).output().unwrap();
        let schema = serde_json::from_slice(&output.stdout).unwrap();
        let text = tests::reference::reference(&schema, &format!("{program} {arguments}"));
        let path = find::repository().join(GUIDES).join(file);
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == text, "BLESS=1 cargo test -p tests guides:: rewrites {file}; read the diff");
    }
}
