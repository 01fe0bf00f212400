//! `hal-relay explain` and `hal-relay rooms` as a person calls them. `BLESS=1` rewrites the expected
//! output; read the diff before you commit it.
// A test's own helpers may panic as the test may.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

fn relay(args: &[&str]) -> Output {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/explain");
    let mut relay = Command::new(env!("CARGO_BIN_EXE_hal-relay"));
    relay.args(args).current_dir(folder).env("HAL_RELAY_CONFIG", "relay.toml");
    relay.env_remove("HAL_NO_SUCH_SECRET").output().unwrap()
}

fn explained(name: &str, args: &[&str]) {
    let output = relay(&[&["explain"], args].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let page = String::from_utf8(output.stdout).unwrap();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/explain").join(name);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&file, &page).unwrap();
    }
    assert_eq!(std::fs::read_to_string(file).unwrap(), page, "{name}");
}

#[test]
fn a_match_says_why_and_what_every_room_shows() {
    let fields = ["--field", "env=prod", "--field", "shard=7"];
    let message = ["backup.mysql.failed", "No space left\nslow query 7 <!channel>", "--source", "db1"];
    explained("matches.txt", &[&message[..], &fields, &["-s", "error", "--title", "Backup failed"]].concat());
}

#[test]
fn a_refusal_says_which_condition_failed_first() {
    explained("severity.txt", &["backup.mysql.done", "fine"]);
    explained("source.txt", &["backup.mysql.failed", "-s", "err"]);
    let fields = ["--field", "env=dev", "--field", "shard=7"];
    explained(
        "field.txt",
        &[&["restore.x", "slow query 7", "-s", "error", "--source", "db2"][..], &fields].concat(),
    );
    explained("dropped.txt", &["cron.debug", "slow query 7"]);
}

#[test]
fn json_has_routes_and_rooms() {
    let output = relay(&["explain", "deploy", "slow query 1", "--json", "--at", "2026-11-23T02:00:00Z"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["message"]["time"], "2026-11-23T02:00:00Z");
    assert_eq!(report["routes"][2]["verdict"], "matches");
    assert_eq!(report["rooms"][0]["room"], "later");
    assert!(report["rooms"][0]["plain_because"].as_str().unwrap().contains("HAL_NO_SUCH_SECRET"));
}

#[test]
fn what_makes_no_sense_is_a_usage_error() {
    for args in [
        &["explain"][..],
        &["explain", "backup mysql"],
        &["explain", "a", "-s", "loud"],
        &["explain", "a", "--field", "x"],
        &["explain", "a", "--source", "db1.example.com"],
        &["rooms", "test", "nowhere"],
        &["rooms", "test", "page"],
    ] {
        assert_eq!(relay(args).status.code(), Some(64), "{args:?}");
    }
}

#[test]
fn a_test_message_really_reaches_a_room() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("relay.toml");
    let hook = |name: &str, address: &str| {
        format!("[rooms.{name}.webhook]\nurl = \"http://{address}/in\"\nallow_private = true\n")
    };
    let address = listener.local_addr().unwrap().to_string();
    std::fs::write(&file, format!("default_room = \"page\"\n{}", hook("hook", &address))).unwrap();
    let taken = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = String::new();
        let mut buffer = [0; 4096];
        while !request.ends_with("}]}") {
            let count = stream.read(&mut buffer).unwrap();
            assert!(count > 0, "the request ended early: {request}");
            request.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        }
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        request
    });
    let config = file.to_str().unwrap();
    let output = relay(&["rooms", "test", "--config", config]);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "hook (webhook): posted\n");
    let request = taken.join().unwrap();
    assert!(request.contains("\"tag\":\"hal.test\"") && request.contains("room hook works"), "{request}");

    // The port is closed now.
    let output = relay(&["rooms", "test", "hook", "--json", "--config", config]);
    assert_eq!(output.status.code(), Some(1));
    let tested: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&tested[0]["room"], &tested[0]["posted"]), (&"hook".into(), &false.into()));
    assert!(tested[0]["reason"].as_str().unwrap().contains("refused"), "{tested}");
}
