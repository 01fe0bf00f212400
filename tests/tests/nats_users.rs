//! deploy/nats/users on files alone: their modes, calls that are killed or cannot make a key, and reload commands that leave a process.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use tests::users::users;

/// Runs it to its end; returns the exit status and all that it wrote.
fn run(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.code(), text.into_owned())
}

fn succeed(folder: &Path, words: &[&str]) {
    let (code, text) = run(&mut users(folder, words));
    assert_eq!(code, Some(0), "{words:?}: {text}");
}

#[test]
fn the_server_and_the_services_can_read_their_files_and_keys_are_closed() {
    let dir = TempDir::new().unwrap();
    let folder = dir.path().join("etc/tellhal");
    let mode = |path: &str| std::fs::metadata(folder.join(path)).unwrap().permissions().mode() & 0o777;
    succeed(&folder, &["init"]);
    assert_eq!(["..", ".", "accounts.conf"].map(mode), [0o755, 0o755, 0o644]);
    assert_eq!(["keys", "users", "keys/relay-main.nk"].map(mode), [0o700, 0o600, 0o600]);
    let key = folder.join("keys/relay-main.nk");
    let old = std::fs::read(&key).unwrap();
    // As deploy/compose lets its user in.
    std::fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
    succeed(&folder, &["rotate", "relay", "main"]);
    succeed(&folder, &["retire", "relay", "main"]);
    assert_eq!(mode("keys/relay-main.nk"), 0o644);
    assert_ne!(std::fs::read(&key).unwrap(), old);
}

#[test]
fn a_key_does_not_come_back_after_a_revoke_that_was_killed() {
    let dir = TempDir::new().unwrap();
    let folder = dir.path().join("users");
    succeed(&folder, &["init"]);
    succeed(&folder, &["add", "host", "db1"]);
    let key = folder.join("keys/host-db1.nk");
    let old = std::fs::read(&key).unwrap();
    // It dies at the first file that it removes.
    let rm = dir.path().join("rm");
    std::fs::write(&rm, "#!/bin/sh\nkill -9 $PPID\n").unwrap();
    std::fs::set_permissions(&rm, Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
    assert_eq!(run(users(&folder, &["revoke", "host", "db1"]).env("PATH", path)).0, None);
    let (code, text) = run(&mut users(&folder, &["add", "host", "db1"]));
    assert!(code == Some(64) && text.contains("there is a host db1 already"), "{text}");
    succeed(&folder, &["revoke", "host", "db1"]);
    succeed(&folder, &["add", "host", "db1"]);
    assert_ne!(std::fs::read(&key).unwrap(), old);
}

#[test]
fn a_process_that_the_reload_command_leaves_does_not_hold_the_lock() {
    let dir = TempDir::new().unwrap();
    let pid = dir.path().join("pid");
    let reload = format!("sleep 60 >/dev/null 2>&1 & echo $! >{}", pid.display());
    let (code, text) = run(users(dir.path(), &["init"]).env("HAL_NATS_RELOAD", reload));
    let lock = Command::new("flock").arg("-n").arg(dir.path().join("users")).arg("true").status();
    let sleep = std::fs::read_to_string(pid).unwrap();
    assert!(Command::new("kill").arg(sleep.trim()).status().unwrap().success());
    assert_eq!(code, Some(0), "{text}");
    assert!(lock.unwrap().success(), "the lock is held");
}

#[test]
fn without_a_program_that_makes_keys_there_is_no_user_without_a_key() {
    let dir = TempDir::new().unwrap();
    for program in ["/nowhere/tellhal", "true"] {
        let (code, text) = run(users(dir.path(), &["init"]).env("TELLHAL", program));
        assert!(code == Some(78) && text.contains("install tellhal or set TELLHAL"), "{text}");
        assert_eq!(std::fs::read_to_string(dir.path().join("users")).unwrap(), "");
    }
}
