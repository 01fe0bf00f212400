//! Paths of programs: our own in the build's folder, others on this machine.

use std::path::{Path, PathBuf};

/// The repository's top folder.
pub fn repository() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_owned()
}

/// The build's output folder.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), PathBuf::from)
}

/// One of our own programs, in the folder `TELLHAL_BIN_DIR`, else in the debug build's folder.
pub fn ours(name: &str) -> PathBuf {
    let dir = std::env::var_os("TELLHAL_BIN_DIR").map_or_else(|| target().join("debug"), PathBuf::from);
    let path = dir.join(name);
    assert!(path.is_file(), "{} is not there: run `cargo build` first", path.display());
    path
}

/// A program of others: the file in the variable `NAME` (such as `NATS_SERVER`), else one that `tests/run` has installed,
/// else one on the `PATH` or in a system folder.
pub fn theirs(name: &str) -> PathBuf {
    let variable = name.to_ascii_uppercase().replace('-', "_");
    if let Some(path) = std::env::var_os(variable) {
        return path.into();
    }
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs = vec![target().join("tools/venv/bin")];
    dirs.extend(std::env::split_paths(&paths));
    dirs.extend(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from));
    let program = dirs.iter().map(|dir| dir.join(name)).find(|path| path.is_file());
    program.unwrap_or_else(|| panic!("{name} is not installed: run `tests/run --tools` once"))
}

/// The Python that has `nats-py`, `slack_sdk` and `standardwebhooks`.
pub fn python() -> PathBuf {
    if let Some(path) = std::env::var_os("TELLHAL_TEST_PYTHON") {
        return path.into();
    }
    let path = target().join("tools/venv/bin/python3");
    assert!(path.is_file(), "{} is not there: run `tests/run --tools` once", path.display());
    path
}

/// A program of the Python environment `venv`, which `tests/run` has installed for one server.
pub fn in_venv(venv: &str, program: &str) -> PathBuf {
    let path = target().join("tools").join(venv).join("bin").join(program);
    assert!(path.is_file(), "{} is not there: run `tests/run --tools` once", path.display());
    path
}

/// The Node packages `name`, which `tests/run` has installed: `node` has the NATS clients, `hubot` Hubot and what handlers need,
/// `hooks` GitHub's example payloads.
pub fn node_packages(name: &str) -> PathBuf {
    let path = target().join("tools").join(name).join("node_modules");
    assert!(path.is_dir(), "{} is not there: run `tests/run --tools` once", path.display());
    path
}
