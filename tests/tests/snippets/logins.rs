//! Logins, by PAM.

use std::process::Command;

use tests::wait::SOON;
use tests::wait_until;

use super::scene::{Scene, may_mount, program, sh, text_of};

#[tokio::test]
async fn a_login_is_told() {
    let scene = Scene::start().await;
    scene.install("pam/tellhal-login", &[]);
    if may_mount("PAM") {
        let service = "account required pam_permit.so\nsession required pam_permit.so\n";
        scene.sh("mkdir pam.d").await;
        std::fs::write(scene.path("pam.d/sshd"), format!("{service}{}", scene.text("pam/sshd", &[])))
            .expect("the service");
        let login = "mount --bind pam.d /etc/pam.d && exec pamtester -I rhost=203.0.113.7 -I tty=ssh sshd ann open_session close_session";
        let mut pam = Command::new("unshare");
        let output = scene.run(pam.args(["--mount", "sh", "-c", login])).await;
        assert!(output.status.success(), "{}", text_of(&output));
    } else {
        for kind in ["open_session", "close_session"] {
            let mut login = sh("./tellhal-login");
            login.env("PAM_TYPE", kind).env("PAM_USER", "ann").env("PAM_SERVICE", "sshd");
            scene.run(login.env("PAM_RHOST", "203.0.113.7").env("PAM_TTY", "ssh")).await;
        }
    }
    scene.shows("PAM", &[]).await;
}

#[tokio::test]
async fn a_login_does_not_wait_for_its_message() {
    let scene = Scene::start().await;
    scene.install("pam/tellhal-login", &[]);
    program(&scene.path("bin/tellhal"), "while [ ! -e go ]; do sleep 0.1; done; touch told");
    let mut login = sh("./tellhal-login");
    let output = scene.run(login.env("PAM_TYPE", "open_session").env("PAM_USER", "ann")).await;
    assert!(output.status.success() && !scene.path("told").exists(), "{}", text_of(&output));
    std::fs::write(scene.path("go"), "").expect("a file");
    wait_until("the message", SOON, async || scene.path("told").exists()).await;
}
