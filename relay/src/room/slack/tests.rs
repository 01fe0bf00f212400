//! Slack against the kit and a small server that answers like Slack.

use super::*;
use crate::room::Settings as _;
use crate::room::conformance::{self, Behaviour, Decision, Server, decision};

const TOKEN: &str = "xoxb-very-secret-token";
const PATH: &str = "/services/T000/B000/verysecretpath";

fn web(url: &str) -> Box<dyn Room> {
    let toml = format!(
        "token = '{TOKEN}'\nchannel = 'C1'\napi_url = '{url}/api'\nworkspace_url = 'https://x.slack.com'"
    );
    Box::new(Slack::open(&toml::from_str(&toml).unwrap()).unwrap())
}

fn hook(url: &str) -> Box<dyn Room> {
    let toml = format!("webhook_url = '{url}{PATH}'");
    Box::new(Slack::open(&toml::from_str(&toml).unwrap()).unwrap())
}

#[tokio::test]
async fn the_web_api_passes_the_kit() {
    // Escaped, the brackets of every mention and forged link are gone.
    conformance::renders(&*web("http://127.0.0.1"), 80_000, &["<", ">"]);
    let taken = r#"{"ok":true,"channel":"C1","ts":"1503435956.000247"}"#;
    conformance::over_http(web, taken, &[TOKEN], Decision::Unknown).await;
}

#[tokio::test]
async fn the_webhook_passes_the_kit() {
    conformance::renders(&*hook("http://127.0.0.1"), 80_000, &["<", ">"]);
    conformance::over_http(hook, "ok", &[PATH, "verysecretpath"], Decision::Unknown).await;
}

