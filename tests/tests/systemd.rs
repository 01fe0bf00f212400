//! The units of `deploy/systemd`: systemd finds no mistake in them and rates them as hardened, the programs have all paths and options
//! that they name, and the services notify systemd as the units expect.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tests::process::Signal;
use tests::wait::SOON;
use tests::{Port, Process, find};
use tokio::net::UnixDatagram;

/// The units, and the worst exposure that `systemd-analyze security` may see in them, in tenths. The one of the spool has 1.8 because it opens
/// files of every user and their folders of mode 0700: CAP_DAC_OVERRIDE takes 0.2 of that, and PrivateUsers= another 0.2, since a capability
/// ends at the users that a namespace has. Without AF_UNIX, which name services may need, and with ProtectHome=yes, which would hide root's own
/// configuration, it has 1.8 still. User= with that capability would have 1.5, and no less access: it could still write every spool, and
/// could no longer be told from a user who runs `tellhal flush` for itself.
const UNITS: [(&str, u32); 5] = [
    ("hal-relay.service", 15),
    ("hal-bridge.service", 15),
    ("hal-commands.service", 15),
    ("tellhal-failure@.service", 15),
    ("tellhal-flush.service", 18),
];

fn units() -> PathBuf {
    find::repository().join("deploy/systemd")
}

/// The units with the programs of this build, since systemd looks for them.
fn runnable_units() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let bin = find::ours("tellhal").parent().unwrap().canonicalize().unwrap();
    for entry in fs::read_dir(units()).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| ["service", "path", "timer"].iter().any(|kind| extension == *kind))
        {
            let text = fs::read_to_string(&path).unwrap();
            let text = text.replace("=/usr/bin/", &format!("={}/", bin.display()));
            let text = text.replace("=/usr/lib/tellhal/", &format!("={}/", units().display()));
            fs::write(dir.path().join(path.file_name().unwrap()), text).unwrap();
        }
    }
    dir
}

fn analyze(arguments: &[&str], files: impl IntoIterator<Item = PathBuf>) -> Output {
    let mut command = Command::new(find::theirs("systemd-analyze"));
    command.args(arguments).arg("--no-pager").args(files).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn systemd_finds_no_mistake_in_the_units() {
    let dir = runnable_units();
    let files: Vec<PathBuf> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), UNITS.len() + 2, "{files:?}");
    let output = analyze(&["verify", "--man=no"], files);
    // Unknown keys and values are warnings.
    assert!(output.status.success() && text(&output).is_empty(), "{}", text(&output));
}

#[test]
fn the_units_are_hardened() {
    for (unit, threshold) in UNITS {
        let threshold = format!("--threshold={threshold}");
        let output = analyze(&["security", "--offline=true", &threshold], [units().join(unit)]);
        assert!(output.status.success(), "{}", text(&output));
    }
}

/// The values of a key in a unit.
fn values(unit: &str, key: &str) -> Vec<String> {
    let text = fs::read_to_string(units().join(unit)).unwrap();
    text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).map(str::to_owned).collect()
}

fn help(program: &str, subcommand: &str) -> String {
    text(&Command::new(find::ours(program)).args([subcommand, "--help"]).output().unwrap())
}

#[test]
fn the_programs_have_what_the_units_name() {
    for (unit, _) in UNITS {
        for start in values(unit, "ExecStart") {
            let words: Vec<&str> = start.split_whitespace().collect();
            let Some(program) = words[0].strip_prefix("/usr/bin/") else {
                assert!(
                    units().join(words[0].strip_prefix("/usr/lib/tellhal/").unwrap()).is_file(),
                    "{start}"
                );
                continue;
            };
            let help = help(program, words[1]);
            for word in &words[2..] {
                // The folder is the option's default: the commands that people give by hand read the same configuration.
                assert!(help.contains(word), "{unit}: {program} does not know {word}:\n{help}");
            }
        }
    }
    // An option of the script is one of tellhal's.
    let script = fs::read_to_string(units().join("unit-failed")).unwrap();
    let call = script.split_once("/usr/bin/tellhal ").unwrap().1;
    let help = text(&Command::new(find::ours("tellhal")).arg("--help").output().unwrap());
    for option in call.split_whitespace().filter(|word| word.starts_with('-') && *word != "--") {
        assert!(help.contains(option), "tellhal does not know {option}");
    }
    // The spool has one path in the program and in all files that name it.
    let place = fs::read_to_string(find::repository().join("tellhal/src/config/place.rs")).unwrap();
    assert!(place.contains("ALL_SPOOLS: &str = \"/var/spool/tellhal\";"));
    let files = [
        "tellhal-flush.path",
        "tellhal-flush.service",
        "tellhal-failure@.service",
        "tmpfiles.d/tellhal.conf",
    ];
    for file in files {
        let text = fs::read_to_string(units().join(file)).unwrap();
        assert!(text.contains("/var/spool/tellhal"), "{file}");
    }
}

