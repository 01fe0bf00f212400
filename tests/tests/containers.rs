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

/// A copy of the folder with what `secrets-once` makes for the host web1.
fn with_secrets() -> TempDir {
    let dir = TempDir::new().unwrap();
    for file in
        ["compose/secrets-once", "compose/relay.d/relay.toml", "compose/bridge.d/bridge.toml", "nats/users"]
    {
        let to = dir.path().join(file);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(find::repository().join("deploy").join(file), to).unwrap();
    }
    let make = |hosts: &[&str]| {
        let mut command = Command::new(dir.path().join("compose/secrets-once"));
        let output = command.args(hosts).env("TELLHAL", find::ours("tellhal")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    make(&["web1"]);
    let keys = || std::fs::read_to_string(dir.path().join("compose/secrets/users")).unwrap();
    let first = keys();
    make(&["web1"]);
    assert_eq!(keys(), first, "keys are made once");
    let once = |word: &str| {
        let mut command = Command::new(dir.path().join("compose/secrets-once"));
        command.arg(word).env("TELLHAL", find::ours("tellhal")).output().unwrap()
    };
    assert_eq!(once("web.").status.code(), Some(64), "it is not web1, but no name");
    assert!(String::from_utf8_lossy(&once("--help").stdout).contains("./secrets-once web1 web2"));
    assert_eq!(keys(), first);
    dir
}

#[tokio::test]
async fn the_services_run_with_this_configuration() {
    let dir = with_secrets();
    let (compose, secrets) = (dir.path().join("compose"), dir.path().join("compose/secrets"));
    let accounts = std::fs::read_to_string(secrets.join("accounts.conf")).unwrap();
    let (_, extra) = text("nats.conf")
        .split_once("max_file_store: 4GB }")
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    let extra = extra.replace("include ../../run/secrets/accounts.conf", &accounts);
    let nats = NatsServer::with(NatsOptions { extra, ..NatsOptions::default() }).await;
    // As containers see them, under one path.
    let mounted = dir.path().join("mounted");
    std::fs::create_dir(&mounted).unwrap();
    for secret in [
        "keys/relay-main.nk",
        "keys/bridge-main.nk",
        "keys/bridge-signing.nk",
        "keys/commands-main.nk",
        "operator",
    ] {
        std::fs::copy(secrets.join(secret), mounted.join(Path::new(secret).file_name().unwrap())).unwrap();
    }
    let config = |name: &str, address: &str| {
        let text =
            std::fs::read_to_string(compose.join(name)).unwrap().replace("nats://nats:4222", &nats.url());
        assert!(text.contains(address) || address.is_empty());
        // The harness gives the port.
        let text = text.replace(&format!("listen = \"{address}\"\n"), "");
        text.replace("/run/secrets", &mounted.display().to_string())
    };
    let key = config("relay.d/bridge-key.toml", "");
    let relay = Relay::start(&nats.url(), &(key + &config("relay.d/relay.toml", "0.0.0.0:8480"))).await;
    let _bridge = Bridge::start(&nats.url(), &config("bridge.d/bridge.toml", "127.0.0.1:8481")).await;

    let home = TempDir::new().unwrap();
    let host = home.path().join("host.toml");
    let login = format!("source = \"web1\"\n[nats]\nnkey_file = {:?}\n", secrets.join("keys/host-web1.nk"));
    std::fs::write(&host, login).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = tellhal(&nats.url(), home.path());
        command.arg("--config").arg(&host).args(arguments).output().unwrap()
    };
    let told = run(&["--require-ack", "backup.mysql", "Nightly backup finished"]);
    assert_eq!(told.status.code(), Some(0), "{told:?}");
    let as_another = run(&["--source", "web2", "--require-ack", "backup.mysql", "Not mine"]);
    assert_eq!(as_another.status.code(), Some(77), "a host may not speak as another: {as_another:?}");
    let listened = run(&["listen", ">", "--count", "1"]);
    assert_eq!(listened.status.code(), Some(77), "a host may not listen: {listened:?}");
    let token = std::fs::read_to_string(secrets.join("operator")).unwrap();
    wait_until("the message is on the page", SOON, async || {
        let path = "/api/messages?tag=backup.%3E";
        let (status, body) = request_as(relay.http(), "GET", &token, path, "").await.unwrap();
        status == 200 && body.contains("Nightly backup finished")
    })
    .await;
    wait_until("the relay answers the bridge", SOON, async || {
        let asked = r#"{"line":"tags"}"#;
        let (_, body) = request_as(relay.http(), "POST", &token, "/api/commands", asked).await.unwrap();
        body.contains("backup.mysql")
    })
    .await;
}

#[test]
fn compose_and_kubernetes_run_the_same_with_few_rights() {
    let compose = yaml(&folder().join("compose.yaml")).remove(0);
    let manifests = yaml(&find::repository().join("deploy/kubernetes/tellhal.yaml"));
    let configuration = &yaml(&folder().join("kustomization.yaml"))[0];
    let generated = |generator: &str, name: &str| {
        let all = configuration[generator].as_array().unwrap();
        all.iter().find(|one| one["name"] == name).unwrap()["files"].as_array().unwrap().clone()
    };
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
        let mapped = generated("configMapGenerator", name);
        for file in files.map(|volume| volume.split(':').next().unwrap()) {
            let path = folder().join(file);
            assert!(path.exists(), "{file}");
            let is_of_it = |one: &Value| one == file || Path::new(one.as_str().unwrap()).starts_with(file);
            assert!(mapped.iter().all(is_of_it) && path.is_dir() == (mapped[0] != file), "{file}");
        }
        let secrets = service["secrets"].as_array().unwrap().iter().map(|secret| {
            compose["secrets"][secret.as_str().unwrap()]["file"].as_str().unwrap().trim_start_matches("./")
        });
        assert_eq!(generated("secretGenerator", name), secrets.collect::<Vec<_>>(), "{name}");
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
