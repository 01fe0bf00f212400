//! Pushes and deployments: git, Capistrano, and the shell parts of workflows.

use std::process::Command;

use tests::find;

use super::scene::{Scene, folder, sh, text_of};

/// Pushes of Ann's, with the same commits each time.
const PUSHES: &str = r#"set -e
git init -q --bare -b main shop.git
cp post-receive shop.git/hooks/
git clone -q shop.git work
cd work
git checkout -q -b main
git commit -q --allow-empty -m 'Begin the shop'
git push -q origin main
git commit -q --allow-empty -m 'Make the cart faster'
git commit -q --allow-empty -m 'Fix the $(checkout) "button"'
git tag v1
git push -q origin main v1 main:stable
git commit -q --amend --allow-empty -m 'Fix the checkout'
git push -q -f origin main :stable"#;

#[tokio::test]
async fn a_push_is_one_message() {
    let scene = Scene::start().await;
    scene.install("git/post-receive", &[]);
    let mut pushes = sh(PUSHES);
    pushes.env("HOME", scene.at("")).env("LOGNAME", "ann").env("GIT_CONFIG_NOSYSTEM", "1");
    for person in ["AUTHOR", "COMMITTER"] {
        pushes.env(format!("GIT_{person}_NAME"), "Ann").env(format!("GIT_{person}_EMAIL"), "ann@example.com");
        pushes.env(format!("GIT_{person}_DATE"), "2026-11-28T12:00:00Z");
    }
    let output = scene.run(&mut pushes).await;
    assert!(output.status.success(), "{}", text_of(&output));
    scene.shows("git", &[]).await;
}

#[tokio::test]
async fn capistrano_tells_how_deployments_end() {
    let scene = Scene::start().await;
    scene.install("capistrano/tellhal.rake", &[]);
    scene.sh("mkdir -p config/deploy && touch config/deploy/production.rb").await;
    std::fs::write(scene.path("config/deploy.rb"), "set :application, 'shop'\n").unwrap();
    let capfile = "require 'capistrano/setup'\nrequire 'capistrano/deploy'\nimport 'tellhal.rake'\n";
    let failing = "task('deploy:updating') { raise 'no room' }\n";
    for (capfile, works) in [(capfile.to_owned(), true), (format!("{capfile}{failing}"), false)] {
        std::fs::write(scene.path("Capfile"), capfile).unwrap();
        let mut cap = Command::new(find::theirs("cap"));
        let output = scene.run(cap.args(["production", "deploy"]).env("HOME", scene.at(""))).await;
        assert_eq!(output.status.success(), works, "{}", text_of(&output));
    }
    scene.shows("Capistrano", &[]).await;
}

/// A workflow's script runs as GitHub's runner runs it.
#[tokio::test]
async fn the_last_step_of_a_workflow_tells_how_the_job_went() {
    let scene = Scene::start().await;
    let workflow = scene.text("github-actions/workflow.yml", &[]);
    let script = workflow.rsplit_once("run: |\n").unwrap().1;
    for status in ["failure", "success"] {
        let mut step = Command::new("bash");
        step.args(["--noprofile", "--norc", "-eo", "pipefail", "-c", script]).env_clear();
        step.env("PATH", "/usr/bin:/bin").env("JOB_STATUS", status).env("GITHUB_ACTOR", "ann");
        step.env("GITHUB_REPOSITORY", "example/shop").env("GITHUB_WORKFLOW", "tests");
        step.env("GITHUB_REF_NAME", "main").env("GITHUB_SERVER_URL", "https://github.com");
        let output = scene.run(step.env("GITHUB_RUN_ID", "1658821493")).await;
        assert!(output.status.success(), "{}", text_of(&output));
    }
    scene.shows("GitHub Actions", &[]).await;
}

#[tokio::test]
async fn the_steps_of_a_jenkinsfile_tell_a_failure_and_its_end() {
    let scene = Scene::start().await;
    let pipeline = std::fs::read_to_string(folder().join("jenkins/Jenkinsfile")).unwrap();
    assert!(!pipeline.contains("sh \""), "Groovy would put values into the shell's text");
    let pipeline = scene.text("jenkins/Jenkinsfile", &[]);
    let post = pipeline.split_once("post {").unwrap().1;
    for script in post.lines().filter_map(|line| line.trim().strip_prefix("sh '")?.strip_suffix('\'')) {
        let mut step = sh(&format!("set -xe\n{script}"));
        step.env("JOB_NAME", "shop/main").env("BUILD_NUMBER", "17");
        step.env("BUILD_URL", "https://jenkins.example.com/job/shop/job/main/17/");
        let output = scene.run(&mut step).await;
        assert!(output.status.success(), "{}", text_of(&output));
    }
    scene.shows("Jenkins", &[]).await;
}
