//! The lines that a room shows of the payloads that GitLab, Grafana and Sentry document, to be read: `tests/gallery/*.txt`. The payloads
//! beside them have the documented keys, with values of our own. `BLESS=1` rewrites the texts.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use relay::delivery::{Content, Delivery, Id, Place};
use relay::render::View;
use serde::Deserialize;
use service::zone::Zone;
use tellhal::{Message, Timestamp};
use tests::find;

/// The longest headline that can be read at a glance, in characters.
const HEADLINE: usize = 160;

#[derive(Deserialize)]
struct Example {
    name: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: serde_json::Value,
}

#[test]
fn a_room_shows_each_documented_payload_as_its_file_says() {
    let folder = find::repository().join("tests/gallery");
    for system in ["gitlab", "grafana", "sentry"] {
        let json = std::fs::read(folder.join(format!("{system}.json"))).expect("the payloads");
        let examples: Vec<Example> = serde_json::from_slice(&json).expect("they are JSON");
        let shown: Vec<String> = examples.iter().map(|example| shown(system, example)).collect();
        let (shown, file) = (shown.join("\n"), folder.join(format!("{system}.txt")));
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&file, &shown).expect("the texts");
        }
        let expected = std::fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(shown, expected, "{system}: BLESS=1 rewrites tests/gallery/{system}.txt");
    }
}

/// The name of an example, the lines that a room shows of it, and what rooms and routes know of it beside them.
fn shown(system: &str, example: &Example) -> String {
    let mut text = format!("# {}\n", example.name);
    for message in told(system, example) {
        text += "\n";
        let message = Arc::new(message);
        let delivery = Delivery {
            id: Id::of_message(&message.id, "room"),
            room: "room".into(),
            place: Place::default(),
            at: Timestamp(0),
            routes: Vec::new(),
            marks: Vec::new(),
            content: Content::Message(message.clone()),
        };
        let view = View::of(&delivery, &Zone::default());
        assert!(view.headline.chars().count() <= HEADLINE, "{}: {}", example.name, view.headline);
        for line in view.lines() {
            text += &format!("    {line}\n");
        }
        let status = message.status.map(|status| status.to_string());
        let key = message.key.as_deref();
        let (status, key) = (status.as_deref().unwrap_or("no status"), key.unwrap_or("none"));
        text += &format!("\n({}, {status}, key {key})\n", message.severity);
    }
    text
}

/// The messages that `hal-bridge webhooks test` shows.
fn told(system: &str, example: &Example) -> Vec<Message> {
    let dir = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("a file of the test");
        path
    };
    let config = write("bridge.toml", &format!("[webhooks.{system}]\nsecret_file = \"nowhere\"\n"));
    let payload = write("payload.json", &example.body.to_string());
    let mut command = Command::new(find::ours("hal-bridge"));
    command
        .args(["webhooks", "test", system])
        .arg::<&Path>(&payload)
        .arg("--json")
        .arg("--config")
        .arg(config);
    for (name, value) in &example.headers {
        command.arg("--header").arg(format!("{name}: {value}"));
    }
    let output = command.output().expect("hal-bridge starts");
    assert!(output.status.success(), "{}: {}", example.name, String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("messages as JSON")
}
