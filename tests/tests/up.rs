//! deploy/up: all programs start, a message is shown, Ctrl-C stops all, a second run keeps the data, and every failure
//! says what to do.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use tests::http::{get, post_as};
use tests::process::Signal;
use tests::users::users;
use tests::wait::SOON;
use tests::{Events, Port, Process, find, tellhal, wait_until};

const STOPS_WITHIN: Duration = Duration::from_secs(20);

/// A folder and ports for one `deploy/up`.
struct Up {
    dir: tempfile::TempDir,
    nats: Port,
    page: Port,
    bridge: Port,
    tcp: Port,
}

impl Up {
    fn new() -> Up {
        let dir = tempfile::tempdir().unwrap();
        Up { dir, nats: Port::free(), page: Port::free(), bridge: Port::free(), tcp: Port::free() }
    }

    /// The command, with the programs of this build.
    fn command(&self) -> Command {
        let mut command = Command::new(find::repository().join("deploy/up"));
        let nats_server = find::theirs("nats-server");
        let path = std::env::join_paths(
            std::iter::once(nats_server.parent().unwrap().to_owned())
                .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
        );
        command.env("PATH", path.unwrap()).env("UP_DATA", self.dir.path().join("data"));
        command.env("TELLHAL_BIN_DIR", find::ours("hal-relay").parent().unwrap());
        // As somebody has them who looks after another server.
        command.env("HAL_PREFIX", "dev").env("HAL_NATS_RELOAD", "false");
        for (name, port) in [
            ("UP_NATS_PORT", &self.nats),
            ("UP_PAGE_PORT", &self.page),
            ("UP_BRIDGE_PORT", &self.bridge),
            ("UP_TCP_PORT", &self.tcp),
        ] {
            command.env(name, port.number().to_string());
        }
        command
    }

    /// Starts it and waits until it reports that it is up.
    async fn start(&self) -> Running {
        let log = self.dir.path().join("log");
        let ups = || std::fs::read_to_string(&log).unwrap_or_default().matches("tellhal is up").count();
        let before = ups();
        let mut process = Running(Process::start("deploy/up", &mut self.command(), &log));
        process.0.ready("it is up", async || ups() > before).await;
        process
    }

    fn nats_url(&self) -> String {
        format!("nats://{}", self.nats.addr())
    }

    fn nobody_listens(&self) -> bool {
        let ports = [&self.nats, &self.page, &self.bridge, &self.tcp];
        ports.iter().all(|port| std::net::TcpStream::connect(port.addr()).is_err())
    }
}

/// A running `deploy/up`. A kill would leave its programs behind, so it is terminated and waited for.
struct Running(Process);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.signal(Signal::TERM);
        let until = Instant::now() + STOPS_WITHIN;
        while self.0.is_running() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Runs it to its end, which must be a failure; returns its standard error.
fn refusal(command: &mut Command) -> String {
    let Output { status, stderr, .. } = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
    assert_eq!(status.code(), Some(1), "{stderr}");
    stderr
}

/// A folder with links only to the tools that the script needs.
fn bare_path(dir: &Path) -> PathBuf {
    let bin = dir.join("bin");
    std::fs::create_dir(&bin).unwrap();
    let path = std::env::var_os("PATH").unwrap();
    for tool in ["bash", "cat", "dirname", "env", "flock", "mkdir", "sed", "sleep", "tail"] {
        let program =
            std::env::split_paths(&path).map(|dir| dir.join(tool)).find(|file| file.is_file()).unwrap();
        symlink(program, bin.join(tool)).unwrap();
    }
    bin
}

