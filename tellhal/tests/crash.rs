//! tellhal killed at each system call in turn, failing disks, limits, and many processes on one spool.
//! The oracle: a message whose tellhal ended with 0 is in the log or in the spool; the spool holds whole
//! messages only; the log holds one copy of each.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};

use common::{Place, ended, status, stderr};

/// Runs tellhal under strace with a fault injected.
fn traced(place: &Place, inject: &str, args: &[&str], url: Option<&str>) -> (i32, String) {
    let mut command = Command::new("strace");
    command.args(["-qq", "-o", "/dev/null", "-e", &format!("inject={inject}")]);
    command.arg(env!("CARGO_BIN_EXE_tellhal")).args(args);
    place.environment(&mut command);
    if let Some(url) = url {
        command.env("TELLHAL_URL", url);
    }
    let output = command.output().expect("strace is installed");
    (status(&output), stderr(&output))
}

const AWAY: Option<&str> = Some("nats://127.0.0.1:1");

/// Every system call of one run, as strace counts them: the first `write`, the second `write`, …
fn system_calls(place: &Place, args: &[&str], url: Option<&str>) -> Vec<(String, usize)> {
    let trace = place.path("trace");
    let mut command = Command::new("strace");
    command.args(["-qq", "-o"]).arg(&trace).arg(env!("CARGO_BIN_EXE_tellhal")).args(args);
    place.environment(&mut command);
    if let Some(url) = url {
        command.env("TELLHAL_URL", url);
    }
    assert!(command.output().expect("strace is installed").status.success());
    let mut counts = BTreeMap::new();
    let trace = std::fs::read_to_string(trace).unwrap();
    let names = trace.lines().filter_map(|line| Some(line.split_once('(')?.0.to_owned()));
    let numbered = names.map(|name| {
        let count = counts.entry(name.clone()).or_insert(0);
        *count += 1;
        (name, *count)
    });
    // An exit call is left out: the process ends there anyway.
    numbered.filter(|(name, _)| !name.starts_with("exit") && !name.starts_with("execve")).collect()
}

#[test]
fn killed_at_each_system_call_of_a_spooled_message() {
    let place = Place::new();
    let calls = system_calls(&place, &["a", "first"], AWAY);
    assert!(calls.iter().filter(|(name, _)| name == "fsync").count() >= 2, "{calls:?}");
    let mut kept = 1;
    let mut ended_well = BTreeSet::from(["first".to_owned()]);
    for (name, at) in &calls {
        let text = format!("{name} {at}");
        let (status, _) = traced(&place, &format!("{name}:signal=KILL:when={at}"), &["a", &text], AWAY);
        let now = place.spooled("new").len();
        assert!(now == kept || now == kept + 1, "more than one file at {name} {at}");
        if status == 0 {
            assert_eq!(now, kept + 1, "exit 0 and nothing kept at {name} {at}");
            ended_well.insert(text);
        }
        kept = now;
    }
    // The next call removes the leftovers of the killed ones, and every file is whole.
    assert_eq!(ended(place.tellhal(&["a", "last"]).env("TELLHAL_URL", AWAY.unwrap())).0, 0);
    assert!(place.spooled("tmp").is_empty());
    let (status, stderr) = ended(&mut place.tellhal(&["flush"]));
    assert_eq!(status, 0, "{stderr}");
    assert!(place.spooled("bad").is_empty(), "{stderr}");
    let texts = BTreeSet::from_iter(place.texts());
    assert!(texts.is_superset(&ended_well), "{ended_well:?} in {texts:?}");
    assert_eq!(place.texts().len(), kept + 1);
}

#[test]
fn killed_at_each_system_call_of_a_flush() {
    let place = Place::new();
    let away = |text: &str| ended(place.tellhal(&["a", text]).env("TELLHAL_URL", AWAY.unwrap())).0;
    let mut sent = vec!["first".to_owned()];
    assert_eq!(away("first"), 0);
    for (name, at) in system_calls(&place, &["flush"], None) {
        let text = format!("{name} {at}");
        assert_eq!(away(&text), 0);
        sent.push(text);
        traced(&place, &format!("{name}:signal=KILL:when={at}"), &["flush"], None);
    }
    assert_eq!(ended(&mut place.tellhal(&["flush"])).0, 0);
    let mut got = place.texts();
    sent.sort();
    got.sort();
    assert_eq!(got, sent, "each once");
    assert!(place.spooled("new").is_empty());
}