#[tokio::test]
async fn errors_come_with_status_200() {
    let table = [
        ("ratelimited", Decision::Later(None)),
        ("service_unavailable", Decision::Later(None)),
        ("fatal_error", Decision::Unknown),
        ("msg_too_long", Decision::Permanent),
        ("invalid_blocks", Decision::Permanent),
        ("something_new", Decision::Permanent),
        ("not_in_channel", Decision::Auth),
        ("invalid_auth", Decision::Auth),
        ("restricted_action_thread_only_channel", Decision::Auth),
    ];
    for (error, wanted) in table {
        let server = Server::start(Behaviour::Answer(format!(r#"{{"ok":false,"error":"{error}"}}"#))).await;
        let answer = conformance::send(&*web(&server.url), "x").await;
        assert_eq!(decision(&answer), wanted, "{error}");
        assert_eq!(answer.unwrap_err().to_string(), format!("127.0.0.1: slack says {error}"));
    }
    let leak = format!(r#"{{"ok":false,"error":"bad token {TOKEN}"}}"#);
    let server = Server::start(Behaviour::Answer(leak)).await;
    let answer = conformance::send(&*web(&server.url), "x").await;
    assert_eq!(answer.unwrap_err().to_string(), "127.0.0.1: slack says an error without a name");
}

#[tokio::test]
async fn an_answer_that_is_not_slacks_is_one_post_and_says_so() {
    for (behaviour, doubt) in [
        (Behaviour::Answer(r#"{"success":true}"#.into()), "which is not Slack's answer: {\"success\":true}"),
        (Behaviour::Answer("<html>log in</html>".into()), "which is not Slack's answer: <html>log in</html>"),
        (Behaviour::Answer(String::new()), "which is not Slack's answer"),
        (Behaviour::Endless, "and the answer broke off: xxx"),
    ] {
        let server = Server::start(behaviour).await;
        for room in [web(&server.url), hook(&server.url)] {
            let sent = conformance::send(&*room, "x").await.unwrap();
            let said = sent.doubt.unwrap();
            assert!(said.starts_with("127.0.0.1: answered 200 OK, "), "{said}");
            assert!(said.contains(doubt) && said.len() < 300, "{said}");
        }
    }
    let server = Server::start(Behaviour::Answer("ok".into())).await;
    assert_eq!(conformance::send(&*hook(&server.url), "x").await.unwrap().doubt, None);
}

#[tokio::test]
async fn the_webhook_names_errors_in_its_body() {
    let table = [
        (400, "invalid_payload", Decision::Permanent),
        (400, "no_text", Decision::Permanent),
        (403, "action_prohibited", Decision::Auth),
        (404, "no_service", Decision::Auth),
        (410, "channel_is_archived", Decision::Auth),
        (429, "ratelimited", Decision::Later(None)),
    ];
    for (status, word, wanted) in table {
        let server = Server::start(Behaviour::Status(status, word)).await;
        assert_eq!(decision(&conformance::send(&*hook(&server.url), "x").await), wanted, "{word}");
    }
}

#[tokio::test]
async fn a_post_has_its_address_and_no_markup() {
    let server = Server::start(Behaviour::Answer(r#"{"ok":true,"ts":"1503435956.000247"}"#.into())).await;
    let mut message = conformance::message("Backup failed: a < b & c\nline *two*\n`three`");
    message.severity = Severity::Error;
    let room = web(&server.url);
    let parts = room.render(&Post::single(conformance::delivery("m1", message)));
    let sent = room.send(&parts[0]).await.unwrap();
    assert_eq!(sent.post.as_deref(), Some("1503435956.000247"));
    assert_eq!(sent.link.as_deref(), Some("https://x.slack.com/archives/C1/p1503435956000247"));
    let request = &server.requests()[0];
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /api/chat.postMessage HTTP/1.1\r\n"), "{head}");
    assert!(head.to_lowercase().contains(&format!("authorization: bearer {TOKEN}")), "{head}");
    let wanted = serde_json::json!({
        "channel": "C1",
        "text": "ERROR [backup.mysql] db1: Backup failed: a &lt; b &amp; c",
        "mrkdwn": false,
        "link_names": false,
        "unfurl_links": false,
        "unfurl_media": false,
        "attachments": [{"color": "danger", "text": "line *two*\n`three`", "mrkdwn_in": []}],
    });
    assert_eq!(serde_json::from_str::<serde_json::Value>(body).unwrap(), wanted);
}

#[test]
fn a_table_is_shown_in_fixed_width_and_cannot_leave_its_block() {
    let room = web("http://127.0.0.1");
    let mut message = conformance::message("Filesystem  Size\n/dev/sda1    40G ```\n<!here>       1G *x*");
    message.fields = [("host".into(), "db1".into())].into();
    let part = &room.render(&Post::single(conformance::delivery("m1", message)))[0];
    let wire: serde_json::Value = serde_json::from_str(&part.wire).unwrap();
    let wanted = serde_json::json!([
        {"text": "```\nFilesystem  Size\n/dev/sda1    40G '''\n&lt;!here&gt;       1G *x*\n```", "mrkdwn_in": ["text"]},
        {"text": "host=db1", "mrkdwn_in": []},
    ]);
    assert_eq!((&wire["attachments"], &wire["mrkdwn"]), (&wanted, &false.into()));
}

#[test]
fn a_long_log_shows_both_ends() {
    let room = web("http://127.0.0.1");
    let log: String = (0..900).map(|n| format!("copied file {n} of many into the archive\n")).collect();
    let message = conformance::message(&format!("{log}FATAL: no space left on device"));
    let shown = room.render(&Post::single(conformance::delivery("m1", message)))[0].shown.clone();
    assert!(shown.contains("\ncopied file 1 of") && shown.ends_with("\nFATAL: no space left on device"));
    assert!(shown.contains(" more lines)\n") && !shown.contains("file 450 of"));
}

#[test]
fn a_long_text_is_cut_by_lines_below_the_cap() {
    let room = web("http://127.0.0.1");
    let mut message = conformance::message(&format!("head\n{}", "<&> line of output\n".repeat(3000)));
    message.fields = [("left".into(), "standing".into())].into();
    let part = &room.render(&Post::single(conformance::delivery("m1", message)))[0];
    let wire: serde_json::Value = serde_json::from_str(&part.wire).unwrap();
    let below = wire["attachments"][0]["text"].as_str().unwrap();
    assert!(below.len() <= 30_000, "{}", below.len());
    assert!(below.contains(" more lines)\n") && below.ends_with("line of output\nleft=standing"), "{below}");
}

#[test]
fn a_room_has_one_way_in() {
    let keys = |toml: &str| -> Vec<&str> {
        toml::from_str::<Config>(toml).unwrap().problems().iter().map(|problem| problem.key).collect()
    };
    assert_eq!(keys(""), ["token"]);
    assert_eq!(keys("token = 'x'"), ["channel"]);
    assert_eq!(keys("token = 'x'\nchannel = '#ops'"), ["channel"]);
    assert_eq!(keys("token = 'x'\ntoken_file = 'y'\nchannel = 'C1'"), ["token"]);
    assert_eq!(keys("token = 'x'\nchannel = 'C1'\nwebhook_url = 'https://a'"), ["webhook_url"]);
    assert_eq!(keys("webhook_url = 'http://example.com/x'"), ["webhook_url"]);
    assert_eq!(keys("token = 'x'\nchannel = 'C1'\napi_url = 'http://example.com'"), ["api_url"]);
    let none: [&str; 0] = [];
    assert_eq!(keys("token_file = 'x'\nchannel = 'C1'\napi_url = 'http://127.0.0.1:9/api'"), none);
    assert_eq!(keys("webhook_url = '${HOOK}'"), none);
}
