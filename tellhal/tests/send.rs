//! `tellhal TAG MESSAGE` and `… | tellhal -p TAG`: the real binary against a real nats-server.

#![allow(clippy::unwrap_used)]

mod common;

use std::process::Stdio;

use common::{Place, ended, feed, status, stderr, stdout};

#[test]
fn the_originals_calls_work_unchanged() {
    let place = Place::new();
    let output = place.tellhal(&["-v", "backup.mysql", "Nightly backup", "finished"]).output().unwrap();
    assert_eq!((status(&output), stderr(&output).as_str()), (0, ""));
    assert_eq!(stdout(&output), "backup.mysql: Nightly backup finished\n");
    let output = feed(&mut place.tellhal(&["-p", "-v", "disk.report"]), b"one\ntwo\n");
    assert_eq!((status(&output), stdout(&output).as_str()), (0, "disk.report: one\ntwo\n"));
    assert_eq!(ended(&mut place.tellhal(&["a", "--", "-x", "--not-a-flag"])), (0, String::new()));

    let log = place.log();
    let subjects: Vec<&str> = log.iter().map(|(subject, ..)| subject.as_str()).collect();
    assert_eq!(subjects, ["hal.ops.db1.backup.mysql", "hal.ops.db1.disk.report", "hal.ops.db1.a"]);
    assert_eq!(place.texts(), ["Nightly backup finished", "one\ntwo", "-x --not-a-flag"]);
    for (_, id, body) in &log {
        assert_eq!(body["id"], id.as_str());
        assert_eq!(
            (&body["v"], &body["source"], &body["severity"]),
            (&1.into(), &"db1".into(), &"info".into())
        );
    }
    // No message was kept, so no spool was created.
    assert!(!place.spool().exists());
}

#[test]
fn every_flag_reaches_the_message() {
    let place = Place::new();
    let args = [
        "-t",
        "status",
        "-s",
        "WARN",
        "--title",
        "Deploy\nis slow",
        "--field",
        "host=web1",
        "--field",
        "n=a=b",
        "--link",
        "https://example.com/1",
        "--key",
        "web",
        "--status",
        "failed",
        "--host",
        "web1.example.com",
        "step",
        "3",
    ];
    assert_eq!(ended(&mut place.tellhal(&args)), (0, String::new()));
    let body = &place.bodies()[0];
    assert_eq!(body["tag"], "status");
    assert_eq!(body["severity"], "warning");
    assert_eq!(body["title"], "Deploy is slow");
    assert_eq!(body["fields"], serde_json::json!({"host": "web1", "n": "a=b"}));
    assert_eq!(body["links"], serde_json::json!([{"url": "https://example.com/1"}]));
    assert_eq!(
        (&body["key"], &body["status"], &body["text"]),
        (&"web".into(), &"failed".into(), &"step 3".into())
    );
    assert_eq!(body["host"], "web1.example.com");
}

#[test]
fn a_wrong_command_line_is_64_with_one_reason_and_nothing_is_stored() {
    let place = Place::new();
    let long = "a".repeat(129);
    let cases: [(&[&str], &str); 24] = [
        (&[], "tellhal --help shows all"),
        (&["backup"], "no message for tag backup"),
        (&["flsuh"], "did you mean tellhal flush?"),
        (&["flsh", "now"], "did you mean tellhal flush? A message with the tag flsh needs tellhal -t flsh"),
        (&["lisen", "backup.>"], "did you mean tellhal listen?"),
        (&["runn", "-t", "backup.x", "--", "true"], "did you mean tellhal run?"),
        (&["backup", ""], "is empty"),
        (&["backup", "  \n"], "is empty"),
        (&["", "x"], "the tag is empty"),
        (&["a..b", "x"], "nearest legal tag is a.b"),
        (&["a.*", "x"], "nearest legal tag is a._"),
        (&["a.>", "x"], "nearest legal tag is a._"),
        (&["a b", "x"], "nearest legal tag is a_b"),
        (&["a\nb", "x"], "nearest legal tag is a_b"),
        (&["$JS.API", "x"], "nearest legal tag is _JS.API"),
        (&[&long, "x"], "at most 128"),
        (&["-s", "loud", "a", "x"], "severity \"loud\" is unknown"),
        (&["--status", "odd", "a", "x"], "succeeded"),
        (&["--field", "x", "a", "x"], "NAME=VALUE"),
        (&["--link", "javascript:x", "a", "x"], "https://"),
        (&["--timeout", "0s", "a", "x"], "is not longer than zero"),
        (&["--titel", "x", "a", "x"], "--title"),
        (&["-p", "user.err", "x"], "-s err"),
        (&["run", "-t", "x"], "COMMAND"),
    ];
    for (args, reason) in cases {
        let (status, stderr) = ended(&mut place.tellhal(args));
        assert_eq!(status, 64, "{args:?}: {stderr}");
        assert!(stderr.contains(reason), "{args:?}: {stderr}");
    }
    assert!(place.bodies().is_empty() && !place.spool().exists());
}

