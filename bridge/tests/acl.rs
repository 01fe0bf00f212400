//! `hal-bridge acl explain`, and the mistakes in people and commands that a configuration is refused for.
#![allow(clippy::unwrap_used, reason = "a test's helpers may panic as the test may")]

use std::process::{Command, Output};

const GOOD: &str = r#"
[[people]]
name = "oncall"
roles = ["operator"]
irc = "oncall"
slack = ["T1/U1", "T2/U7"]

[[people]]
name = "dev"
roles = ["developer"]
matrix = "@dev:example.com"

[[commands]]
name = "deploy"
args = [{ name = "target", one_of = ["staging", "production"] }, { name = "version", pattern = "[0-9.]+", default = "0" }]
when = { target = "production" }
allow = ["operator"]
approve = "second-person"
timeout = "10m"

[[commands]]
name = "deploy"
args = [{ name = "target", one_of = ["staging", "production"] }, { name = "version", pattern = "[0-9.]+", default = "0" }]
rooms = "main/#ops"
allow = ["developer", "operator"]

[[commands]]
name = "*"
allow = ["operator"]
"#;

fn bridge(configuration: &str, args: &[&str]) -> Output {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("bridge.toml"), configuration).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_hal-bridge"));
    command
        .args(args)
        .current_dir(dir.path())
        .env("HAL_BRIDGE_CONFIG", "bridge.toml")
        .env_remove("STATE_DIRECTORY");
    command.output().unwrap()
}

