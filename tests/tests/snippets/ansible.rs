//! `deploy/ansible`, by Debian's Ansible on this machine: the callback tells how playbooks end, and the role installs once.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::Digest as _;
use tests::find;

use super::scene::{Scene, text_of};

const PLAYBOOK: &str = r#"
- hosts: all
  gather_facts: false
  vars: {ansible_connection: local, ansible_python_interpreter: /usr/bin/python3}
  tasks:
    - name: Ignored
      ansible.builtin.fail:
      ignore_errors: true
    - name: Rescued
      block:
        - ansible.builtin.fail:
      rescue:
        - ansible.builtin.meta: noop
    - name: Install nginx
      ansible.builtin.fail:
        msg: No package matching 'ngnix' is available
      when: inventory_hostname in bad
    - name: Log in
      ansible.builtin.fail:
        msg: wrong password s3cret
      no_log: true
      when: inventory_hostname in sealed
"#;

/// Three hosts, all of them this machine; one of them cannot be reached if a port is given.
const HOSTS: &str = "web1\nweb2\nweb3\n";

fn folder() -> PathBuf {
    find::repository().join("deploy/ansible")
}

fn configure(scene: &Scene, program: &str) {
    let config = format!(
        "[defaults]\ncallback_plugins = {0}/callback_plugins\nroles_path = {0}/roles\ncallbacks_enabled = tellhal\n\
         local_tmp = {1}tmp\nremote_tmp = {1}tmp\ninventory = {1}hosts\npipelining = true\n\
         [callback_tellhal]\nprogram = {program}\nstate = {1}state.json\n",
        folder().display(),
        scene.at("")
    );
    std::fs::write(scene.path("ansible.cfg"), config).unwrap();
    std::fs::write(scene.path("hosts"), HOSTS).unwrap();
}

/// Runs a playbook of the scene; gives its status and its output.
async fn play(scene: &Scene, playbook: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(find::theirs("ansible-playbook"));
    command.arg(playbook).args(arguments).env("HOME", scene.at("")).env("LC_ALL", "C.UTF-8");
    let output = scene.run(command.env("ANSIBLE_CONFIG", scene.path("ansible.cfg"))).await;
    (output.status.code(), text_of(&output))
}

#[tokio::test]
async fn the_callback_tells_failures_once_and_their_end() {
    let scene = Scene::start().await;
    configure(&scene, &scene.at("bin/tellhal"));
    std::fs::write(scene.path("site.yml"), PLAYBOOK).unwrap();
    let run = async |variables: &str, limit: &str| {
        play(&scene, "site.yml", &["-e", variables, "--limit", limit]).await
    };
    assert_eq!(run("{bad: [web1], sealed: []}", "all").await.0, Some(2));
    let (status, output) = run("{bad: [web1], sealed: [web3]}", "all").await;
    assert_eq!(status, Some(2), "{output}");
    // One of two hosts alone is well: that ends nothing.
    assert_eq!(run("{bad: [], sealed: []}", "web1").await.0, Some(0));
    assert_eq!(scene.count().await, 2);
    assert_eq!(run("{bad: [], sealed: []}", "all").await.0, Some(0));
    // A success after a success is not told.
    assert_eq!(run("{bad: [], sealed: []}", "all").await.0, Some(0));
    scene.shows_of("ansible", "The callback", &[]).await;
}

#[tokio::test]
async fn the_callback_neither_fails_nor_holds_up_a_play() {
    let scene = Scene::start().await;
    std::fs::write(scene.path("site.yml"), PLAYBOOK).unwrap();
    for (program, wanted) in [("/nowhere/tellhal", "is not installed"), (&*scene.at("slow"), "no end within")]
    {
        super::scene::program(&scene.path("slow"), "sleep 1000");
        configure(&scene, program);
        let (status, output) = play(&scene, "site.yml", &["-e", "{bad: [web1], sealed: []}"]).await;
        assert_eq!(status, Some(2), "{output}");
        assert!(output.contains(wanted) && output.contains("PLAY RECAP"), "{output}");
    }
}

/// A tarball as `deploy/package` makes it, with tellhal alone.
fn tarball(scene: &Scene) -> (PathBuf, String) {
    let tree = scene.path("tellhal-0.1.0-x86_64");
    let bin = tree.join("tellhal/usr/bin");
    std::fs::create_dir_all(&bin).unwrap();
    std::fs::create_dir_all(tree.join("tellhal/etc/tellhal")).unwrap();
    std::fs::write(tree.join("tellhal/etc/tellhal/tellhal.toml"), "# as packed\n").unwrap();
    std::os::unix::fs::symlink(find::ours("tellhal").canonicalize().unwrap(), bin.join("tellhal")).unwrap();
    let install = find::repository().join("deploy/packages/install");
    std::fs::copy(install, tree.join("install")).unwrap();
    std::fs::set_permissions(tree.join("install"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let file = scene.path("tellhal-0.1.0-x86_64.tar.gz");
    let packed = Command::new("tar")
        .arg("-czf")
        .arg(&file)
        .arg("-C")
        .arg(scene.path(""))
        .arg("tellhal-0.1.0-x86_64")
        .status();
    assert!(packed.unwrap().success());
    let sum = sha2::Sha256::digest(std::fs::read(&file).unwrap());
    (file, sum.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn role(scene: &Scene, file: &Path, sum: &str, config: &str) {
    let play = serde_json::json!([{
        "hosts": "web1", "gather_facts": false,
        "vars": { "ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3" },
        "roles": [{ "role": "tellhal", "vars": {
            "tellhal_root": scene.at("root"), "tellhal_source": file, "tellhal_checksum": sum,
            "tellhal_config": config, "tellhal_credentials": "kept from others",
        } }],
    }]);
    std::fs::write(scene.path("role.yml"), play.to_string()).unwrap();
}

#[tokio::test]
async fn the_role_installs_and_configures_once() {
    let scene = Scene::start().await;
    configure(&scene, &scene.at("bin/tellhal"));
    let (file, sum) = tarball(&scene);
    role(&scene, &file, &sum, "timeout = \"3s\"\n");
    let (status, output) = play(&scene, "role.yml", &["--diff"]).await;
    assert_eq!(status, Some(0), "{output}");
    assert!(!output.contains("kept from others"), "{output}");
    assert!(scene.path("root/usr/bin/tellhal").exists());
    let read = |path: &str| std::fs::read_to_string(scene.path(path)).unwrap();
    assert_eq!(read("root/etc/tellhal/tellhal.toml"), "timeout = \"3s\"\n");
    let mode = std::fs::metadata(scene.path("root/etc/tellhal/host.creds")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    let (status, output) = play(&scene, "role.yml", &[]).await;
    assert!(status == Some(0) && output.contains("changed=0 "), "{output}");
    // Neither a wrong configuration nor another file is taken.
    role(&scene, &file, &sum, "timeot = \"3s\"\n");
    let (status, output) = play(&scene, "role.yml", &[]).await;
    assert!(status == Some(2) && output.contains("did you mean timeout?"), "{output}");
    assert_eq!(read("root/etc/tellhal/tellhal.toml"), "timeout = \"3s\"\n");
    role(&scene, &file, &"0".repeat(64), "");
    let (status, output) = play(&scene, "role.yml", &[]).await;
    assert!(status == Some(2) && output.contains("has another SHA-256"), "{output}");
}