#[test]
fn a_reserved_or_illegal_source_is_reported_and_the_message_is_kept() {
    let place = Place::new();
    for source in ["relay", "bridge", "a.b", "a b"] {
        let (status, stderr) = ended(place.tellhal(&["a", source]).env("TELLHAL_SOURCE", source));
        assert_eq!(status, 0, "{stderr}");
        assert!(stderr.contains("is not a source"), "{stderr}");
        assert_eq!(ended(&mut place.tellhal(&["--source", source, "a", "x"])).0, 64);
    }
    // Kept under the machine's own name, so that it can be sent once the configuration is right.
    assert_eq!(ended(&mut place.tellhal(&["flush"])), (0, String::new()));
    assert_eq!(place.texts(), ["relay", "bridge", "a.b", "a b"]);
}

#[test]
fn any_bytes_go_through_as_data() {
    use std::os::unix::ffi::OsStrExt;
    let place = Place::new();
    let nasty = "\u{1b}[31m\u{1b}]8;;http://x\u{7}link \u{202e}gnp {{ x }} $(id) `id` \"' \\ \r\n\tend";
    assert_eq!(ended(&mut place.tellhal(&["a", nasty])).0, 0);
    assert_eq!(status(&feed(&mut place.tellhal(&["-p", "a"]), b"nul\0 and caf\xe9\n\n")), 0);
    let bad = std::ffi::OsStr::from_bytes(b"caf\xe9");
    assert_eq!(ended(place.tellhal(&["a"]).arg(bad)).0, 0);
    assert_eq!(place.texts(), [nasty, "nul\0 and caf\u{fffd}", "caf\u{fffd}"]);
    let echoed = place.tellhal(&["-v", "a", nasty]).output().unwrap();
    assert!(!stdout(&echoed).contains('\u{1b}'), "the terminal is left alone");
}

#[test]
fn standard_input_may_be_long_endless_closed_or_empty() {
    let place = Place::new();
    let megabyte = [b"first ".as_slice(), &vec![b'x'; 1_000_000], b" last"].concat();
    assert_eq!(status(&feed(&mut place.tellhal(&["-p", "a"]), &megabyte)), 0);
    let (code, stderr) = ended(&mut place.shell("yes | $TELLHAL -p a"));
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("does not end"), "{stderr}");
    for text in place.texts() {
        assert!(text.contains("bytes cut") && text.len() <= 65_536);
        assert!(text.starts_with("first ") && text.ends_with(" last") || text.starts_with("y\n"));
    }
    for script in ["$TELLHAL -p a <&-", "$TELLHAL -p a </dev/null"] {
        let (code, stderr) = ended(&mut place.shell(script));
        assert_eq!(code, 64, "{stderr}");
        assert!(stderr.contains("standard input was empty"), "{stderr}");
    }
    assert_eq!(ended(&mut place.tellhal(&["-e", "-p", "a"])), (0, String::new()));
    assert_eq!(ended(&mut place.tellhal(&["--title", "only", "-p", "a"])), (0, String::new()));
    assert_eq!(place.bodies().len(), 3);
}

#[test]
fn a_file_is_read_as_logger_reads_it() {
    let place = Place::new();
    let file = place.path("log");
    std::fs::write(&file, "one\n 1%\r99%\ntwo\n").unwrap();
    let shown = file.to_str().unwrap();
    assert_eq!(ended(&mut place.tellhal(&["-f", shown, "a"])), (0, String::new()));
    assert_eq!(ended(&mut place.tellhal(&["-t", "a", "--file", shown])), (0, String::new()));
    assert_eq!(status(&feed(&mut place.tellhal(&["-f", "-", "a"]), b"piped")), 0);
    assert_eq!(place.texts(), ["one\n99%\ntwo", "one\n99%\ntwo", "piped"]);
    for (args, reason) in [
        (&["-f", "/none", "a"][..], "cannot read /none: No such file"),
        (&["-f", "/", "a"], "cannot read /: Is a directory"),
        (&["-f", "/dev/null", "a"], "/dev/null was empty"),
        (&["-f", shown, "a", "x"], "a message on the command line too"),
        (&["-f", shown, "-p", "a"], "cannot be used with"),
    ] {
        let (status, stderr) = ended(&mut place.tellhal(args));
        assert_eq!((status, stderr.contains(reason)), (64, true), "{args:?}: {stderr}");
    }
    assert_eq!(ended(&mut place.tellhal(&["-e", "-f", "/dev/null", "a"])), (0, String::new()));
}

