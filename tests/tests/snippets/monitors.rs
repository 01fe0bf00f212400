//! Monit, Icinga, Nagios and fail2ban.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::process::Command;
use std::time::Duration;

use tests::wait::SOON;
use tests::{Process, find, wait_until};

use super::scene::{Scene, sh};

async fn told(scene: &Scene, count: u64) {
    wait_until("the message", SOON, async || scene.count().await >= count).await;
}

#[tokio::test]
async fn monit_tells_that_a_file_is_gone_and_back() {
    use std::os::unix::fs::PermissionsExt as _;
    let scene = Scene::start().await;
    scene.install("monit/tellhal-monit", &[]);
    let backup = scene.at("nightly.tar.gz");
    let check = scene.text("monit/tellhal", &[("/var/backups/nightly.tar.gz", &backup)]);
    let files = [("pidfile", "pid"), ("statefile", "state"), ("idfile", "id")]
        .map(|(kind, file)| format!("set {kind} {}\n", scene.at(file)));
    let config = scene.path("monitrc");
    std::fs::write(&config, format!("set daemon 1\n{}{check}", files.concat())).unwrap();
    std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut monit = Command::new(find::theirs("monit"));
    monit.arg("-I").arg("-c").arg(config).env("HOME", scene.at(""));
    let _monit = Process::start("monit", &mut monit, &scene.path("log"));
    told(&scene, 1).await;
    std::fs::write(&backup, "").unwrap();
    scene.shows("Monit", &[]).await;
}

/// A service whose check prints the file `output` and ends with the status in the file `status`.
const ICINGA: &str = r#"
include <itl>
object CheckerComponent "checker" { }
object NotificationComponent "notification" { }
object CheckCommand "disk" { command = [ "/bin/sh", "-c", "cat HERE/output; exit $$(cat HERE/status)" ] }
object CheckCommand "up" { command = [ "/bin/true" ] }
object Host "web1" {
  check_command = "up"
}
object Service "disk" {
  host_name = "web1"
  check_command = "disk"
  max_check_attempts = 1
  check_interval = 1s
  retry_interval = 1s
}
"#;

#[tokio::test]
async fn icinga_tells_a_problem_and_its_end() {
    let scene = Scene::start().await;
    scene.install("icinga/tellhal-icinga", &[]);
    let here = scene.at("").trim_end_matches('/').to_owned();
    let config = ICINGA.replace("HERE", &here) + &scene.text("icinga/tellhal.conf", &[]);
    std::fs::write(scene.path("icinga2.conf"), config).unwrap();
    std::fs::write(scene.path("output"), "DISK CRITICAL - \"/srv\" is full; $(reboot)\n").unwrap();
    std::fs::write(scene.path("status"), "2").unwrap();
    let mut icinga = Command::new(find::theirs("icinga2"));
    icinga.args(["daemon", "-c"]).arg(scene.path("icinga2.conf"));
    for (name, value) in [("RunAsUser", user("-un").await), ("RunAsGroup", user("-gn").await)] {
        icinga.arg("-D").arg(format!("{name}={value}"));
    }
    for folder in ["DataDir", "LogDir", "CacheDir", "SpoolDir", "InitRunDir"] {
        std::fs::create_dir(scene.path(folder)).unwrap();
        icinga.arg("-D").arg(format!("{folder}={}", scene.at(folder)));
    }
    let mut icinga = Process::start("icinga2", &mut icinga, &scene.path("log"));
    told(&scene, 1).await;
    // The new file is whole when the check reads it.
    std::fs::write(scene.path("status"), "0").unwrap();
    std::fs::write(scene.path("ok"), "DISK OK\n").unwrap();
    std::fs::rename(scene.path("ok"), scene.path("output")).unwrap();
    scene.shows("Icinga", &[]).await;
    // It ends its own children.
    icinga.terminate(SOON).await;
}

async fn user(option: &str) -> String {
    let output = Command::new("id").arg(option).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn the_variables_of_nagios_are_told() {
    let scene = Scene::start().await;
    scene.install("icinga/tellhal-icinga", &[]);
    for (kind, author, comment) in [("PROBLEM", "", ""), ("ACKNOWLEDGEMENT", "ann", "I look at it")] {
        let mut notify = sh("./tellhal-icinga");
        notify.env("NAGIOS_NOTIFICATIONTYPE", kind).env("NAGIOS_HOSTNAME", "web1");
        notify.env("NAGIOS_HOSTSTATE", "DOWN").env("NAGIOS_LASTHOSTSTATE", "UP");
        notify
            .env("NAGIOS_HOSTOUTPUT", "CRITICAL - Host Unreachable (192.0.2.7)")
            .env("NAGIOS_SERVICEDESC", "");
        notify.env("NAGIOS_NOTIFICATIONAUTHOR", author).env("NAGIOS_NOTIFICATIONCOMMENT", comment);
        assert!(scene.run(&mut notify).await.status.success());
    }
    scene.shows("Nagios", &[]).await;
}

const JAIL: &str = "[sshd]
enabled = true
filter = sshd
backend = polling
logpath = HERE/auth.log
maxretry = 2
findtime = 1h
bantime = 1h
action = tellhal
";

#[tokio::test]
async fn fail2ban_tells_a_ban() {
    let scene = Scene::start().await;
    scene.sh("mkdir filter.d action.d && cp /etc/fail2ban/fail2ban.conf . && touch auth.log").await;
    std::fs::write(scene.path("fail2ban.local"), "[Definition]\ndbfile = None\n").unwrap();
    let action = scene.text("fail2ban/tellhal.conf", &[]);
    std::fs::write(scene.path("action.d/tellhal.conf"), action).unwrap();
    std::fs::write(scene.path("filter.d/sshd.conf"), "[Definition]\nfailregex = ^ failure of <HOST>$\n")
        .unwrap();
    std::fs::write(scene.path("jail.conf"), JAIL.replace("HERE/", &scene.at(""))).unwrap();
    let mut server = Command::new(find::theirs("fail2ban-server"));
    server.args(["-f", "-c"]).arg(scene.path("")).arg("-s").arg(scene.path("socket"));
    server.arg("-p").arg(scene.path("pid")).arg("--logtarget").arg(scene.path("fail2ban.log")).arg("start");
    let mut server = Process::start("fail2ban", &mut server, &scene.path("log"));
    server
        .ready("the jail is started", async || {
            std::fs::read_to_string(scene.path("fail2ban.log"))
                .is_ok_and(|log| log.contains("Jail 'sshd' started"))
        })
        .await;
    // The server may take the first lines for old ones.
    wait_until("the ban", SOON, async || {
        scene.sh("echo \"$(date '+%Y-%m-%d %H:%M:%S') failure of 203.0.113.7\" >>auth.log").await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        scene.count().await > 0
    })
    .await;
    scene.shows("fail2ban", &[]).await;
    server.terminate(SOON).await;
}
