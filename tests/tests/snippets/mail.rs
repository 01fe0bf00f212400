//! cron with `tellhal run` and with our sendmail, by Debian's cron itself; and mail as others write it.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::io::Write as _;
use std::process::{Command, Stdio};

use tests::{Process, find};

use super::scene::{Scene, may_mount, program, sh};

/// cron runs its jobs at its start instead of at their time; its mail is given to the file `sendmail` beside it.
const CRON: &str = "set -e
mount -t tmpfs none /run
mount --bind cron.d /etc/cron.d
mount --bind crontab /etc/crontab
mount --bind tabs /var/spool/cron/crontabs
mount --bind sbin /usr/sbin
exec /usr/sbin/cron -f";

/// Runs the job of a snippet, a file for `/etc/cron.d`.
async fn cron(scene: &Scene, snippet: &str, schedule: &str, job: &str) -> Option<Process> {
    let runs_here = [(schedule, "@reboot"), (job, &*scene.at("job"))];
    let text = scene.text(snippet, &runs_here);
    let text = text.replace("root tellhal", &format!("root {}", scene.at("bin/tellhal")));
    scene.install("sendmail/sendmail", &[]);
    if !may_mount("cron") {
        let line = text.lines().last().unwrap().splitn(3, ' ').nth(2).unwrap();
        // As cron does it.
        let mail = "{ printf 'Subject: Cron <root@%s> %s\\n\\n' \"$(hostname)\" \"$0\"; sh -c \"$0\"; } | ./sendmail -FCronDaemon -i -B8BITMIME -oem checks";
        let wrapped = if text.contains("MAILTO=\"\"") { "sh -c \"$0\"; :" } else { mail };
        scene.run(sh(wrapped).arg(line)).await;
        return None;
    }
    for folder in ["cron.d", "tabs", "sbin"] {
        std::fs::create_dir(scene.path(folder)).unwrap();
    }
    std::fs::write(scene.path("crontab"), "").unwrap();
    std::fs::write(scene.path("cron.d/job"), text).unwrap();
    std::fs::copy(find::theirs("cron"), scene.path("sbin/cron")).unwrap();
    std::fs::copy(scene.path("sendmail"), scene.path("sbin/sendmail")).unwrap();
    let mut cron = Command::new("unshare");
    cron.args(["--mount", "sh", "-c", CRON]).current_dir(scene.at(""));
    Some(Process::start("cron", &mut cron, &scene.path("cron.log")))
}

#[tokio::test]
async fn a_job_of_cron_tells_that_it_failed() {
    let scene = Scene::start().await;
    program(&scene.path("report"), "echo 'no data of yesterday'; exit 3");
    std::os::unix::fs::symlink(scene.path("report"), scene.path("job")).unwrap();
    let _cron = cron(&scene, "cron/report", "0 6 * * *", "/usr/local/bin/report").await;
    scene.shows("cron", &[("report", "job")]).await;
}

#[tokio::test]
async fn what_cron_would_send_as_mail_is_told() {
    let scene = Scene::start().await;
    program(&scene.path("job"), "echo 'disk /srv is 91% full'");
    let _cron = cron(&scene, "sendmail/check", "*/10 * * * *", "/usr/local/bin/check").await;
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let host = format!("<root@{}>", host.trim().split('.').next().unwrap());
    scene.shows("sendmail", &[("<root@db1>", &host), ("/usr/local/bin/check", &scene.at("job"))]).await;
}

#[tokio::test]
async fn mail_of_other_programs_is_told() {
    let scene = Scene::start().await;
    scene.install("sendmail/sendmail", &[]);
    let (long, long_tag) = ("x".repeat(200), format!("[mail.{}] db1: text", "x".repeat(100)));
    let cases: [(&[&str], &str, &[&str]); 15] = [
        (
            &["-t", "-oi"],
            "To: Ann Bee <ann.bee@example.com>, bob\r\nsubject: a long\r\n  subject\r\nTO: c\r\n\r\nSubject: the text\r\n",
            &["[mail.ann.bee] db1: a long subject", "Subject: the text"],
        ),
        (&["ann"], "no headers: here\nbut text\n", &["[mail.ann] db1: no headers: here", "but text"]),
        (&["-T", "disk.mail", "-f", "x@y", "ann"], "no end of line", &["[disk.mail] db1: no end of line"]),
        (&["-i", "--", "../../etc.$(id)@x"], "Subject: only\n\n", &["[mail.etc.id] db1: only"]),
        (&["ann"], "Subject: --severity critical\n\n-p\n", &["[mail.ann] db1: --severity critical", "-p"]),
        (
            &["ann"],
            "Subject: $(touch pwned) `touch pwned`\n\n\\n%s\n",
            &["[mail.ann] db1: $(touch pwned) `touch pwned`", "\\n%s"],
        ),
        (&["-odi"], "From: x\n\none\n\n.\ntwo\n", &["[mail.root] db1: one", ".", "two"]),
        (&["ann"], "", &[]),
        // Lines like headers, and no mail.
        (&["root"], "ERROR: disk is full\n", &["[mail.root] db1: ERROR: disk is full"]),
        (&["-T", "a.b"], "http://x is down\n\nsince: 3\n", &["[a.b] db1: http://x is down", "since: 3"]),
        (&["root"], "ERROR: one\ntwo: three\nfour\n", &["[mail.root] db1: ERROR: one", "two: three", "four"]),
        (&["-t"], "To: bob\nSubject: no end\n", &["[mail.bob] db1: To: bob", "Subject: no end"]),
        (&["ann"], "Subject: no empty line\nthe text\n", &["[mail.ann] db1: no empty line", "the text"]),
        // The mails are in Latin-1.
        (&["ann"], "Subject: caf\u{e9}\n\ntext\n", &["[mail.ann] db1: caf\u{fffd}", "text"]),
        (&[&long], "text\n", &[&long_tag]),
    ];
    let mut wanted: Vec<&str> = Vec::new();
    for (arguments, mail, shown) in cases {
        let mut sendmail = Command::new(scene.path("sendmail"));
        sendmail.args(arguments).env_clear().env("PATH", "/usr/bin:/bin").current_dir(scene.at(""));
        let mut child = sendmail.stdin(Stdio::piped()).spawn().unwrap();
        let bytes: Vec<u8> = mail.chars().map(|letter| u8::try_from(letter).unwrap()).collect();
        child.stdin.take().unwrap().write_all(&bytes).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{mail}");
        wanted.extend(shown);
        assert_eq!(scene.shown(&[]).await, wanted);
    }
    assert!(!scene.path("pwned").exists());
}
