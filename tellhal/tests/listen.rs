//! `tellhal listen`: printing, commands, and messages that come again.

#![allow(clippy::unwrap_used)]

mod common;

use std::process::{Child, Stdio};

use common::{Place, ended, line};

/// A listener that is killed with its guard.
struct Listener(Child);

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn listen(place: &Place, args: &[&str]) -> Listener {
    let mut command = place.tellhal(&["listen"]);
    Listener(command.args(args).stdout(Stdio::piped()).spawn().unwrap())
}

#[test]
fn the_past_is_printed_as_lines_or_json() {
    let place = Place::new();
    for (tag, text) in [("backup.mysql", "done"), ("deploy", "no"), ("backup.files", "two\nlines")] {
        assert_eq!(ended(&mut place.tellhal(&[tag, text])).0, 0);
    }
    let mut listener = listen(&place, &["backup.>", "--since", "1h"]);
    let out = listener.0.stdout.as_mut().unwrap();
    assert!(line(out).ends_with(" db1 backup.mysql info done"));
    assert!(line(out).ends_with(" db1 backup.files info"));
    assert_eq!((line(out).as_str(), line(out).as_str()), ("  two", "  lines"));
    let mut listener = listen(&place, &["backup.*", "--since", "1h", "--json"]);
    let body: serde_json::Value = serde_json::from_str(&line(listener.0.stdout.as_mut().unwrap())).unwrap();
    assert_eq!((&body["tag"], &body["text"]), (&"backup.mysql".into(), &"done".into()));
}

#[test]
fn a_durable_listener_misses_nothing_and_a_failed_command_gets_it_again() {
    let place = Place::new();
    assert_eq!(ended(&mut place.tellhal(&["a", "$(touch pwned) `id`"])).0, 0);
    // Fails the first time.
    let script = "cat >body; echo \"$TELLHAL_TAG $TELLHAL_FROM $TELLHAL_SEVERITY $TELLHAL_TEXT\"; test -e again || { touch again; exit 1; }";
    let args = [">", "--durable", "lights", "--since", "1h", "--exec", script];
    {
        let mut listener = Listener(
            place
                .tellhal(&["listen"])
                .args(args)
                .current_dir(place.dir.path())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap(),
        );
        let out = listener.0.stdout.as_mut().unwrap();
        let want = "a db1 info $(touch pwned) `id`";
        assert_eq!((line(out).as_str(), line(out).as_str()), (want, want));
        // The next message comes only when the first is acknowledged or waits.
        assert_eq!(ended(&mut place.tellhal(&["b", "second"])).0, 0);
        assert_eq!(line(out), "b db1 info second");
    }
    assert!(!place.path("pwned").exists());
    let body: serde_json::Value =
        serde_json::from_slice(&std::fs::read(place.path("body")).unwrap()).unwrap();
    assert_eq!(body["v"], 1);
    assert_eq!(ended(&mut place.tellhal(&["c", "while down"])).0, 0);
    let mut listener = listen(&place, &[">", "--durable", "lights", "--since", "1h"]);
    let printed = line(listener.0.stdout.as_mut().unwrap());
    assert!(printed.ends_with("while down") || printed.ends_with("second"), "{printed}");
}

#[test]
fn missing_permissions_and_wrong_arguments_are_reported() {
    let mut place = Place::bare(
        r#"authorization { users = [
            { user: all, password: all }
            { user: host, password: pw, permissions: { publish: ["hal.ops.db1.>"], subscribe: ["_INBOX.>"] } }
        ] }"#,
    );
    place.login = "all:all".into();
    place.make_stream("HAL_OPS", -1);
    let url = format!("nats://host:pw@127.0.0.1:{}", place.server.port());
    for args in [&["listen", ">"][..], &["listen", ">", "--since", "1h"], &["listen", ">", "--durable", "x"]]
    {
        let (status, stderr) = ended(place.tellhal(args).env("TELLHAL_URL", &url));
        assert_eq!(status, 77, "{args:?}: {stderr}");
        assert!(
            stderr.contains("listener's credentials") && stderr.contains("Permissions Violation"),
            "{stderr}"
        );
    }
    assert_eq!(ended(&mut Place::bare("").tellhal(&["listen", ">", "--since", "1h"])).0, 78);
    for bad in [&["listen", "a..b"][..], &["listen", ">", "--durable", "a.b"], &["listen"]] {
        assert_eq!(ended(&mut place.tellhal(bad)).0, 64, "{bad:?}");
    }
}
