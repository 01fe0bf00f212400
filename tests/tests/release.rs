//! A release: one version, in the programs, the changelog and the cookbook; the commit that `--version` names.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fs;
use std::path::Path;
use std::process::Command;

use tests::find;

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn programs_changelog_and_cookbook_have_one_version() {
    let root = find::repository();
    for program in ["tellhal", "hal-relay", "hal-bridge"] {
        let shown = run(Command::new(find::ours(program)).arg("--version"));
        assert!(shown.starts_with(&format!("{program} {VERSION} (")), "{shown}");
    }
    let changelog = fs::read_to_string(root.join("CHANGELOG.md")).unwrap();
    let mut sections = changelog.lines().filter_map(|line| line.strip_prefix("## "));
    // Between releases, `Unreleased` is above the last release, which the version then still is.
    let top = sections.find(|section| *section != "Unreleased");
    assert!(
        top.is_none_or(|section| section.split([' ', ']']).next().unwrap().trim_matches('[') == VERSION),
        "CHANGELOG.md begins with {top:?}, and the version is {VERSION}"
    );
    let cookbook = fs::read_to_string(root.join("deploy/chef/metadata.rb")).unwrap();
    assert!(
        cookbook.contains(&format!("\nversion '{VERSION}'\n")),
        "deploy/chef/metadata.rb is not {VERSION}"
    );
}

/// Runs the build script of `tellhal` in `folder` and returns the version that it sets.
fn version_of(build: &Path, folder: &Path, variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(build);
    command.current_dir(folder).env_remove("TELLHAL_COMMIT").env("CARGO_PKG_VERSION", "1.2.3");
    let output = run(command.envs(variables.iter().copied()));
    output.lines().find_map(|line| line.strip_prefix("cargo:rustc-env=TELLHAL_VERSION=")).unwrap().to_owned()
}

#[test]
fn version_names_the_commit_of_the_sources() {
    let dir = tempfile::tempdir().unwrap();
    let (build, member) = (dir.path().join("build"), dir.path().join("sources/tellhal"));
    fs::create_dir_all(&member).unwrap();
    let script = find::repository().join("tellhal/build.rs");
    run(Command::new("rustc").args(["--edition", "2024", "-o"]).arg(&build).arg(script));
    let (debug, release) = (("PROFILE", "debug"), ("PROFILE", "release"));

    assert_eq!(version_of(&build, &member, &[release]), "1.2.3");
    assert_eq!(version_of(&build, &member, &[release, ("TELLHAL_COMMIT", "abc")]), "1.2.3 (abc)");
    // A repository above is another project's.
    let git = |arguments: &[&str], folder: &Path| {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=a", "-c", "user.email=a@example.com"]).args(arguments);
        run(command.current_dir(folder))
    };
    let commit = |folder: &Path| {
        git(&["init", "--quiet"], folder);
        git(&["commit", "--quiet", "--allow-empty", "-m", "one"], folder);
        git(&["rev-parse", "--short=12", "HEAD"], folder).trim().to_owned()
    };
    commit(dir.path());
    assert_eq!(version_of(&build, &member, &[release]), "1.2.3");
    let commit = commit(member.parent().unwrap());
    assert_eq!(version_of(&build, &member, &[release]), format!("1.2.3 ({commit})"));
    assert_eq!(version_of(&build, &member, &[debug]), "1.2.3 (debug build)");
    assert_eq!(version_of(&build, &member, &[debug, ("TELLHAL_COMMIT", "abc")]), "1.2.3 (abc)");
}
