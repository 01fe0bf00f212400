//! Matrix against the kit and a small server that answers like a homeserver. A real Synapse is in the end-to-end tests.

use serde_json::{Value, json};
use service::platform::matrix::content::LARGEST;

use super::*;
use crate::room::Settings as _;
use crate::room::conformance::{self, Behaviour, Decision, Server as Fake, decision};

const TOKEN: &str = "syt_very-secret-token";
const TAKEN: &str = r#"{"event_id":"$abc-_1"}"#;

fn open_room(url: &str, room: &str) -> Box<dyn Room> {
    let toml = format!("homeserver = '{url}'\ntoken = '{TOKEN}'\nroom = '{room}'");
    Box::new(Matrix::open(&toml::from_str(&toml).unwrap(), &Shared::default()).unwrap())
}

fn open(url: &str) -> Box<dyn Room> {
    open_room(url, "!r:example.com")
}

fn content(message: tellhal::Message) -> Value {
    let parts = open("http://127.0.0.1").render(&Post::single(conformance::delivery("m1", message)));
    serde_json::from_str(&parts[0].wire).unwrap()
}

#[tokio::test]
async fn passes_the_kit() {
    // A bell for the room or for a user, and control characters as JSON has them.
    let never = ["user_ids", "\"room\":", "\\u00"];
    conformance::renders(&*open("http://127.0.0.1"), LARGEST, &never);
    conformance::over_http(open, TAKEN, &[TOKEN], Decision::Later(None)).await;
}

#[test]
fn markup_of_a_text_is_never_ours() {
    for text in conformance::HOSTILE.iter().chain(&["<b>x</b>", "&lt;b&gt;", "\"><img src=x>"]) {
        let mut message = conformance::message(&format!("{text}\n  {text}\n{text}"));
        message.severity = Severity::Critical;
        message.fields = [("name".into(), (*text).into())].into();
        let content = content(message);
        assert_eq!(content["m.mentions"], json!({}));
        let html = content["formatted_body"].as_str().unwrap().to_owned();
        let ours = ["<strong>", "</strong>", "<span data-mx-color=\"#d00000\">", "</span>", "<br>"];
        let ours = ours.iter().chain(&["<pre><code>", "</code></pre>"]);
        let left = ours.fold(html, |left, tag| left.replace(tag, ""));
        assert!(!left.contains(['<', '>', '"']), "{left}");
    }
}

#[test]
fn the_longest_texts_fit_into_an_event() {
    for text in ["\"", "\\", "&", "\" \n\t\"\n"] {
        let mut message = conformance::message(&text.repeat(60_000 / text.len()));
        message.severity = Severity::Error;
        message.fields = (0..99).map(|n| (format!("f{n}"), text.repeat(400 / text.len()))).collect();
        let parts = open("http://127.0.0.1").render(&Post::single(conformance::delivery("m1", message)));
        let length = parts[0].wire.len();
        assert!((20_000..=LARGEST).contains(&length), "{length} bytes for {text:?}");
    }
}

#[test]
fn html_is_sent_only_where_it_adds_something() {
    let plain = content(conformance::message("Backup finished\n  12 files"));
    assert_eq!((&plain["msgtype"], &plain["formatted_body"]), (&json!("m.text"), &Value::Null));
    assert_eq!(plain["body"], "[backup.mysql] db1: Backup finished\n  12 files");

    let table = content(conformance::message("disks\nName   Used\n/a     10 %\n/b<c>  20 %"));
    let shown =
        "[backup.mysql] db1: disks<pre><code>disks\nName   Used\n/a     10 %\n/b&lt;c&gt;  20 %</code></pre>";
    assert_eq!(table["formatted_body"], shown);

    let mut message = conformance::message("Backup failed\nno space & no time");
    message.severity = Severity::Error;
    message.fields = [("host".into(), "web1".into())].into();
    let marked = "<strong><span data-mx-color=\"#d00000\">ERROR</span></strong> [backup.mysql] db1: Backup failed<br>\
                  no space &amp; no time<br>host=web1";
    let content = content(message);
    assert_eq!(content["formatted_body"], marked);
    assert_eq!(content["body"], "ERROR [backup.mysql] db1: Backup failed\nno space & no time\nhost=web1");
}

#[test]
fn a_notice_is_one_by_setting() {
    let toml = "homeserver = 'http://127.0.0.1'\ntoken = 'x'\nroom = '!r'\nnotice = true";
    let room = Matrix::open(&toml::from_str(toml).unwrap(), &Shared::default()).unwrap();
    let parts = room.render(&conformance::post("hello"));
    assert!(parts[0].wire.contains("\"msgtype\":\"m.notice\""), "{}", parts[0].wire);
}

