//! No snippet makes its program fail when tellhal fails or is missing, and none lets a shell read the values of others.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::process::{Command, Stdio};

use tests::wait::SOON;
use tests::wait_until;

use super::scene::{Scene, program, sh};

const HOSTILE: &str = "$(touch pwned) `touch pwned` \"'; touch pwned #\n--severity=debug \\n %s";

/// The programs, each with its arguments and the variables whose values others may choose.
const PROGRAMS: [(&str, &[&str], &[&str]); 9] = [
    (
        "smartd/tellhal-smartd",
        &[],
        &["SMARTD_MESSAGE", "SMARTD_DEVICEINFO", "SMARTD_FAILTYPE", "SMARTD_DEVICE"],
    ),
    ("mdadm/tellhal-mdadm", &["Fail", HOSTILE, HOSTILE], &[]),
    ("zed/statechange-tellhal.sh", &[], &["ZEVENT_POOL", "ZEVENT_VDEV_PATH", "ZEVENT_VDEV_STATE_STR"]),
    ("git/post-receive", &[], &["GL_USER"]),
    ("pam/tellhal-login", &[], &["PAM_USER", "PAM_RHOST", "PAM_TTY", "PAM_SERVICE"]),
    ("monit/tellhal-monit", &["failed"], &["MONIT_SERVICE", "MONIT_EVENT", "MONIT_DESCRIPTION"]),
    ("icinga/tellhal-icinga", &[], &["NAGIOS_SERVICEDESC", "NAGIOS_SERVICEOUTPUT", "NAGIOS_HOSTNAME"]),
    ("github-actions/workflow.yml", &[], &["GITHUB_REF_NAME", "GITHUB_ACTOR", "GITHUB_WORKFLOW"]),
    ("jenkins/Jenkinsfile", &[], &["JOB_NAME", "BUILD_URL"]),
];

/// The shell's part of a snippet, as a file.
fn install(scene: &Scene, snippet: &str) {
    let script = match snippet {
        "github-actions/workflow.yml" => {
            let text = scene.text(snippet, &[]);
            format!("set -e\n{}", text.rsplit_once("run: |\n").unwrap().1)
        }
        "jenkins/Jenkinsfile" => {
            let text = scene.text(snippet, &[]);
            let scripts =
                text.lines().filter_map(|line| line.trim().strip_prefix("sh '")?.strip_suffix('\''));
            format!("set -e\n{}", scripts.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n"))
        }
        _ => return std::fs::rename(scene.install(snippet, &[]), scene.path("hook")).unwrap(),
    };
    program(&scene.path("hook"), &script);
}

#[tokio::test]
async fn no_value_is_read_by_a_shell_and_no_failure_is_passed_on() {
    let scene = Scene::start().await;
    scene.sh("git init -q").await;
    for (snippet, arguments, variables) in PROGRAMS {
        install(&scene, snippet);
        // A tellhal that keeps no message.
        program(
            &scene.path("bin/tellhal"),
            &format!("printf '%s\\0' \"$@\" >>{}\nexit 75", scene.at("words")),
        );
        let hook = || {
            let mut hook = Command::new(scene.path("hook"));
            hook.args(arguments).env_clear().env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
            hook.env("PAM_TYPE", "open_session").env("NAGIOS_NOTIFICATIONTYPE", "PROBLEM");
            hook.envs(variables.iter().map(|variable| (variable, HOSTILE)));
            hook
        };
        let output = scene.run(&mut hook()).await;
        assert!(output.status.success(), "{snippet} fails with its tellhal: {output:?}");
        let words = scene.path("words");
        // One of them does not wait for it.
        let is_whole = async || std::fs::read_to_string(&words).is_ok_and(|words| words.contains(HOSTILE));
        wait_until(snippet, SOON, is_whole).await;
        let given = std::fs::read_to_string(&words).unwrap();
        let expected = variables.len() + arguments.iter().filter(|argument| **argument == HOSTILE).count();
        assert!(given.matches(HOSTILE).count() >= expected, "{snippet} gives {given:?}");
        assert!(given.split('\0').all(|word| word != "--severity=debug"), "{snippet} gives {given:?}");
        assert!(!scene.path("pwned").exists(), "{snippet} lets a shell read a value");
        std::fs::remove_file(&words).unwrap();

        std::fs::remove_file(scene.path("bin/tellhal")).unwrap();
        let output = scene.run(&mut hook()).await;
        assert!(output.status.success(), "{snippet} fails without tellhal: {output:?}");
    }
}

#[tokio::test]
async fn a_value_that_is_missing_loses_no_message() {
    let scene = Scene::start().await;
    scene.sh("git init -q").await;
    for (snippet, arguments, _) in PROGRAMS {
        install(&scene, snippet);
        let mut hook = Command::new(scene.path("hook"));
        hook.args(arguments).env_clear().env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
        hook.env("PAM_TYPE", "open_session").env("NAGIOS_NOTIFICATIONTYPE", "PROBLEM");
        let before = scene.count().await;
        let output = scene.run(&mut hook).await;
        assert!(output.status.success(), "{snippet}: {output:?}");
        wait_until(&format!("the message of {snippet}"), SOON, async || scene.count().await > before).await;
    }
}

/// The lines that borgmatic gives a shell end well, whatever tellhal does.
#[tokio::test]
async fn no_hook_of_borgmatic_fails() {
    let scene = Scene::start().await;
    for snippet in ["borgmatic/borgmatic-2.yaml", "borgmatic/borgmatic-1.7.yaml"] {
        let text = scene.text(snippet, &[]);
        let calls: Vec<&str> = text.lines().filter(|line| line.contains("tellhal -t")).collect();
        assert_eq!(calls.len(), 2, "{snippet}");
        for call in calls {
            let call = call.trim().trim_start_matches("- ");
            assert!(call.contains(" || true"), "{call}");
            let call = call.replace("<<'end of the error'", "</dev/null");
            assert!(scene.run(&mut sh(&format!("set -e; {call}"))).await.status.success(), "{call}");
        }
    }
}
