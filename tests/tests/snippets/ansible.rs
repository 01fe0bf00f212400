//! `deploy/ansible`, by Debian's Ansible on this machine: the callback tells how playbooks end, and the role installs once.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
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
async fn playbooks_of_one_name_are_told_apart() {
    let scene = Scene::start().await;
    configure(&scene, &scene.at("bin/tellhal"));
    for (folder, bad, status) in [("shop", "[web1]", 2), ("mail", "[]", 0), ("shop", "[]", 0)] {
        std::fs::create_dir_all(scene.path(folder)).unwrap();
        std::fs::write(scene.path(&format!("{folder}/site.yml")), PLAYBOOK).unwrap();
        let variables = format!("{{bad: {bad}, sealed: []}}");
        let (ended, output) = play(&scene, &format!("{folder}/site.yml"), &["-e", &variables]).await;
        assert_eq!(ended, Some(status), "{output}");
        // The good one of the other folder ends nothing.
        let told = if (folder, status) == ("shop", 0) { 2 } else { 1 };
        assert_eq!(scene.count().await, told, "{folder} {bad}");
    }
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

/// A tarball as `deploy/package` makes it, with its configuration files.
fn tarball(scene: &Scene) -> (PathBuf, String) {
    let tree = scene.path("tellhal-0.1.0-x86_64");
    let deploy = find::repository().join("deploy/packages");
    let configs = [
        ("tellhal", "tellhal.toml"),
        ("hal-relay", "relay.d/relay.toml"),
        ("hal-bridge", "bridge.d/bridge.toml"),
    ];
    for (program, config) in configs {
        let bin = tree.join(program).join("usr/bin");
        std::fs::create_dir_all(&bin).unwrap();
        let to = tree.join(program).join("etc/tellhal").join(config);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(deploy.join("etc/tellhal").join(config), to).unwrap();
        std::os::unix::fs::symlink(find::ours(program).canonicalize().unwrap(), bin.join(program)).unwrap();
    }
    std::fs::copy(deploy.join("install"), tree.join("install")).unwrap();
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

/// Writes a playbook that uses the role for an image, with these variables.
fn role(scene: &Scene, (file, sum): &(PathBuf, String), variables: &[(&str, &str)]) {
    let mut vars = serde_json::json!({"tellhal_root": scene.at("root"), "tellhal_source": file, "tellhal_checksum": sum});
    for (name, value) in variables {
        vars[name] = serde_json::from_str(value).unwrap_or_else(|_| (*value).into());
    }
    let play = serde_json::json!([{
        "hosts": "web1", "gather_facts": false,
        "vars": { "ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3" },
        "roles": [{ "role": "tellhal", "vars": vars }],
    }]);
    std::fs::write(scene.path("role.yml"), play.to_string()).unwrap();
}

#[tokio::test]
async fn the_role_installs_and_configures_once() {
    let scene = Scene::start().await;
    configure(&scene, &scene.at("bin/tellhal"));
    let tarball = tarball(&scene);
    let credentials = ("tellhal_credentials", "kept from others");
    role(&scene, &tarball, &[credentials, ("tellhal_config", "timeout = \"3s\"\n")]);
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
    role(&scene, &tarball, &[credentials, ("tellhal_config", "timeot = \"3s\"\n")]);
    let (status, output) = play(&scene, "role.yml", &[]).await;
    assert!(status == Some(2) && output.contains("did you mean timeout?"), "{output}");
    assert_eq!(read("root/etc/tellhal/tellhal.toml"), "timeout = \"3s\"\n");
    role(&scene, &(tarball.0, "0".repeat(64)), &[]);
    let (status, output) = play(&scene, "role.yml", &[]).await;
    assert!(status == Some(2) && output.contains("has another SHA-256"), "{output}");
}

const RELAY: &str = "default_room = 'ops'
[nats]
url = 'nats://nats1:4222'
[page]
listen = '127.0.0.1:8480'
[rooms.ops.slack]
token_file = '/run/credentials/hal-relay.service/slack'
channel = 'C0123456789'
";
const BRIDGE: &str = "[nats]\nurl = 'nats://nats1:4222'\n[http]\nlisten = '127.0.0.1:8481'\n";

#[tokio::test]
async fn the_role_configures_services_beside_their_packages_files() {
    let scene = Scene::start().await;
    configure(&scene, &scene.at("bin/tellhal"));
    let tarball = tarball(&scene);
    scene.sh("mkdir -p root/etc/tellhal/relay.d").await;
    // A team's file needs a room of the other.
    let team = "[[routes]]\nname = 'web'\ntag = 'web.>'\nrooms = ['ops']\n";
    std::fs::write(scene.path("root/etc/tellhal/relay.d/web.toml"), team).unwrap();
    scene.sh("tellhal nkey host.nk").await;
    let seed = std::fs::read_to_string(scene.path("host.nk")).unwrap();
    let config = format!("[nats]\nnkey_file = '{}'\n", scene.at("root/etc/tellhal/host.nk"));
    let variables = |relay: &str| {
        let programs = ("tellhal_programs", "[\"tellhal\", \"hal-relay\", \"hal-bridge\"]");
        let services = [("tellhal_relay_config", relay), ("tellhal_bridge_config", BRIDGE)];
        let host = [("tellhal_credentials", &*seed), ("tellhal_config", &*config)];
        role(&scene, &tarball, &[&[programs], &services[..], &host].concat());
    };
    variables(RELAY);
    let (status, output) = play(&scene, "role.yml", &[]).await;
    assert_eq!(status, Some(0), "{output}");
    assert_eq!(std::fs::read_to_string(scene.path("root/etc/tellhal/host.nk")).unwrap(), seed);
    scene.sh("root/usr/bin/hal-bridge check --config root/etc/tellhal/bridge.d").await;
    // One without that room is refused with the reason, and leaves nothing.
    variables(&RELAY.replace("ops", "dba"));
    let (status, output) = play(&scene, "role.yml", &[]).await;
    assert!(status == Some(2) && output.contains("web.toml"), "{output}");
    assert_eq!(std::fs::read_to_string(scene.path("root/etc/tellhal/relay.d/relay.toml")).unwrap(), RELAY);
    let files = std::fs::read_dir(scene.path("root/etc/tellhal")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    assert!(names.into_iter().all(|name| !name.starts_with('.')));
}