#[test]
fn a_unit_that_cannot_be_told_is_no_failure_of_its_own() {
    let mask = units().join("tellhal-failure@.service.d/10-tellhal.conf");
    assert_eq!(fs::read_link(mask).unwrap(), Path::new("/dev/null"));
    assert_eq!(values("service.d/10-tellhal.conf", "OnFailure"), ["tellhal-failure@%N.service"]);
}

/// Notices to systemd.
struct Notices(UnixDatagram);

impl Notices {
    async fn next(&self) -> String {
        let mut buffer = [0; 256];
        let length =
            tokio::time::timeout(SOON, self.0.recv(&mut buffer)).await.expect("a notice comes").unwrap();
        String::from_utf8_lossy(&buffer[..length]).trim_end().to_owned()
    }
}

/// Starts a service as systemd does, without any NATS server, and sees all its notices.
async fn notifies(program: &str, listen_table: &str, configuration: &str) {
    let dir = tempfile::tempdir().unwrap();
    let (http, nowhere) = (Port::free(), Port::free());
    let notices = Notices(UnixDatagram::bind(dir.path().join("notify")).unwrap());
    let config = dir.path().join("config.toml");
    let tables = format!(
        "[nats]\nurl = \"nats://{}\"\n[{listen_table}]\nlisten = \"{}\"\n",
        nowhere.addr(),
        http.addr()
    );
    fs::write(&config, format!("{configuration}\n{tables}")).unwrap();
    let mut command = Command::new(find::ours(program));
    command.arg("run").arg("--config").arg(config).env("STATE_DIRECTORY", dir.path());
    command
        .env("NOTIFY_SOCKET", dir.path().join("notify"))
        .env("WATCHDOG_USEC", "100000")
        .env_remove("WATCHDOG_PID");
    let mut process = Process::start(program, &mut command, &dir.path().join("log"));
    // A first sign of life may come before.
    let mut seen = vec![notices.next().await];
    while seen.iter().filter(|notice| *notice == "WATCHDOG=1").count() < 3
        || !seen.contains(&"READY=1".into())
    {
        seen.push(notices.next().await);
    }
    process.signal(Signal::TERM);
    while notices.next().await != "STOPPING=1" {}
    assert_eq!(process.ended(SOON).await.code(), Some(0), "{}", process.log());
}

#[tokio::test]
async fn the_relay_notifies_systemd() {
    notifies("hal-relay", "page", "default_room = \"page\"").await;
}

#[tokio::test]
async fn the_bridge_notifies_systemd() {
    notifies("hal-bridge", "http", "").await;
}

#[test]
fn the_packages_have_all_that_they_name() {
    let root = find::repository();
    let script = fs::read_to_string(root.join("deploy/package")).unwrap();
    // The words of deploy/package that are files of this repository.
    let words = script.split(|c: char| c.is_whitespace() || "\"'`();:".contains(c));
    let files: Vec<&str> = words.filter(|word| word.starts_with("deploy/") && !word.contains('$')).collect();
    assert!(files.len() > 5, "{files:?}");
    for file in files {
        assert!(root.join(file).exists(), "deploy/package names {file}, which is not there");
    }
    for (unit, _) in UNITS {
        assert!(script.contains(unit), "{unit} is in no package");
    }
    // The configurations that are installed are good as they are.
    let etc = root.join("deploy/packages/etc/tellhal");
    let check = |program: &str, arguments: &[&Path]| {
        let output = Command::new(find::ours(program)).arg("check").args(arguments).output().unwrap();
        assert!(output.status.success(), "{program}: {}", text(&output));
    };
    check("tellhal", &[&etc.join("tellhal.toml")]);
    check("hal-relay", &["--config".as_ref(), &etc.join("relay.d")]);
    check("hal-bridge", &["--config".as_ref(), &etc.join("bridge.d")]);
    for (program, page) in [("hal-relay", "hal-relay-run.1"), ("hal-bridge", "hal-bridge-check.1")] {
        let dir = tempfile::tempdir().unwrap();
        let output = Command::new(find::ours(program)).arg("pages").arg(dir.path()).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        let names = ["bash", "fish"].map(|shell| format!("{program}.{shell}"));
        for name in
            names.iter().map(String::as_str).chain([page, &format!("_{program}"), &format!("{program}.1")])
        {
            assert!(dir.path().join(name).is_file(), "{name}");
        }
    }
}
