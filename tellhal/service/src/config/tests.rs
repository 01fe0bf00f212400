//! Secrets are never shown, whichever mistake is near them; and the excerpts in errors.

use std::path::PathBuf;

use proptest::prelude::*;
use toml::de::{DeTable, DeValue};

use super::toy::Toy;
use super::{Configuration, Problem, Problems};

const SECRET: &str = "hunter2-7f3a";

/// Secrets in every shape a file can have them: a key, free names, a table of a kind, inline, a variable with more.
const EXAMPLE: &str = r#"first = "page" # the old token was hunter2-7f3a
token = "hunter2-7f3a"

[headers]
Authorization = "Bearer hunter2-7f3a"
X-Key = 'hunter2-7f3a'

[[teams]]
name = "dba"
after = "page"
size = 3

[doors.back.front]
colour = "blue"
key = "hunter2-7f3a"

[doors.side]
front = { key = "hunter2-7f3a", colour = "red" }

[doors.cellar.front]
key = """
hunter2-7f3a
"""

[[teams]]
name = "web"
"#;

fn problems(text: &str) -> Vec<Problem> {
    Toy::parse(&[("conf/toy.toml".into(), text.to_owned())]).1
}

/// The problems as text and as JSON.
fn output(problems: Vec<Problem>) -> String {
    let json = serde_json::to_string(&problems).unwrap();
    let problems = Problems(problems);
    format!("{problems}\n{}\n{}\n{json}\n{problems:?}", problems.report(false), problems.report(true))
}

/// The first excerpt, with its underline below it.
fn excerpt(text: &str) -> String {
    let report = Problems(problems(text)).report(false);
    report.lines().skip(1).take_while(|line| !line.contains("= hint")).collect::<Vec<_>>().join("\n")
}

fn has_key_with(table: &DeTable, part: &str) -> bool {
    let nested = |value: &DeValue| match value {
        DeValue::Table(table) => has_key_with(table, part),
        DeValue::Array(items) => items.iter().any(|item| match item.get_ref() {
            DeValue::Table(table) => has_key_with(table, part),
            _ => false,
        }),
        _ => false,
    };
    let is_shown = |key: &str, value: &DeValue| {
        PUBLIC.contains(&key) && matches!(value, DeValue::String(text) if text.contains(part))
    };
    table.iter().any(|(key, value)| {
        let (key, value) = (key.get_ref(), value.get_ref());
        key.contains(part) || is_shown(key, value) || nested(value)
    })
}

/// The keys of the example whose values are shown.
const PUBLIC: [&str; 4] = ["first", "name", "after", "colour"];

#[test]
fn the_example_is_good() {
    assert_eq!(problems(EXAMPLE), []);
}

#[test]
fn an_excerpt_shows_public_values_and_nothing_else() {
    let cases = [
        ("# größe\n\tfirst = \"ü\" # old", "    2 |  first = \"ü\"\n      |          ^^^"),
        ("token = 5", "    1 | token = …\n      |         ^"),
        ("tokn = \"x\"", "    1 | tokn = …\n      | ^^^^"),
        ("doors = { a = { front = { colour = 5, key = \"x\" } } }", {
            "    1 | doors = { a = { front = { colour = 5, key = … } } }\n      |                                    ^"
        }),
        ("[[teams]]\nname = [\"x\", 7]", "    2 | name = …\n      |        ^"),
        ("[doors.a]\nfront = \"x\"", "    2 | front = …\n      |         ^"),
        ("[nats]\nurl = [\"nats://u:p@h\", 5]", "    2 | url = …\n      |       ^"),
        ("[natz] # x\na = 5", "    1 | [natz]\n      |  ^^^^"),
        ("[headers]\na = \"x\"\na = \"y\"", "    3 | a\n      | ^"),
        ("[doors.a.front]\n[doors.a.front]", "    2 | [doors.a.front]\n      |          ^^^^^"),
        ("first     = \"x", ""),
        ("first = \"page\" token = \"x\"", ""),
    ];
    for (text, expected) in cases {
        assert_eq!(excerpt(text), expected, "{text}");
    }
}

#[test]
fn a_value_that_serde_refuses_hides_no_other_problem() {
    let text = "[[teams]]\nname = \"a\"\nsize = 3000\n[[teams]]\nname = \"b\"\nsize = -1\nafter = \"gone\"";
    let output = output(problems(text));
    assert!(output.contains("teams[0].size") && output.contains("teams[1].size"), "{output}");
    assert!(output.contains("there is no team gone"), "{output}");
}

#[test]
fn relative_paths_are_relative_to_the_file_they_stand_in() {
    let texts = [("conf/toy.toml".into(), "state_dir = \"state\"".to_owned())];
    assert_eq!(super::named_state_dir::<Toy>(&texts), Some(PathBuf::from("conf/state")));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    /// An editor's mistakes anywhere but inside the secrets: cut, inserted, or a line twice.
    #[test]
    fn no_secret_is_shown(
        edits in prop::collection::vec(
            (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0_usize..30, "[\\[\\]{}\"'=.,#\n a-z0-9\\\\-]{0,5}"),
            1..5,
        ),
        twice in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut text = EXAMPLE.to_owned();
        if let Some(line) = twice {
            let lines: Vec<&str> = EXAMPLE.lines().collect();
            let line = line.get(&lines);
            text = text.replace(line, &format!("{line}\n{line}"));
        }
        let mut gaps: Vec<String> = text.split(SECRET).map(str::to_owned).collect();
        for (gap, at, cut, insert) in edits {
            let gap = &mut gaps[gap.index(text.matches(SECRET).count() + 1)];
            let at = gap.floor_char_boundary(at.index(gap.len() + 1));
            let end = gap.floor_char_boundary((at + cut).min(gap.len()));
            gap.replace_range(at..end, &insert);
        }
        let text = gaps.join(SECRET);
        // After the edit the secret may be a key or in a public value, such as when a quote before a comment is cut: both are shown.
        prop_assume!(!has_key_with(DeTable::parse_recoverable(&text).0.get_ref(), SECRET));
        let output = output(problems(&text));
        prop_assert!(!output.contains(SECRET), "{}\n---\n{}", text, output);
    }
}
