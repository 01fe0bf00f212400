//! The list of conditions: each is checked, and each is in the configurations of the log.

use serde_json::Value;
use tellhal::message::{Message, Severity};
use tellhal::timestamp::Timestamp;

use super::*;

/// The text of a present relay; a condition that is absent holds for every message.
const TEXT: &str = r#"{"tag":["backup.>"],"severity":"warning","source":["db1"],"fields":{"env":["prod"],"shard":[]},"text":"shard \\d"}"#;

fn all() -> Conditions {
    serde_json::from_str(TEXT).unwrap()
}

fn fitting() -> Message {
    let mut message = Message::new("db1", "backup.mysql".parse().unwrap(), "slow query on shard 7");
    message.severity = Severity::Error;
    message.fields = [("env".to_owned(), "prod".to_owned()), ("shard".to_owned(), "7".to_owned())].into();
    message
}

#[test]
fn every_condition_must_hold() {
    fn refusal(message: &Message) -> Option<&'static str> {
        all().refusal(Asked { message, at: Timestamp(0) })
    }
    assert_eq!(refusal(&fitting()), None);
    type Spoil = (&'static str, fn(&mut Message));
    let spoil: [Spoil; 5] = [
        ("tag", |m| m.tag = "deploy".parse().unwrap()),
        ("severity", |m| m.severity = Severity::Notice),
        ("source", |m| m.source = "db2".into()),
        ("fields", |m| _ = m.fields.remove("shard")),
        ("text", |m| m.text = "fine".into()),
    ];
    for (condition, change) in spoil {
        let mut message = fitting();
        change(&mut message);
        assert_eq!(refusal(&message), Some(condition));
        let asked = Asked { message: &message, at: Timestamp(0) };
        assert_eq!(all().hold_beside_trie(asked), condition == "tag");
        assert!(all().reason(asked).refused.is_some());
    }
}

#[test]
fn the_text_of_a_configuration_has_one_key_a_condition() {
    let text = serde_json::to_string(&all()).unwrap();
    assert_eq!(serde_json::from_str::<Conditions>(&text).unwrap(), all());
    let (written, expected): (Value, Value) =
        (serde_json::from_str(&text).unwrap(), serde_json::from_str(TEXT).unwrap());
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(written.get(key), Some(value));
    }
    assert_eq!(serde_json::from_str::<Conditions>("{}").unwrap(), Conditions::default());
    assert!(serde_json::from_str::<Conditions>(r#"{"text":"("}"#).is_err());
}

#[test]
fn what_asks_for_less_covers_what_asks_for_more() {
    assert!(Conditions::default().covers(&all()) && all().covers(&all()));
    assert!(!all().covers(&Conditions::default()));
}
