//! `deploy/compose` and `deploy/kubernetes`, without a container engine: what the files say, the services with this configuration, and
//! the image's tree.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use tests::http::request_as;
use tests::wait::SOON;
use tests::{Bridge, NatsOptions, NatsServer, Relay, find, tellhal, wait_until};

fn folder() -> PathBuf {
    find::repository().join("deploy/compose")
}

fn text(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).unwrap()
}

/// The documents of a YAML file, by the Python that Ansible needs.
fn yaml(path: &Path) -> Vec<Value> {
    let script = "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
    let output = Command::new("/usr/bin/python3").args(["-c", script]).arg(path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The passwords, in a folder of the test.
fn secrets() -> TempDir {
    let dir = TempDir::new().unwrap();
    let script = dir.path().join("secrets-once");
    std::fs::copy(folder().join("secrets-once"), &script).unwrap();
    let make = || assert!(Command::new(&script).status().unwrap().success());
    make();
    let first = std::fs::read(dir.path().join("secrets/services")).unwrap();
    make();
    assert_eq!(std::fs::read(dir.path().join("secrets/services")).unwrap(), first, "they are made once");
    dir
}

#[tokio::test]
async fn the_services_run_with_this_configuration() {
    let dir = secrets();
    let secrets = dir.path().join("secrets");
    let users = std::fs::read_to_string(secrets.join("users.conf")).unwrap();
    let server = text("nats.conf");
    let authorization = server.split_once("authorization {").unwrap().1;
    let authorization = authorization.replace("include ../../run/secrets/users.conf", &users);
    let extra = format!("authorization {{{authorization}");
    let nats = NatsServer::with(NatsOptions { extra, ..NatsOptions::default() }).await;
    let config = |name: &str, address: &str| {
        let text = text(name).replace("nats://nats:4222", &nats.url());
        assert!(text.contains(address));
        // The harness gives the port.
        let text = text.replace(&format!("listen = \"{address}\"\n"), "");
        text.replace("/run/secrets", &secrets.display().to_string())
    };
    let relay = Relay::start(&nats.url(), &config("relay.toml", "0.0.0.0:8480")).await;
    let _bridge = Bridge::start(&nats.url(), &config("bridge.toml", "127.0.0.1:8481")).await;

    let home = TempDir::new().unwrap();
    let host = home.path().join("host.toml");
    let login = format!("[nats]\nuser = \"hosts\"\npassword_file = {:?}\n", secrets.join("hosts"));
    std::fs::write(&host, login).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = tellhal(&nats.url(), home.path());
        command.arg("--config").arg(&host).args(arguments).output().unwrap()
    };
    let told = run(&["--require-ack", "backup.mysql", "Nightly backup finished"]);
    assert_eq!(told.status.code(), Some(0), "{told:?}");
    let listened = run(&["listen", ">", "--count", "1"]);
    assert_eq!(listened.status.code(), Some(77), "a host may not listen: {listened:?}");
    let token = std::fs::read_to_string(secrets.join("operator")).unwrap();
    wait_until("the message is on the page", SOON, async || {
        let path = "/api/messages?tag=backup.%3E";
        let (status, body) = request_as(relay.http(), "GET", &token, path, "").await.unwrap();
        status == 200 && body.contains("Nightly backup finished")
    })
    .await;
}

#[test]
fn compose_and_kubernetes_run_the_same_with_few_rights() {
    let compose = yaml(&folder().join("compose.yaml")).remove(0);
    let manifests = yaml(&find::repository().join("deploy/kubernetes/tellhal.yaml"));
    let configuration = &yaml(&folder().join("kustomization.yaml"))[0];
    let generated = |generator: &str| configuration[generator][0]["files"].as_array().unwrap().clone();
    let services = compose["services"].as_object().unwrap();
    assert_eq!(services.len(), 3);
    for (name, service) in services {
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(service["cap_drop"], serde_json::json!(["ALL"]), "{name}");
        assert_eq!(service["security_opt"], serde_json::json!(["no-new-privileges:true"]), "{name}");
        let pod =
            manifests.iter().find(|one| one["kind"] == "StatefulSet" && one["metadata"]["name"] == **name);
        let pod = &pod.unwrap_or_else(|| panic!("{name} in tellhal.yaml"))["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        assert_eq!(container["image"], service["image"], "{name}");
        let command = if container["command"].is_null() { &container["args"] } else { &container["command"] };
        assert_eq!(command, &service["command"], "{name}");
        assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true, "{name}");
        assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false, "{name}");
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{name}");
        assert!(service["user"] == "65532:65532" || name == "nats", "{name}");
        for variable in container["env"].as_array().into_iter().flatten() {
            let variables = &service["environment"];
            assert_eq!(variables[variable["name"].as_str().unwrap()], variable["value"], "{name}");
        }
        // Each of the configuration's files is in compose and in the manifests.
        let volumes = service["volumes"].as_array().unwrap();
        let files = volumes.iter().filter_map(|volume| volume.as_str()?.strip_prefix("./"));
        for file in files.map(|volume| volume.split(':').next().unwrap()) {
            assert!(folder().join(file).is_file(), "{file}");
            assert!(generated("configMapGenerator").contains(&file.into()), "{file}");
        }
        for secret in service["secrets"].as_array().unwrap() {
            let file = compose["secrets"][secret.as_str().unwrap()]["file"].as_str().unwrap();
            assert!(generated("secretGenerator").contains(&file.trim_start_matches("./").into()), "{file}");
        }
    }
    for resource in yaml(&find::repository().join("deploy/kubernetes/kustomization.yaml"))[0]["resources"]
        .as_array()
        .unwrap()
    {
        let path = find::repository().join("deploy/kubernetes").join(resource.as_str().unwrap());
        assert!(path.exists(), "{}", path.display());
    }
}

#[test]
fn the_image_has_all_that_its_programs_need() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("root");
    let bin = find::ours("tellhal").parent().unwrap().canonicalize().unwrap();
    let made = Command::new(folder().join("image")).arg(bin).arg(&root).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let certificates = std::fs::metadata(root.join("etc/ssl/certs/ca-certificates.crt")).unwrap();
    assert!(certificates.len() > 10_000);
    for program in ["tellhal", "hal-relay", "hal-bridge"] {
        let mut command = Command::new(find::theirs("chroot"));
        if rustix::process::geteuid().is_root() {
            command.args(["--userspec=65532:65532"]).arg(&root);
        } else {
            command = Command::new("unshare");
            command.args(["--map-root-user", "--root"]).arg(&root);
        }
        let output = command.arg(format!("/usr/bin/{program}")).arg("--version").output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(printed.starts_with(program), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    }
}
