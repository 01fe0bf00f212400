//! A real backup under `tellhal run`, started as by cron and reported in a real IRC channel: a success, a failure, and a
//! NATS server that dies in the middle; and hostile texts, which must not affect the channel.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tests::wait::SOON;
use tests::{Inspircd, IrcClient, NatsServer, Ngircd, Process, Relay, find, tellhal, wait_until};

/// A relay whose only room is an IRC channel.
fn channel(irc: SocketAddr) -> String {
    format!(
        "default_room = \"ops\"\n[rooms.ops.irc]\nserver = \"{irc}\"\ntls = false\nnick = \"hal\"\n\
         channel = \"#ops\"\n"
    )
}

/// A host's home folder, from which cron runs a backup: configured by a file, without variables.
struct Host {
    home: tempfile::TempDir,
}

impl Host {
    fn new(nats: &NatsServer) -> Host {
        let home = tempfile::tempdir().unwrap();
        let config = home.path().join(".config/tellhal");
        std::fs::create_dir_all(&config).unwrap();
        let text =
            format!("source = \"db1\"\nspool = {:?}\n[nats]\nurl = {:?}\n", spool(home.path()), nats.url());
        std::fs::write(config.join("tellhal.toml"), text).unwrap();
        Host { home }
    }

    fn archive(&self) -> PathBuf {
        self.home.path().join("backup.tar.gz")
    }

    /// Runs a line of a crontab: with a minimal environment, in a session of its own without a terminal.
    fn cron(&self, line: &str) -> Command {
        let mut command = Command::new("setsid");
        command.args(["--wait", "/bin/sh", "-c", line]).env_clear().current_dir(find::repository());
        command.env("HOME", self.home.path()).env("LOGNAME", "root").env("SHELL", "/bin/sh");
        command.env("PATH", "/usr/bin:/bin");
        command
    }

    /// The crontab's line: `tar` of a folder of this repository, under `tellhal run`.
    fn backup(&self, more: &str) -> String {
        let tellhal = find::ours("tellhal").canonicalize().unwrap();
        let (tellhal, archive) = (tellhal.display(), self.archive());
        format!("{tellhal} run -t backup.files -- tar -czf {} relay {more}", archive.display())
    }

    fn spooled(&self) -> usize {
        std::fs::read_dir(spool(self.home.path()).join("new")).map_or(0, Iterator::count)
    }

    /// True if the archive is whole and has a file of the folder.
    fn archive_is_good(&self) -> bool {
        let listed = Command::new("tar").arg("-tzf").arg(self.archive()).output().unwrap();
        listed.status.success() && String::from_utf8_lossy(&listed.stdout).contains("relay/src/lib.rs")
    }
}

fn spool(home: &Path) -> PathBuf {
    home.join("spool")
}

async fn output(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap()
}

/// True if a duration follows `before` in the line, as in ` in 312ms` or ` after 1.2s`.
fn has_duration(line: &str, before: &str) -> bool {
    line.split_once(before).is_some_and(|(_, rest)| {
        let number = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        number.len() < rest.len() && (number.starts_with("ms") || number.starts_with('s'))
    })
}

#[tokio::test]
async fn a_backup_from_cron_is_reported_in_the_channel() {
    let (nats, irc) = (NatsServer::start().await, Ngircd::start().await);
    let reader = IrcClient::join(irc.addr(), "reader", "#ops").await;
    let _relay = Relay::start(&nats.url(), &channel(irc.addr())).await;
    let host = Host::new(&nats);

    let ran = output(host.cron(&host.backup(""))).await;
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    assert!(ran.stdout.is_empty() && ran.stderr.is_empty(), "cron would send mail: {ran:?}");
    assert!(host.archive_is_good());
    let started = reader.hears("[backup.files] db1: tar started").await;
    let finished = reader.hears("[backup.files] db1: tar succeeded in ").await;
    assert!(has_duration(&finished, "succeeded in "), "{finished}");

    let ran = output(host.cron(&host.backup("nowhere"))).await;
    assert_eq!(ran.status.code(), Some(2), "tar's own status: {ran:?}");
    assert!(String::from_utf8_lossy(&ran.stderr).contains("nowhere"), "tar's own words: {ran:?}");
    let failed = reader.hears("tar failed with status 2 after ").await;
    assert!(failed.contains("ERROR") && has_duration(&failed, "status 2 after "), "{failed}");
    // The last lines of its output follow, so that the reason is in the channel.
    reader.hears("| tar: nowhere: Cannot stat: No such file or directory").await;

    let lines = reader.lines();
    assert!(lines.iter().all(|line| line.nick == "hal" && line.target == "#ops"), "{lines:?}");
    let texts = reader.texts();
    let at = |line: &String| texts.iter().position(|text| text == line);
    assert!(at(&started) < at(&finished), "{texts:?}");
    assert_eq!(texts.iter().filter(|text| text.contains("tar started")).count(), 2, "{texts:?}");
}

