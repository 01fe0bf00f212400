//! Monitors that cannot work, and the command that tries one.

use serde_json::Value;
use tests::{Bridge, FakeGraphite, find};

use super::scene::{Log, graphite, monitor};

#[tokio::test(flavor = "multi_thread")]
async fn a_monitor_is_tried_by_hand() {
    let (log, graphite_server) = (Log::start().await, FakeGraphite::start().await);
    graphite_server.set("a.b", &[Some(1.0), None, Some(61.0)]);
    let text = monitor("ab", "", &graphite(&graphite_server, "a.b", ""))
        + &monitor("bad", "", &graphite(&graphite_server, "nosuchfn(a.b)", ""));
    let bridge = Bridge::start(&log.server.url(), &text).await;
    let run = |arguments: &[&str]| {
        let output = bridge.command(arguments).output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code(), text)
    };
    let (code, text) = tokio::task::block_in_place(|| run(&["monitors", "test", "ab"]));
    assert_eq!((code, text.as_str()), (Some(0), "ab (graphite)\n  ab: wrong: 61, above 50\n    ▁ █\n"));
    let (code, text) = tokio::task::block_in_place(|| run(&["monitors", "test", "ab", "--json"]));
    let shown: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (code, &shown["series"][0]["value"], &shown["series"][0]["verdict"]),
        (Some(0), &61.0.into(), &"wrong".into())
    );
    let (code, text) = tokio::task::block_in_place(|| run(&["monitors", "test", "bad"]));
    assert!(text.contains("Invalid parameters (Received request for unknown function: nosuchfn)"), "{text}");
    assert_eq!(code, Some(1), "{text}");
    let (code, text) = tokio::task::block_in_place(|| run(&["monitors", "test", "ba"]));
    assert!(code == Some(1) && text.contains("there is no monitor ba: "), "{text}");
}

#[test]
fn monitors_that_cannot_work_are_refused_by_place() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bridge.toml");
    let text = "[[monitors]]\nname = \"a b\"\nevery = \"0s\"\nclear = 60\ngraph = \"lod\"\n[monitors.graphite]\nurl = \"http://g:1\"\nabove = 50\n\
        [[monitors]]\nname = \"x\"\ntag = \"t\"\ngrafite = 1\n[[monitors]]\nname = \"x\"\ntag = \"t\"\n[monitors.http]\nurl = \"http://h\"\n\
        [[monitors]]\nname = \"x\"\ntag = \"t\"\n[monitors.http]\nurl = \"http://h\"\n[monitors.expect]\nseen = \"a\"\nwithin = \"1h\"\n\
        [graphs.load]\nurl = \"http://g.example\"\ntargets = [{ target = \"a\" }]\n";
    std::fs::write(&file, text).unwrap();
    let output =
        std::process::Command::new(find::ours("hal-bridge")).args(["check", "--config"]).arg(&file).output();
    let told = String::from_utf8(output.unwrap().stderr).unwrap();
    for want in [
        "bridge.toml:2:8: error: monitors[0].name: \"a b\" is not a legal name for a monitor",
        "bridge.toml:1:1: error: monitors[0]: tag is missing",
        "bridge.toml:3:9: error: monitors[0].every: \"0s\" is not longer than zero",
        "bridge.toml:5:9: error: monitors[0].graph: there is no graph \"lod\"",
        "did you mean load?",
        "monitors[0].graphite.target: the target is missing",
        "monitors[0].graphite.above: above = 50, so clear = 60 would be good and wrong at once",
        "monitors[1].grafite: unknown key",
        "did you mean graphite?",
        "monitors[1]: it has no kind",
        "monitors[3]: it has several kinds",
        "monitors[3].name: monitor x is defined twice",
    ] {
        assert!(told.contains(want), "{want}\nin\n{told}");
    }
}