#[test]
fn a_message_may_begin_with_a_dash() {
    let place = Place::new();
    for args in [&["disk.report", "-5 degrees"][..], &["-s", "error", "temp", "-5", "outside"]] {
        assert_eq!(ended(&mut place.tellhal(args)), (0, String::new()));
    }
    assert_eq!(ended(&mut place.tellhal(&["--title", "-5 today", "a", "--- x ---"])), (0, String::new()));
    assert_eq!(place.texts(), ["-5 degrees", "-5 outside", "--- x ---"]);
    assert_eq!(place.bodies()[2]["title"], "-5 today");
}

#[test]
fn a_terminal_on_standard_input_is_mentioned() {
    let place = Place::new();
    let script = "printf 'typed\\n\\004' | script -qec '$TELLHAL -p a' /dev/null";
    let output = place.shell(script).stdin(Stdio::null()).output().unwrap();
    assert!(stdout(&output).contains("end it with Ctrl-D"), "{output:?}");
    assert_eq!(place.texts(), ["typed"]);
}

#[test]
fn a_syslog_priority_after_p_is_warned_about() {
    let place = Place::new();
    let output = feed(&mut place.tellhal(&["-p", "user.err"]), b"x");
    assert_eq!(status(&output), 0);
    assert!(stderr(&output).contains("-s err"), "{}", stderr(&output));
}

#[test]
fn a_message_that_is_too_large_is_65_and_never_kept() {
    let place = Place::bare("max_payload: 8192");
    place.make_stream("HAL_OPS", -1);
    let text = "x".repeat(20_000);
    let (status, stderr) = ended(&mut place.tellhal(&["a", &text]));
    assert_eq!(status, 65, "{stderr}");
    assert!(stderr.contains("at most 8192"), "{stderr}");
    assert!(!place.spool().exists());

    // Spooled before the limit was known, it is moved to bad/ and the others are sent.
    let (status, _) = ended(place.tellhal(&["a", &text]).env("TELLHAL_URL", "nats://127.0.0.1:1"));
    assert_eq!(status, 0);
    let (status, stderr) = ended(&mut place.tellhal(&["a", "small"]));
    assert_eq!(status, 0);
    assert!(stderr.contains("bad/"), "{stderr}");
    assert_eq!((place.spooled("new").len(), place.spooled("bad").len()), (0, 1));
    assert_eq!(place.texts(), ["small"]);
}

#[test]
fn one_dead_server_of_two_is_passed_over() {
    let place = Place::new();
    let urls = format!("nats://127.0.0.1:1,{}", place.server.url());
    assert_eq!(ended(place.tellhal(&["a", "x"]).env("TELLHAL_URL", urls)), (0, String::new()));
    assert_eq!(place.texts(), ["x"]);
}

#[test]
fn an_old_message_follows_the_new_one_under_its_own_id() {
    let place = Place::new();
    assert_eq!(ended(place.tellhal(&["a", "old"]).env("TELLHAL_URL", "nats://127.0.0.1:1")).0, 0);
    let kept = std::fs::read_to_string(&place.spooled("new")[0]).unwrap();
    assert_eq!(ended(&mut place.tellhal(&["a", "new"])), (0, String::new()));
    assert_eq!(place.texts(), ["new", "old"]);
    assert!(kept.contains(&place.log()[1].1));
    assert!(place.spooled("new").is_empty());
}

#[test]
#[cfg(feature = "pages")]
fn the_schema_in_the_repository_is_current() {
    let place = Place::bare("");
    for format in ["message", "command", "config"] {
        let printed = stdout(&place.tellhal(&["schema", format]).output().unwrap());
        let file = format!("{}/{format}.schema.json", env!("CARGO_MANIFEST_DIR"));
        let committed = std::fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(committed, printed, "tellhal schema {format} > tellhal/{format}.schema.json");
    }
    for (args, want) in [
        (&["man"][..], ".TH tellhal 1"),
        (&["man", "run"], ".TH tellhal-run 1"),
        (&["man", "listen"], ".TH tellhal-listen 1"),
        (&["completions", "bash"], "debug info notice warning error critical"),
        (&["completions", "bash"], "started succeeded failed resolved"),
        (&["--help"], "Examples:"),
        (&["--help"], "Print the manual page"),
        (&["man", "serve"], ".TH tellhal-serve 1"),
        (&["--help"], "Print the JSON Schema of messages, or of chat commands"),
    ] {
        let output = place.tellhal(args).output().unwrap();
        assert_eq!(status(&output), 0);
        assert!(stdout(&output).contains(want), "{args:?}");
    }
}
