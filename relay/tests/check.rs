//! `hal-relay check` on real files: the refusals, and their words. `BLESS=1` rewrites the expected output; read the diff before
//! you commit it.
// A test's own helpers may panic as the test may.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config")
}

/// The configurations of one kind: files, and folders of files.
fn configurations(kind: &str) -> Vec<String> {
    let entries = folder().join(kind).read_dir().unwrap().map(|entry| entry.unwrap().path());
    let wanted = entries.filter(|path| path.is_dir() || path.extension().is_some_and(|end| end == "toml"));
    let mut names: Vec<String> =
        wanted.map(|path| format!("{kind}/{}", path.file_name().unwrap().to_str().unwrap())).collect();
    names.sort();
    names
}

fn check(name: &str, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hal-relay"))
        .args(["check", "--config", name])
        .args(more)
        .current_dir(folder())
        .env_remove("HAL_RELAY_CONFIG")
        .env_remove("HAL_NO_SUCH_SECRET")
        .output()
        .unwrap()
}

/// Compares output with the expected file beside the configuration.
fn as_expected(name: &str, output: &str, end: &str) -> Result<(), String> {
    let file = folder().join(name.trim_end_matches(".toml").to_owned() + end);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&file, output).unwrap();
    }
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    if expected == output {
        Ok(())
    } else {
        Err(format!("--- {name}, expected:\n{expected}--- got:\n{output}"))
    }
}

#[test]
fn every_refusal_says_file_line_and_hint() {
    let names = configurations("invalid");
    assert!(names.len() >= 10);
    let mut wrong = Vec::new();
    for name in names {
        let Output { status, stdout, stderr } = check(&name, &[]);
        let output = String::from_utf8(stderr).unwrap();
        assert_eq!(status.code(), Some(78), "{name}: {output}");
        assert!(stdout.is_empty(), "{name}");
        assert!(output.contains(name.as_str()) && output.contains("= hint: "), "{name}: {output}");
        assert!(!output.contains("hunter2"), "{name} shows a secret: {output}");
        wrong.extend(as_expected(&name, &output, ".stderr").err());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_good_is_counted_and_warned_of() {
    let mut wrong = Vec::new();
    for name in configurations("valid") {
        let Output { status, stdout, stderr } = check(&name, &[]);
        let output = String::from_utf8(stderr).unwrap() + &String::from_utf8(stdout).unwrap();
        assert_eq!(status.code(), Some(0), "{name}: {output}");
        wrong.extend(as_expected(&name, &output, ".out").err());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn json_has_the_same_problems() {
    let refused = check("invalid/typos.toml", &["--json"]);
    let report: serde_json::Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert_eq!(report["ok"], false);
    let first = &report["problems"][0];
    assert_eq!((&first["file"], &first["line"]), (&"invalid/typos.toml".into(), &1.into()));
    assert!(first["hint"].is_string() && first["what"].is_string() && first["level"] == "error");

    let good = check("valid/example.toml", &["--json"]);
    let report: serde_json::Value = serde_json::from_slice(&good.stdout).unwrap();
    assert_eq!((&report["ok"], &report["routes"]), (&true.into(), &1.into()));
}

#[test]
fn a_wrong_call_is_64_and_a_missing_file_is_78() {
    let call = |args: &[&str]| Command::new(env!("CARGO_BIN_EXE_hal-relay")).args(args).output().unwrap();
    assert_eq!(call(&["chek"]).status.code(), Some(64));
    assert_eq!(call(&["check", "--colour"]).status.code(), Some(64));
    assert_eq!(call(&["--help"]).status.code(), Some(0));
    let gone = call(&["check", "--config", "/nonexistent/relay.toml"]);
    assert_eq!(gone.status.code(), Some(78));
    assert!(String::from_utf8(gone.stderr).unwrap().contains("there is no such file"));
}

#[test]
fn the_committed_schema_is_current() {
    let schema = Command::new(env!("CARGO_BIN_EXE_hal-relay")).arg("schema").output().unwrap();
    let schema = String::from_utf8(schema.stdout).unwrap();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("relay.schema.json");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&file, &schema).unwrap();
    }
    assert_eq!(std::fs::read_to_string(file).unwrap(), schema, "BLESS=1 cargo test rewrites it");
}
