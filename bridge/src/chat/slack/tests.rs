//! The posts of answers, lines as they are heard, and settings.

use serde_json::Value;

use super::*;

fn json(answer: &Answer, is_edit: bool) -> Value {
    serde_json::from_str(&message(answer, is_edit).json()).unwrap()
}

#[test]
fn an_answer_shows_its_text_and_pings_nobody() {
    let plain = json(&Answer::failed("<!channel> *a* & <@U1>"), false);
    assert_eq!(
        (&plain["text"], &plain["mrkdwn"]),
        (&"✗ &lt;!channel&gt; *a* &amp; &lt;@U1&gt;".into(), &false.into())
    );
    let table = Answer { fixed_width: true, ..Answer::done("a  1\n``` <!here>  2") };
    assert_eq!(json(&table, false)["text"], "```\na  1\n''' &lt;!here&gt;  2\n```");
    assert_eq!(json(&Answer::done("up"), true)["text"], "up");
    assert_eq!(json(&Answer::done("*up*"), true)["text"], "```\n*up*\n```");
    assert_eq!(json(&Answer::done(""), false)["text"], "done");
}

#[test]
fn no_answer_is_longer_than_slack_takes() {
    for (text, is_edit, most) in
        [(format!("{}\n", "<&>".repeat(30)).repeat(1_000), false, POST), ("x".repeat(100_000), true, EDIT)]
    {
        let text = json(&Answer::done(text), is_edit)["text"].as_str().unwrap().to_owned();
        assert!(text.chars().count() <= most && text.chars().count() > most / 2, "{}", text.len());
    }
}

#[test]
fn the_one_who_asked_is_known_by_workspace_and_user() {
    let said = Said {
        event: "C1/1.2".into(),
        team: "T1".into(),
        user: "U2".into(),
        channel: "C1".into(),
        is_private: false,
        thread: Some("1.1".into()),
        at: Some(1),
        text: "!status".into(),
        is_slash: false,
    };
    let line = heard(said.clone());
    assert_eq!(line.account, Some(Account::Slack { team: "T1".into(), user: "U2".into() }));
    assert_eq!((line.room.as_deref(), line.to.as_str()), (Some("C1"), "C1  1.1"));
    let slash = heard(Said { is_slash: true, thread: None, is_private: true, ..said });
    assert_eq!((slash.room, slash.to.as_str()), (None, "C1 U2"));
}

#[test]
fn a_chat_has_one_way_in() {
    let keys = |json: &str| -> Vec<&str> {
        let config: Config = serde_json::from_str(json).unwrap();
        config.problems().iter().map(|problem| problem.key).collect()
    };
    assert_eq!(keys("{}"), ["token", "app_token"]);
    assert_eq!(keys(r#"{"token":"x","app_token":"y","signing_secret":"z"}"#), ["app_token"]);
    assert_eq!(keys(r#"{"token":"x","app_token":"y","app_token_file":"z"}"#), ["app_token"]);
    assert_eq!(keys(r##"{"token":"x","app_token":"y","channels":["#ops","C1"]}"##), ["channels"]);
    assert_eq!(keys(r#"{"token":"x","app_token":"y","api_url":"http://a.example"}"#), ["api_url"]);
    let none: [&str; 0] = [];
    assert_eq!(keys(r#"{"token":"${T}","signing_secret_file":"y","channels":"C1"}"#), none);
}