#[tokio::test]
async fn a_post_has_its_own_transaction() {
    let server = Fake::start(Behaviour::Answer(TAKEN.into())).await;
    let room = open(&server.url);
    let posts = [conformance::post("hello"), conformance::backlog(3), conformance::backlog(4)];
    for post in &posts {
        for _ in 0..2 {
            let sent = room.send(&room.render(post)[0]).await.unwrap();
            assert_eq!(sent.post.as_deref(), Some("$abc-_1"));
            assert_eq!(sent.link.as_deref(), Some("https://matrix.to/#/!r:example.com/$abc-_1"));
        }
    }
    let requests = server.requests();
    let lines: Vec<&str> = requests.iter().map(|request| request.lines().next().unwrap()).collect();
    let path = "PUT /_matrix/client/v3/rooms/!r:example.com/send/m.room.message/m1~room";
    assert_eq!(lines[0], format!("{path} HTTP/1.1"));
    assert!(lines[2].starts_with(&format!("{path}~")), "{lines:?}");
    assert_eq!((lines[0], lines[2], lines[4]), (lines[1], lines[3], lines[5]));
    assert!(lines[0] != lines[2] && lines[2] != lines[4], "{lines:?}");
    assert!(requests[0].to_lowercase().contains(&format!("authorization: bearer {TOKEN}")));
}

#[tokio::test]
async fn errors_are_read_by_status_and_name() {
    let table = [
        (400, r#"{"errcode":"M_BAD_JSON","error":"no"}"#, Decision::Permanent, "M_BAD_JSON: no"),
        (401, r#"{"errcode":"M_UNKNOWN_TOKEN","error":"gone"}"#, Decision::Auth, "M_UNKNOWN_TOKEN: gone"),
        (413, r#"{"errcode":"M_TOO_LARGE","error":"big"}"#, Decision::Permanent, "M_TOO_LARGE: big"),
        (429, r#"{"errcode":"M_LIMIT_EXCEEDED","retry_after_ms":7200}"#, Decision::Later(Some(7)), "M_LIMIT"),
        (500, r#"{"errcode":"M_UNKNOWN"}"#, Decision::Later(None), "M_UNKNOWN"),
    ];
    for (status, body, wanted, reason) in table {
        let server = Fake::start(Behaviour::Status(status, body)).await;
        let answer = conformance::send(&*open(&server.url), "x").await;
        assert_eq!(decision(&answer), wanted, "{answer:?}");
        assert!(answer.unwrap_err().to_string().contains(reason), "{reason}");
    }
}

#[tokio::test]
async fn an_answer_that_is_not_a_homeservers_is_asked_again() {
    for body in ["<html>log in</html>", "", "{}", r#"{"event_id":"x"}"#] {
        let server = Fake::start(Behaviour::Answer(body.into())).await;
        let answer = conformance::send(&*open(&server.url), "x").await;
        assert_eq!(decision(&answer), Decision::Later(None), "{body}: {answer:?}");
        assert!(answer.unwrap_err().to_string().contains("which is not Matrix's answer"), "{body}");
    }
}

#[tokio::test]
async fn a_forbidden_room_is_joined_once_for_a_post() {
    let server =
        Fake::start(Behaviour::Status(403, r#"{"errcode":"M_FORBIDDEN","error":"not in it"}"#)).await;
    let room = open(&server.url);
    let answer = conformance::send(&*room, "x").await;
    assert_eq!(decision(&answer), Decision::Auth, "{answer:?}");
    let requests = server.requests();
    let methods: Vec<&str> = requests.iter().map(|request| request.split(' ').next().unwrap()).collect();
    assert_eq!(methods, ["PUT", "POST"]);
    assert!(requests[1].starts_with("POST /_matrix/client/v3/join/!r:example.com HTTP"), "{}", requests[1]);
}

#[tokio::test]
async fn an_alias_is_joined_first() {
    let server = Fake::start(Behaviour::Answer(r##"{"room_id":"!new","event_id":"$e"}"##.into())).await;
    let room = open_room(&server.url, "#ops:example.com");
    for _ in 0..2 {
        conformance::send(&*room, "x").await.unwrap();
    }
    let paths: Vec<String> =
        server.requests().iter().map(|request| request.split(' ').nth(1).unwrap().to_owned()).collect();
    let send = "/_matrix/client/v3/rooms/!new/send/m.room.message/m1~room";
    assert_eq!(paths, ["/_matrix/client/v3/join/%23ops:example.com", send, send]);
}

#[test]
fn settings_that_cannot_work_are_refused_by_key() {
    let keys = |toml: &str| -> Vec<&str> {
        toml::from_str::<Config>(toml).unwrap().problems().iter().map(|problem| problem.key).collect()
    };
    let none: [&str; 0] = [];
    assert_eq!(keys("homeserver = 'https://a.b'\ntoken_file = 'x'\nroom = '!r'"), none);
    assert_eq!(keys("homeserver = 'http://a.b'\nroom = 'ops'"), ["homeserver", "token", "room"]);
}