fn explain(args: &[&str]) -> String {
    let output = bridge(GOOD, &[&["acl", "explain"], args].concat());
    format!("{}{}", String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn it_says_which_line_decides() {
    for (args, want) in [
        (
            &["dev", "main/#ops", "deploy", "staging"][..],
            "– bridge.toml:13 commands[0]: it is for target = production\n\
             ✓ bridge.toml:21 commands[1]: the role developer may, at once\nallowed, at once\n",
        ),
        (
            &["dev", "main/#ops", "deploy", "production"],
            "✗ bridge.toml:13 commands[0]: only a person with the role operator may\n\
             not allowed: only a person with the role operator may\n",
        ),
        (
            &["oncall", "main/#chat", "deploy", "production", "1.2"],
            "✓ bridge.toml:13 commands[0]: the role operator may, after another person's approval\n\
             allowed, after another person's approval\n",
        ),
        (
            &["oncall", "main/#chat", "deploy", "staging"],
            "– bridge.toml:13 commands[0]: it is for target = production\n\
             – bridge.toml:21 commands[1]: it is for main/#ops\n\
             not allowed: no rule about deploy is for this room and these arguments\n",
        ),
        (
            &["oncall", "main/#ops", "deploy", "production", "1; rm -rf /"],
            "✗ bridge.toml:13 commands[0]: version: \"1; rm -rf /\" is not possible: it must match [0-9.]+\n\
             not allowed: version: \"1; rm -rf /\" is not possible: it must match [0-9.]+\n",
        ),
        (
            &["oncall", "main/#ops", "uptime --all"],
            "✓ bridge.toml:27 commands[2]: the role operator may, at once\nallowed, at once\n",
        ),
        (
            &["-", "main/#ops", "uptime"],
            "✗ bridge.toml:27 commands[2]: only a person with the role operator may, and this account is nobody's\n\
             not allowed: only a person with the role operator may, and this account is nobody's\n",
        ),
        (&["-", "main/#ops", "help"], "allowed, at once\n"),
        (
            &["oncall", "main/#ops", "say “two words” —all"],
            "✓ bridge.toml:27 commands[2]: the role operator may, at once\nallowed, at once\n",
        ),
        (
            &["oncall", "main/#ops", "deploy pro\u{200b}duction"],
            "hal-bridge: there is a hidden character (\\u{200b}) after \"deploy pro\"; type the command again\n",
        ),
        (&["oncal", "main/#ops", "help"], "hal-bridge: there is no person oncal: did you mean oncall?\n"),
    ] {
        assert_eq!(explain(args), want, "{args:?}");
    }
    assert!(
        explain(&["oncall", "main/#ops", "!deploy production"])
            .contains("\"!deploy\" is not the name of a command")
    );
    let chat =
        format!("{GOOD}[chat.main.irc]\nserver = \"127.0.0.1:1\"\ntls = false\nchannels = [\"#ops\"]\n");
    let asked = |room: &str, line: &str| {
        let output = bridge(&chat, &["acl", "explain", "oncall", room, line]);
        format!("{}{}", String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let with_sign = asked("main/#ops", "!deploy production");
    assert!(with_sign.ends_with("allowed, after another person's approval\n"), "{with_sign}");
    assert_eq!(asked("main/#ops", "deploy production"), with_sign);
    assert_eq!(asked("mian/#ops", "uptime"), "hal-bridge: there is no chat mian: did you mean main?\n");
    let json: serde_json::Value =
        serde_json::from_str(&explain(&["oncall", "x/y", "deploy", "production", "--json"])).unwrap();
    assert_eq!(json["approve"], "second-person");
    assert_eq!(json["arguments"], serde_json::json!([["target", "production"], ["version", "0"]]));
    assert_eq!(json["rules"][0]["decides"], true);
}

#[test]
fn two_listeners_have_two_addresses() {
    let output = bridge("[http]\nlisten = \"127.0.0.1:9\"\n[tcp]\nlisten = \"127.0.0.1:9\"\n", &["check"]);
    let said = String::from_utf8(output.stderr).unwrap() + &String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("tcp.listen: 127.0.0.1:9 is also the address of http.listen"), "{said}");
    let any = bridge("[http]\nlisten = \"127.0.0.1:0\"\n[tcp]\nlisten = \"127.0.0.1:0\"\n", &["check"]);
    assert!(any.status.success(), "{any:?}");
}

#[test]
fn every_mistake_in_people_and_commands_is_named_at_once() {
    let wrong = r##"
[[people]]
name = "on call"
[[people]]
name = "oncall"
roles = ["operator"]
slack = "U1"
matrix = "oncall"
[[people]]
name = "oncall"
xmpp = ["a@example.com", "a@example.com/phone"]
[[people]]
name = "dev"
xmpp = "A@example.com"
[[people]]
roles = []
[[commands]]
name = "deploy now"
allow = ["operater"]
[[commands]]
name = "help"
allow = ["operator"]
[[commands]]
name = "deploy"
args = [{ name = "target", one_of = ["staging"], default = "web" }, { name = "target" }, { name = "p", pattern = "(" }]
when = { target = "stagin", tarjet = "x" }
rooms = ["#ops"]
approve = "second-person"
timeout = "2days"
"##;
    let output = bridge(wrong, &["check"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78));
    for want in [
        "3:8: error: people[0].name: \"on call\" is not a legal name for a person",
        "7:9: error: people[1].slack: \"U1\" is no account of slack",
        "8:10: error: people[1].matrix: \"oncall\" is no account of matrix",
        "10:8: error: people[2].name: person oncall is defined twice, here and at bridge.toml:5",
        "people[2].xmpp[1]: \"a@example.com/phone\" is no account of xmpp",
        "14:8: error: people[3].xmpp: xmpp a@example.com is another person's already, at bridge.toml:11",
        "people[4]: the person has no name",
        "commands[0].name: \"deploy now\" is not a legal name for a command",
        "warning: commands[0].allow[0]: nobody has the role operater, so it allows nobody",
        "did you mean operator?",
        "commands[1].name: everybody may give help",
        "commands[2].args[0].default: the argument does not take its default \"web\"",
        "commands[2].args[1].name: there are two arguments target",
        "commands[2].args[2].pattern: \"(\" is no pattern",
        "commands[2].when.target: target is never \"stagin\", so the rule would never fit",
        "did you mean staging?",
        "commands[2].when.tarjet: there is no argument tarjet",
        "commands[2].rooms[0]: \"#ops\" is no room of a chat",
        "commands[2]: nobody may give the command",
        "commands[2].timeout: 2days is out of range",
    ] {
        assert!(stderr.contains(want), "{want} is not in\n{stderr}");
    }
}
