//! No secret of a configuration is ever shown: every key that the schemas of both services call secret, with mistakes
//! made around it, in all output: of `check`, in logs, in the API, on the page, on the bus.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use futures_util::StreamExt as _;
use serde_json::Value;
use tests::http::get;
use tests::process::Signal;
use tests::wait::SOON;
use tests::{Bridge, NatsServer, Process, Relay, find, wait_until};

const SECRET: &str = "hunter2-7f3a-cobalt";

/// A secret key's place in a file: the tables around it, and its name.
#[derive(Clone, Debug)]
struct Key {
    tables: Vec<String>,
    /// The innermost table is one of a list.
    listed: bool,
    name: String,
}

impl Key {
    /// The lines around the key up to its value.
    fn head(&self) -> String {
        let path = self.tables.join(".");
        match (self.tables.is_empty(), self.listed) {
            (true, _) => String::new(),
            (false, true) => format!("[[{path}]]\n"),
            (false, false) => format!("[{path}]\n"),
        }
    }
}

fn schema(service: &str) -> Value {
    let output = Command::new(find::ours(service)).arg("schema").output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Every key of type secret.
fn secret_keys(service: &str) -> Vec<Key> {
    let schema = schema(service);
    let mut keys = Vec::new();
    collect(&schema, &schema, &[], false, &mut keys);
    keys
}

fn collect(root: &Value, schema: &Value, path: &[String], listed: bool, keys: &mut Vec<Key>) {
    if schema["writeOnly"] == true {
        let (name, tables) = path.split_last().unwrap();
        keys.push(Key { tables: tables.to_vec(), listed, name: name.clone() });
        return;
    }
    if let Some(name) = schema["$ref"].as_str() {
        return collect(root, root.pointer(name.trim_start_matches('#')).unwrap(), path, listed, keys);
    }
    for several in ["oneOf", "anyOf"] {
        let alternatives = schema[several].as_array().into_iter().flatten();
        alternatives.for_each(|one| collect(root, one, path, listed, keys));
    }
    let below = |name: &str| [path, &[name.to_owned()]].concat();
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        collect(root, schema, &below(name), listed, keys);
    }
    if schema["additionalProperties"].is_object() {
        collect(root, &schema["additionalProperties"], &below("any"), false, keys);
    }
    if schema["items"].is_object() {
        collect(root, &schema["items"], path, true, keys);
    }
}

/// Files in which the secret stands at its key, or nearly, and something around it is wrong.
fn broken(key: &Key) -> Vec<String> {
    let Key { name, .. } = key;
    let mut lines: Vec<String> = [
        "{name} = \"{secret}\"\n{name} = \"{secret}\"",
        "{name}     = \"{secret}",
        "{name} = {secret}\"",
        "{name} = {secret}",
        "{name} = \"{secret}\" x",
        "{name} = \"\"\"\n{secret}\n\"",
        "{name} '{secret}'",
        "{name} = \"{secret}\"\n= 5",
        "{name}x = \"{secret}\"",
        "x.{name} = \"{secret}\"",
        "{name} = [\"{secret}\"]",
        "{name} = [[\"{secret}\", 5], {secret}]",
        "{name} = { a = \"{secret}\", a = 5 }",
        "{name} = { {name} = \"{secret}\" }",
        "{name} = \"{secret}\" # {secret}\nunknown = 5 # {secret}",
        "{name} = \"{secret}\"\n{name}_file = \"/nonexistent\"",
        "{name} = \"${X}{secret}\"",
        "{name} = \"\\u{secret}\"",
        "{name} = \"{secret}\"\n[[",
    ]
    .map(|line| key.head() + &line.replace("{name}", name).replace("{secret}", SECRET) + "\n")
    .into();
    let good = key.head() + &format!("{name} = \"{SECRET}\"\n");
    lines.push(good.clone() + &good);
    lines.push(format!("unknown = 5\n{good}"));
    lines.push(good.replace('[', ""));
    lines.push(good.replace("]\n", "\n"));
    let (before, after) = good.split_once(SECRET).unwrap();
    // Mistakes at random places; the seed makes them the same on every machine.
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..10 {
        let mut edit = |text: &str| {
            let at = random.usize(0..=text.len());
            let end = (at + random.usize(0..4)).min(text.len());
            let insert =
                random.choice(["", "\"", "'", "[", "]", "=", "\n", "#", "{", ".", "\\"]).unwrap_or("");
            format!("{}{insert}{}", &text[..at], &text[end..])
        };
        lines.push(edit(before) + SECRET + &edit(after));
    }
    lines
}