fn script(path: &Path, text: &str) {
    std::fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn the_token_it_makes_is_an_operators_and_stays() {
    let up = Up::new();
    let file = up.dir.path().join("data/operator-token");
    let post = async |token: &str| {
        let message = r#"{"tag":"a","text":"sent on the page"}"#;
        post_as(up.page.addr(), token, "/api/messages", message).await.unwrap().0
    };
    let mut process = up.start().await;
    let token = std::fs::read_to_string(&file).unwrap();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(token.len() == 48 && !process.0.log().contains(&token), "{token}");
    assert!(process.0.log().contains("operator-token"));
    assert_eq!((post(&token).await, post("another-token-altogether").await), (201, 401));
    process.0.terminate(STOPS_WITHIN).await;
    let _process = up.start().await;
    assert_eq!(post(&token).await, 201);
}

#[tokio::test]
async fn a_message_is_seen_and_a_second_run_keeps_it() {
    let up = Up::new();
    let mut process = up.start().await;
    let text = "Nightly backup finished";
    let mut page = Events::open(up.page.addr(), "/api/stream").await.unwrap();
    page.until("the page is live", |event| event.kind == "live").await;
    let asked = Instant::now();
    let sent = tellhal(&up.nats_url(), up.dir.path()).args(["backup.mysql", text]).output().unwrap();
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    let seen = page.until("the page shows it", |event| event.data.contains(text)).await;
    let took = asked.elapsed();
    println!("seen on the page after {took:?}");
    assert!(seen.id.is_some() && seen.data.contains("\"tag\":\"backup.mysql\""), "{seen:?}");
    // A second is promised and 12 ms are usual, but other tests run at the same time.
    assert!(took < Duration::from_secs(3), "it took {took:?}");
    assert_eq!(get(up.page.addr(), "/").await.unwrap().0, 200);
    let url = up.nats_url();
    let receipts = async || {
        let relay = up.dir.path().join("data/users/keys/relay-main.nk");
        let seed = std::fs::read_to_string(relay).unwrap().trim().to_owned();
        let options = async_nats::ConnectOptions::with_nkey(seed);
        let client = options.connect(&url).await.unwrap();
        let stream = async_nats::jetstream::new(client).get_stream("HAL_SENT").await;
        match stream {
            Ok(mut stream) => stream.info().await.unwrap().state.messages,
            Err(_) => 0,
        }
    };
    wait_until("the page has it", SOON, async || receipts().await == 1).await;
    let other = Up::new();
    let stderr = refusal(other.command().env("UP_DATA", up.dir.path().join("data")));
    assert!(stderr.contains("another deploy/up uses") && stderr.lines().count() == 1, "{stderr}");

    // Ctrl-C reaches the whole foreground group, but only the script stops the programs.
    process.0.signal(Signal::INT);
    assert_eq!(process.0.ended(STOPS_WITHIN).await.code(), Some(0), "{}", process.0.log());
    assert!(up.nobody_listens());

    let log = up.dir.path().join("log");
    std::fs::write(&log, "").unwrap();
    let mut process = up.start().await;
    assert_eq!(receipts().await, 1);
    assert_eq!(process.0.terminate(STOPS_WITHIN).await.code(), Some(0), "{}", process.0.log());
}

#[tokio::test]
async fn it_starts_after_a_kill_and_with_another_machine_name_and_two_signals_stop_all() {
    let up = Up::new();
    let data = up.dir.path().join("data");
    let change = |words: &[&str]| assert!(users(&data.join("users"), words).status().unwrap().success());
    // An earlier run was killed after the first user that is its own; then the machine got another name.
    std::fs::create_dir(&data).unwrap();
    change(&["init"]);
    change(&["add", "host", "elsewhere", "--no-auth"]);
    for _ in 0..2 {
        let mut process = up.start().await;
        let mut send = tellhal(&up.nats_url(), up.dir.path());
        let sent = send.args(["--require-ack", "a.b", "hello"]).output().unwrap();
        assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
        // As timeout(1) does: to the program and to its process group.
        process.0.signal(Signal::TERM);
        process.0.signal(Signal::INT);
        assert_eq!(process.0.ended(STOPS_WITHIN).await.code(), Some(0), "{}", process.0.log());
        assert!(up.nobody_listens());
        // And the next one was killed before its listener.
        change(&["revoke", "listener", "local"]);
        std::fs::remove_file(data.join("listener.toml")).unwrap();
    }
}

#[tokio::test]
async fn when_one_dies_it_says_which_and_stops_the_others() {
    let up = Up::new();
    let bin = up.dir.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    script(&bin.join("hal-relay"), "echo the reason is this; exit 3");
    for name in ["tellhal", "hal-bridge"] {
        symlink(find::ours(name), bin.join(name)).unwrap();
    }
    let mut command = up.command();
    command.env("TELLHAL_BIN_DIR", &bin);
    let stderr = tokio::task::spawn_blocking(move || refusal(&mut command)).await.unwrap();
    assert!(stderr.contains("hal-relay has ended") && stderr.contains("the reason is this"), "{stderr}");
    assert!(up.nobody_listens());
}

#[test]
fn a_taken_port_is_named_with_its_variable() {
    let up = Up::new();
    let _taken = std::net::TcpListener::bind(up.page.addr()).unwrap();
    let stderr = refusal(&mut up.command());
    assert!(stderr.contains(&format!("port {} is taken", up.page.number())), "{stderr}");
    assert!(stderr.contains("UP_PAGE_PORT="), "{stderr}");
    let stderr = refusal(up.command().env("UP_NATS_PORT", "many"));
    assert!(stderr.contains("UP_NATS_PORT=many is not a port"), "{stderr}");
    let help = up.command().arg("--help").output().unwrap();
    assert!(help.status.success() && String::from_utf8_lossy(&help.stdout).contains("UP_NATS_PORT=4222"));
}

#[test]
fn an_old_nats_server_without_python_says_what_to_install() {
    let up = Up::new();
    let bin = bare_path(up.dir.path());
    script(&bin.join("nats-server"), "echo nats-server: v2.9.10");
    let output = up.command().env("PATH", &bin).output().unwrap();
    let (out, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1));
    assert!(out.contains("older than 2.10: nats-server: v2.9.10"), "{out}");
    assert!(
        stderr.contains("install python3-venv") && stderr.contains("nats-server 2.10 or later"),
        "{stderr}"
    );
}

#[test]
fn without_cargo_or_programs_it_says_what_to_do() {
    let up = Up::new();
    let bin = bare_path(up.dir.path());
    symlink(find::theirs("nats-server"), bin.join("nats-server")).unwrap();
    let stderr = refusal(up.command().env("PATH", &bin).env_remove("TELLHAL_BIN_DIR"));
    assert!(stderr.contains("install a Rust toolchain"), "{stderr}");
    let stderr = refusal(up.command().env("TELLHAL_BIN_DIR", "/nowhere"));
    assert!(stderr.contains("/nowhere/tellhal is not there"), "{stderr}");
}

#[test]
fn without_the_pinned_toolchain_it_builds_with_the_stable_one() {
    let up = Up::new();
    let bin = bare_path(up.dir.path());
    symlink(find::theirs("nats-server"), bin.join("nats-server")).unwrap();
    // As rustup's cargo does when it can neither find nor fetch what rust-toolchain.toml names.
    script(&bin.join("cargo"), "[ \"$RUSTUP_TOOLCHAIN\" = stable ] && echo \"asked to $*\"; exit 1");
    let mut command = up.command();
    command.env("PATH", &bin).env_remove("TELLHAL_BIN_DIR").env_remove("RUSTUP_TOOLCHAIN");
    let output = command.output().unwrap();
    let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(out.contains("using stable\n") && out.contains("asked to build --bins"), "{out}");
    assert!(errors.contains("the build failed"), "{errors}");
}
