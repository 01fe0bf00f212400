//! A real backup under `tellhal run`, as cron starts it, told in a real IRC channel: when it goes well, when it fails,
//! when NATS dies in its middle; and what no text may do to the channel.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tests::wait::SOON;
use tests::{Inspircd, IrcClient, NatsServer, Ngircd, Process, Relay, find, tellhal};

/// A relay whose only room is an IRC channel.
fn channel(irc: SocketAddr) -> String {
    format!(
        "default_room = \"ops\"\n[rooms.ops.irc]\nserver = \"{irc}\"\ntls = false\nnick = \"hal\"\n\
         channel = \"#ops\"\n"
    )
}

/// A server's home folder, from which cron runs a backup: configured by a file, and by no variable.
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

    /// A line of a crontab: next to no environment, a session of its own without a terminal.
    fn cron(&self, line: &str) -> Command {
        let mut command = Command::new("setsid");
        command.args(["--wait", "/bin/sh", "-c", line]).env_clear().current_dir(find::repository());
        command.env("HOME", self.home.path()).env("LOGNAME", "root").env("SHELL", "/bin/sh");
        command.env("PATH", "/usr/bin:/bin");
        command
    }

    /// The crontab's line: `tar` of a folder of this repository, told by tellhal.
    fn backup(&self, more: &str) -> String {
        let tellhal = find::ours("tellhal").canonicalize().unwrap();
        let (tellhal, archive) = (tellhal.display(), self.archive());
        format!("{tellhal} run -t backup.files -- tar -czf {} relay {more}", archive.display())
    }

    fn spooled(&self) -> usize {
        std::fs::read_dir(spool(self.home.path()).join("new")).map_or(0, Iterator::count)
    }

    /// Whether the archive is whole and has a file of the folder.
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

/// Whether a line tells how long something took, such as ` in 312ms` or ` after 1.2s`.
fn tells_duration(line: &str, before: &str) -> bool {
    line.split_once(before).is_some_and(|(_, rest)| {
        let number = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        number.len() < rest.len() && (number.starts_with("ms") || number.starts_with('s'))
    })
}

#[tokio::test]
async fn a_backup_from_cron_is_told_in_the_channel() {
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
    assert!(tells_duration(&finished, "succeeded in "), "{finished}");

    let ran = output(host.cron(&host.backup("nowhere"))).await;
    assert_eq!(ran.status.code(), Some(2), "tar's own status: {ran:?}");
    assert!(String::from_utf8_lossy(&ran.stderr).contains("nowhere"), "tar's own words: {ran:?}");
    let failed = reader.hears("tar failed with status 2 after ").await;
    assert!(failed.contains("ERROR") && tells_duration(&failed, "status 2 after "), "{failed}");
    // The last lines of its output follow, so that nobody has to log in to see why.
    reader.hears("| tar: nowhere: Cannot stat: No such file or directory").await;

    let said = reader.said();
    assert!(said.iter().all(|said| said.nick == "hal" && said.target == "#ops"), "{said:?}");
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

    // tar waits at its checkpoints until the gate is there: the middle is where we say.
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
    // What comes after it shows that nothing more comes of it.
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
    // Without a limit each message is a post of its own, with all its lines.
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
    for said in reader.said() {
        assert_eq!((said.nick.as_str(), said.target.as_str()), ("hal", "#ops"), "{said:?}");
        let ours = ["[backup.files] ", "| "].iter().any(|begin| said.text.starts_with(begin));
        assert!(ours, "a line begins with another's words: {said:?}");
        assert!(!said.text.contains(['\u{1}', '\u{1b}', '\u{7}', '\u{202e}']), "{said:?}");
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
