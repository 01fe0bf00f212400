//! Backups: borgmatic of both kinds of hooks, restic, pg_dump.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::process::Command;

use tests::find;
use tests::postgres::{PASSWORD, Postgres};

use super::scene::{Scene, sh, text_of};

/// A good backup, and one into a repository that is gone.
async fn borgmatic(program: std::path::PathBuf, snippet: &str, section: &str, settings: &str) {
    let scene = Scene::start().await;
    let hooks = scene.text(snippet, &[]);
    std::fs::write(scene.path("data"), "what is kept").unwrap();
    let config = format!("{}\n{hooks}", settings.replace("HERE", &scene.at("")));
    std::fs::write(scene.path("config.yaml"), config).unwrap();
    let borgmatic = async || {
        let mut command = Command::new(&program);
        command.args(["--config", "config.yaml", "create"]).env("PATH", scene.on_path());
        command.env("HOME", scene.at("")).env("BORG_BASE_DIR", scene.at(""));
        command.env("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes");
        scene.run(&mut command).await
    };
    scene.sh("BORG_BASE_DIR=$PWD borg init --encryption none repo").await;
    let kept = borgmatic().await;
    assert!(kept.status.success(), "{}", text_of(&kept));
    std::fs::rename(scene.path("repo"), scene.path("gone")).unwrap();
    let failed = borgmatic().await;
    assert!(!failed.status.success(), "{}", text_of(&failed));
    let addresses = [("/srv/borg", &*scene.at("repo")), ("/srv/data", &scene.at("data"))];
    scene.shows(section, &addresses).await;
}

#[tokio::test]
async fn borgmatic_of_debian_tells_how_a_backup_ended() {
    let settings = "location:\n    source_directories: [HEREdata]\n    repositories: [HERErepo]\n";
    borgmatic(find::theirs("borgmatic"), "borgmatic/borgmatic-1.7.yaml", "borgmatic 1.7", settings).await;
}

#[tokio::test]
async fn borgmatic_with_commands_tells_how_a_backup_ended() {
    let settings = "source_directories: [HEREdata]\nrepositories:\n    - path: HERErepo\n";
    let program = find::in_venv("borgmatic", "borgmatic");
    borgmatic(program, "borgmatic/borgmatic-2.yaml", "borgmatic 2", settings).await;
}

#[tokio::test]
async fn restic_tells_how_a_backup_ended() {
    let scene = Scene::start().await;
    std::fs::write(scene.path("password"), "secret").unwrap();
    let (command, repository) =
        (scene.cron_command("restic/restic", &[("/etc /home", "password")]), scene.at("repo"));
    let restic = |line: &str| {
        let mut command = sh(line);
        command.env("RESTIC_REPOSITORY", &repository).env("RESTIC_PASSWORD_FILE", "password");
        command.env("RESTIC_CACHE_DIR", scene.at("cache"));
        command
    };
    assert!(scene.run(&mut restic("restic init")).await.status.success());
    assert!(scene.run(&mut restic(&command)).await.status.success());
    std::fs::rename(scene.path("repo"), scene.path("gone")).unwrap();
    assert_eq!(scene.run(&mut restic(&command)).await.status.code(), Some(1));
    scene.shows("restic", &[("/srv/restic", &repository)]).await;
}

#[tokio::test]
async fn pg_dump_tells_how_a_backup_ended() {
    let (scene, postgres) = tokio::join!(Scene::start(), Postgres::start());
    postgres.run("CREATE DATABASE shop").await;
    let command = scene.cron_command("pg_dump/pg_dump", &[("/var/backups/shop.dump", "shop.dump")]);
    let url = postgres.url("postgres", PASSWORD);
    let (address, port) = url.rsplit_once('@').unwrap().1.split_once('/').unwrap().0.split_once(':').unwrap();
    let dump = || {
        let mut dump = sh(&command);
        dump.env("PGHOST", address).env("PGPORT", port).env("PGUSER", "postgres").env("PGPASSWORD", PASSWORD);
        dump
    };
    let output = scene.run(&mut dump()).await;
    assert!(output.status.success(), "{}", text_of(&output));
    assert!(std::fs::metadata(scene.path("shop.dump")).unwrap().len() > 0);
    postgres.run("DROP DATABASE shop").await;
    assert_eq!(scene.run(&mut dump()).await.status.code(), Some(1));
    scene.shows("pg_dump", &[]).await;
}