fn run(service: &str, arguments: &[&str], config: &Path) -> Output {
    Command::new(find::ours(service)).args(arguments).arg("--config").arg(config).output().unwrap()
}

fn assert_hidden(output: &str, what: &str) {
    assert!(!output.contains(SECRET), "{what} shows the secret:\n{output}");
}

fn check_every_key(service: &str, least: usize) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.toml");
    let keys = secret_keys(service);
    assert!(keys.len() >= least, "{keys:?}");
    for key in keys {
        for text in broken(&key) {
            std::fs::write(&file, &text).unwrap();
            for arguments in [&["check"][..], &["check", "--json"]] {
                let Output { status, stdout, stderr } = run(service, arguments, &file);
                let output = String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned();
                assert!(matches!(status.code(), Some(0 | 78)), "{status} for\n{text}\n{output}");
                assert_hidden(&output, &format!("{arguments:?} of {key:?} in\n{text}\n"));
            }
        }
    }
}

#[test]
fn the_relays_check_shows_no_secret() {
    check_every_key("hal-relay", 9);
}

#[test]
fn the_bridges_check_shows_no_secret() {
    check_every_key("hal-bridge", 6);
}

/// All messages that are published while a test runs.
#[derive(Clone, Default)]
struct Bus(Arc<Mutex<String>>);

impl Bus {
    async fn listen(server: &NatsServer) -> Bus {
        let bus = Bus::default();
        let client = server.client().await;
        let mut all = client.subscribe(">").await.unwrap();
        client.flush().await.unwrap();
        tokio::spawn({
            let bus = bus.clone();
            async move {
                while let Some(message) = all.next().await {
                    let line = format!("{} {}\n", message.subject, String::from_utf8_lossy(&message.payload));
                    bus.0.lock().unwrap().push_str(&line);
                }
            }
        });
        bus
    }

    fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }
}

/// The number of configurations that the service has refused.
async fn refusals(http: SocketAddr) -> usize {
    let metrics = get(http, "/metrics").await.unwrap().1;
    let line = metrics.lines().find(|line| line.contains("config_reloads_total{kind=\"refused\"}"));
    line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

/// Has a running service read each of the broken files, and looks at all it shows.
async fn refuse_all(service: &str, http: SocketAddr, config: &Path, process: &mut Process, pages: &[&str]) {
    let keys = secret_keys(service);
    let sample = |(i, key)| broken(key).into_iter().skip(i % 7).step_by(7);
    let mut count = 0;
    for text in keys.iter().enumerate().flat_map(sample) {
        std::fs::write(config, text).unwrap();
        if run(service, &["check"], config).status.code() != Some(78) {
            continue;
        }
        let before = refusals(http).await;
        process.signal(Signal::HUP);
        wait_until("it is refused", SOON, async || refusals(http).await > before).await;
        for page in pages {
            assert_hidden(&get(http, page).await.unwrap().1, page);
        }
        count += 1;
    }
    assert!(count > 10);
    assert_hidden(&process.log(), "the log");
}

#[tokio::test]
async fn a_running_relay_shows_no_secret_of_a_refused_configuration() {
    let server = NatsServer::start().await;
    let bus = Bus::listen(&server).await;
    let mut relay = Relay::start(&server.url(), "default_room = \"ops\"\n[rooms.ops.console]\n").await;
    let (http, config) = (relay.http(), relay.dir().join("config.toml"));
    let pages = ["/api/rooms", "/rooms", "/api/messages", "/", "/metrics"];
    refuse_all("hal-relay", http, &config, relay.process(), &pages).await;
    wait_until("the refusal is on the bus", SOON, async || bus.text().contains("configuration is refused"))
        .await;
    assert_hidden(&bus.text(), "the bus");
}

#[tokio::test]
async fn a_running_bridge_shows_no_secret_of_a_refused_configuration() {
    let server = NatsServer::start().await;
    let bus = Bus::listen(&server).await;
    let _relay = Relay::start(&server.url(), "default_room = \"page\"\n").await;
    let mut bridge = Bridge::start(&server.url(), "").await;
    let (http, config) = (bridge.http(), bridge.dir().join("config.toml"));
    refuse_all("hal-bridge", http, &config, bridge.process(), &["/metrics", "/readyz"]).await;
    wait_until("the refusal is on the bus", SOON, async || bus.text().contains("bridge.config.refused"))
        .await;
    assert_hidden(&bus.text(), "the bus");
}
