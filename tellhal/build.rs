//! Sets `TELLHAL_VERSION`, which `--version` of all programs shows: the version, and in builds for users the commit of the sources.
//!
//! The commit is that of the variable `TELLHAL_COMMIT`, as for sources without a repository, else of this repository. A debug build does
//! not ask the repository, so that a commit makes nobody compile anew.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=TELLHAL_COMMIT");
    let released = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let named = env::var("TELLHAL_COMMIT").ok().filter(|commit| !commit.is_empty());
    let commit = named.or_else(|| if released { commit_of_repository() } else { None });
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    match commit {
        Some(commit) => println!("cargo:rustc-env=TELLHAL_VERSION={version} ({commit})"),
        None if released => println!("cargo:rustc-env=TELLHAL_VERSION={version}"),
        None => println!("cargo:rustc-env=TELLHAL_VERSION={version} (debug build)"),
    }
}

/// The first twelve digits of this repository's commit. None if the sources are in no repository, or in one of something else.
fn commit_of_repository() -> Option<String> {
    if !Path::new("../.git").exists() {
        return None;
    }
    // This log has a line for each commit and each checkout.
    let log = Path::new("..").join(git(&["rev-parse", "--git-path", "logs/HEAD"])?);
    println!("cargo:rerun-if-changed={}", log.display());
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).current_dir("..").output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