#[tokio::test]
async fn nats_dies_in_the_middle_of_a_backup() {
    let (mut nats, irc) = (NatsServer::start().await, Ngircd::start().await);
    let reader = IrcClient::join(irc.addr(), "reader", "#ops").await;
    let mut relay = Relay::start(&nats.url(), &channel(irc.addr())).await;
    let host = Host::new(&nats);

    // tar waits at its checkpoints until the gate exists, so that the server can be killed in the middle.
    let gate = host.home.path().join("gate");
    let wait = format!("while [ ! -e {} ]; do sleep 0.05; done", gate.display());
    let held = format!("--checkpoint=5 '--checkpoint-action=exec={wait}'");
    let log = host.home.path().join("cron.log");
    let mut backup = Process::start("the backup", &mut host.cron(&host.backup(&held)), &log);
    reader.hears("[backup.files] db1: tar started").await;
    nats.kill();
    assert!(backup.is_running(), "{}", backup.log());
    std::fs::write(&gate, "").unwrap();
    assert_eq!(backup.ended(SOON).await.code(), Some(0), "{}", backup.log());
    assert!(host.archive_is_good());
    assert_eq!(host.spooled(), 1);
    assert_eq!(backup.log().lines().count(), 1, "one line says why: {}", backup.log());
    assert!(backup.log().contains("sent later"), "{}", backup.log());

    nats.restart().await;
    relay.ready().await;
    let flush = format!("{} flush", find::ours("tellhal").canonicalize().unwrap().display());
    let flushed = output(host.cron(&flush)).await;
    assert_eq!((flushed.status.code(), host.spooled()), (Some(0), 0), "{flushed:?}");
    reader.hears("tar succeeded in ").await;
    let again = output(host.cron(&flush)).await;
    assert_eq!(again.status.code(), Some(0), "{again:?}");
    // A later message shows that the backup's message has not been posted again before it.
    let after = output(host.cron(&flush.replace("flush", "backup.files 'the next'"))).await;
    assert_eq!(after.status.code(), Some(0), "{after:?}");
    reader.hears("the next").await;
    let finished = reader.texts().iter().filter(|text| text.contains("tar succeeded")).count();
    assert_eq!(finished, 1, "{:?}", reader.texts());
}

#[tokio::test]
async fn no_text_does_anything_to_the_channel() {
    let (nats, irc) = (NatsServer::start().await, Inspircd::start().await);
    let reader = IrcClient::join(irc.addr(), "reader", "#ops").await;
    // Without a rate limit, each message is a post of its own, with all its lines.
    let unlimited = channel(irc.addr()) + "burst = 100\nline_every = \"1ms\"\n";
    let _relay = Relay::start(&nats.url(), &unlimited).await;
    let home = tempfile::tempdir().unwrap();
    let send = |text: &str| {
        let mut command = tellhal(&nats.url(), home.path());
        command.args(["backup.files", "--", text]);
        output(command)
    };
    let hostile = [
        "\u{1}ACTION takes over\u{1}",
        "one\r\nPRIVMSG #ops :injected\r\nQUIT :gone",
        "\u{1}VERSION\u{1} \u{3}4red\u{2}bold \u{1b}]8;;http://evil\u{7}link",
        "!deploy production\n.op eve\n!restart",
        "\u{202e}backwards \u{feff}end",
    ];
    for text in hostile {
        assert!(send(text).await.status.success());
    }
    assert!(send("the last").await.status.success());
    reader.hears("the last").await;
    for line in reader.lines() {
        assert_eq!((line.nick.as_str(), line.target.as_str()), ("hal", "#ops"), "{line:?}");
        let ours = ["[backup.files] ", "| "].iter().any(|begin| line.text.starts_with(begin));
        assert!(ours, "a line begins with the message's text: {line:?}");
        assert!(!line.text.contains(['\u{1}', '\u{1b}', '\u{7}', '\u{202e}']), "{line:?}");
    }
    let raw = reader.raw();
    let quit = raw.iter().any(|line| line.split(' ').nth(1) == Some("QUIT"));
    assert!(!quit, "a message made the relay quit: {raw:?}");
    let texts = reader.texts();
    assert!(!texts.iter().any(|text| text == "injected"), "{texts:?}");
    for shown in ["| PRIVMSG #ops :injected", "| !restart"] {
        assert!(texts.iter().any(|text| text == shown), "{shown} in {texts:?}");
    }
}

#[tokio::test]
async fn a_channel_that_refuses_colours_shows_the_error_and_what_follows() {
    let (nats, irc) = (NatsServer::start().await, Inspircd::start().await);
    let reader = IrcClient::join(irc.addr(), "reader", "#ops").await;
    reader.send("MODE #ops +c").await;
    let is_set = async || reader.raw().iter().any(|line| line.contains(" MODE #ops :+c"));
    wait_until("the channel refuses colours", SOON, is_set).await;
    let relay = Relay::start(&nats.url(), &channel(irc.addr())).await;
    let home = tempfile::tempdir().unwrap();
    for (severity, text) in [("error", "disk full"), ("info", "fine again"), ("critical", "full once more")] {
        let mut command = tellhal(&nats.url(), home.path());
        command.args(["-t", "disk", "-s", severity, text]);
        assert!(output(command).await.status.success());
        // Each is a post of its own.
        reader.hears(text).await;
    }
    let texts: Vec<String> = reader.texts().into_iter().filter(|text| text.contains("[disk]")).collect();
    assert_eq!(texts.len(), 3, "{texts:?}");
    assert!(texts[0].starts_with("ERROR [disk] ") && texts[2].starts_with("CRITICAL [disk] "), "{texts:?}");
    let dead = output(relay.command(&["dead", "list", "--json"])).await;
    assert_eq!(String::from_utf8_lossy(&dead.stdout).trim(), "[]");
}
