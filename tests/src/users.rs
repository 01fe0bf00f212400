//! The users of the test servers, as `deploy/nats/users` makes them: relay, bridge, handlers, listeners and hosts may do on them only
//! what they may in production. Their keys are made once for a build and serve all tests.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use tempfile::TempDir;

use crate::find;

/// The folder of keys and accounts.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let script = find::repository().join("deploy/nats/users");
    let text = std::fs::read_to_string(&script).expect("deploy/nats/users");
    let mut hasher = DefaultHasher::new();
    (text, include_str!("users.rs")).hash(&mut hasher);
    let hash = hasher.finish();
    let all = find::target().join("tmp");
    let folder = all.join(format!("nats-users-{hash:016x}"));
    if !folder.exists() {
        std::fs::create_dir_all(&all).expect("a folder for keys");
        let new = TempDir::new_in(&all).expect("a folder for keys");
        make(new.path());
        // Another test may have been faster; its keys are as good.
        let _ = std::fs::rename(new.path(), &folder);
    }
    folder
});

/// Runs `deploy/nats/users` with these words on the users in `folder`.
pub fn users(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(find::repository().join("deploy/nats/users"));
    command.args(words).env("HAL_NATS_DIR", folder).env("TELLHAL", find::ours("tellhal"));
    command
}

fn make(folder: &Path) {
    // As tellhal names a user without a name in its environment.
    let uid = rustix::process::geteuid();
    let unix = if uid.is_root() { "root".to_owned() } else { format!("uid_{}", uid.as_raw()) };
    let words: [&[&str]; 5] = [
        &["init"],
        &["add", "host", "tests", "--no-auth"],
        &["add", "handler", "tests", "--command", "*"],
        &["add", "listener", "tests", "--durable", "diagnose", "--user", &unix],
        &["add", "operator", "tests"],
    ];
    for words in words {
        let output = users(folder, words).output().expect("deploy/nats/users starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    for (name, kind) in [("handler", ""), ("listener", "inbox_prefix = \"_INBOX_tests\"\n")] {
        let text = format!("[nats]\nnkey_file = \"keys/{name}-tests.nk\"\n{kind}");
        std::fs::write(folder.join(format!("{name}.toml")), text).expect("a configuration");
    }
}

/// The accounts of a test server. The host without credentials sends as any source, since tests play many hosts; the tests themselves
/// look at everything as `admin`; and where keys are in the way there are `handler`, `listener`, `commands` and `relay`, which may
/// do what those with keys may. All have their name as password.
pub(crate) fn accounts() -> String {
    let text = std::fs::read_to_string(FOLDER.join("accounts.conf")).expect("accounts.conf");
    let table = std::fs::read_to_string(FOLDER.join("users")).expect("the table of users");
    let key = |kind: &str| {
        let line = table.lines().find(|line| line.starts_with(kind)).expect("a user of each kind");
        format!("nkey: {},", line.split(' ').nth(2).expect("a key"))
    };
    let twins = ["handler", "listener", "commands", "relay"].map(|kind| (kind, key(kind)));
    let mut accounts = String::new();
    for line in text.lines() {
        accounts += &line.replace("hal.ops.tests.>", "hal.ops.*.>");
        accounts.push('\n');
        for (kind, key) in &twins {
            if line.contains(key) {
                accounts += &line.replace(key, &format!("user: {kind}, password: {kind},"));
                accounts.push('\n');
            }
        }
    }
    with_admin(&accounts)
}

/// These accounts and the tests' own user `admin`.
pub fn with_admin(accounts: &str) -> String {
    accounts.replacen("    users: [\n", "    users: [\n      { user: admin, password: admin }\n", 1)
}

/// The file with the seed of a service's key: `relay`, `bridge`, or `commands`, as which the bridge asks handlers.
pub fn key(name: &str) -> PathBuf {
    FOLDER.join(format!("keys/{name}-main.nk"))
}

/// A configuration of `tellhal` with the credentials of a `handler` or a `listener`.
pub fn config(kind: &str) -> PathBuf {
    FOLDER.join(format!("{kind}.toml"))
}