#[test]
fn a_disk_that_fails_is_75_with_the_reason_and_no_half_file() {
    for (inject, reason) in [
        ("fsync:error=EIO:when=3", "Input/output error"),
        ("renameat,renameat2,rename:error=ENOSPC", "No space left"),
        // The first two are the runtime's own.
        ("write:error=ENOSPC:when=3", "No space left"),
        ("mkdir,mkdirat:error=EROFS", "Read-only"),
        ("flock:error=ENOLCK", "No locks"),
    ] {
        let place = Place::bare("");
        let (status, stderr) = traced(&place, inject, &["a", "x"], AWAY);
        assert_eq!(status, 75, "{inject}: {stderr}");
        assert!(stderr.contains(reason), "{inject}: {stderr}");
        assert!(place.spooled("new").is_empty() && place.spooled("tmp").is_empty(), "{inject}");
    }
}

#[test]
fn limits_on_files_and_descriptors_are_errors_and_not_our_death() {
    let place = Place::new();
    let (status, stderr) =
        ended(&mut place.shell("ulimit -f 0; TELLHAL_URL=nats://127.0.0.1:1 exec $TELLHAL a x"));
    assert_eq!(status, 75, "{stderr}");
    assert!(stderr.contains("File too large"), "{stderr}");
    assert!(place.spooled("tmp").is_empty() && place.spooled("new").is_empty());
    for limit in ["-f 0", "-n 32", "-n 16"] {
        let (status, stderr) = ended(&mut place.shell(&format!("ulimit {limit}; exec $TELLHAL a x")));
        assert_eq!(status, 0, "{limit}: {stderr}");
    }
    let (status, _) = ended(&mut place.shell("ulimit -n 4; exec $TELLHAL a x"));
    assert_ne!(status, 0);
    assert!(status > 0, "it ends by itself: {status}");
}

#[test]
fn a_hundred_senders_and_twenty_flushers_on_one_spool() {
    let place = Place::new();
    let mut running = Vec::new();
    for n in 0..100 {
        let mut sender = place.tellhal(&["a", &format!("{n}")]);
        // Half of them cannot reach the server.
        if n % 2 == 0 {
            sender.env("TELLHAL_URL", AWAY.unwrap());
        }
        running.push(sender.env("TELLHAL_TIMEOUT", "60s").stderr(Stdio::null()).spawn().unwrap());
        if n % 5 == 0 {
            let mut flusher = place.tellhal(&["flush"]);
            flusher.env("TELLHAL_TIMEOUT", "60s").stdout(Stdio::null()).stderr(Stdio::null());
            running.push(flusher.spawn().unwrap());
        }
    }
    for mut child in running {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(ended(&mut place.tellhal(&["flush"])).0, 0);
    let texts = place.texts();
    let each: BTreeSet<String> = texts.iter().cloned().collect();
    assert_eq!(each, (0..100).map(|n| n.to_string()).collect());
    assert_eq!(texts.len(), 100, "one copy each");
    assert!(place.spooled("new").is_empty() && place.spooled("bad").is_empty());
}

#[test]
fn whatever_lies_in_the_spool_the_messages_are_sent() {
    let place = Place::new();
    assert_eq!(ended(place.tellhal(&["a", "whole"]).env("TELLHAL_URL", AWAY.unwrap())).0, 0);
    let new = place.spool().join("new");
    let whole = std::fs::read(&place.spooled("new")[0]).unwrap();
    std::fs::write(new.join("0empty"), b"").unwrap();
    std::fs::write(new.join("0cut\nshort"), &whole[..40]).unwrap();
    std::fs::write(new.join("0huge"), b"tellhal-spool 1 9223372036854775808 00\n{}").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", new.join("0link")).unwrap();
    assert!(Command::new("mkfifo").arg(new.join("0fifo")).status().unwrap().success());
    std::fs::create_dir(new.join("0folder")).unwrap();
    let future = std::time::SystemTime::now() + std::time::Duration::from_secs(1_000_000_000);
    std::fs::File::open(&place.spooled("new")[0]).unwrap().set_modified(future).unwrap();
    let (status, stderr) = ended(&mut place.tellhal(&["flush"]));
    assert_eq!(status, 0, "{stderr}");
    assert_eq!(stderr.lines().count(), 6, "{stderr}");
    assert_eq!(place.texts(), ["whole"]);
    assert_eq!((place.spooled("new").len(), place.spooled("bad").len()), (0, 6));
}
