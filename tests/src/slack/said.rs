//! The words of people in the fake, as Slack delivers it: events and slash commands, and the signatures of its requests.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use super::FakeSlack;
use crate::http::post_with;

/// The fake's workspace.
pub const TEAM: &str = "T0001";
/// The signing secret of the app.
pub const SIGNING_SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";

static COUNT: AtomicU32 = AtomicU32::new(1);

/// The seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs())
}

fn next() -> u32 {
    COUNT.fetch_add(1, Ordering::Relaxed)
}

impl FakeSlack {
    /// A message of `user` in `channel`, as the Events API has it. `text` is as Slack sends it: escaped, with references.
    pub fn message(&self, user: &str, channel: &str, text: &str) -> Value {
        let ts = format!("{}.{:06}", now(), next());
        let kind = if channel.starts_with('D') { "im" } else { "channel" };
        callback(
            json!({ "type": "message", "user": user, "text": text, "ts": ts, "team": TEAM, "channel": channel,
            "channel_type": kind, "event_ts": ts, "client_msg_id": format!("c{}", next()) }),
        )
    }

    /// A slash command of `user` in `channel`.
    pub fn command(&self, user: &str, channel: &str, text: &str) -> Value {
        let trigger = format!("398738663015.47445629121.{:032x}", next());
        json!({ "token": "xyzz0WbapA4vBCDEFasx0q6G", "team_id": TEAM, "team_domain": "fake", "channel_id": channel,
            "channel_name": "ops", "user_id": user, "user_name": "roadrunner", "command": "/hal", "text": text,
            "api_app_id": "A0001", "response_url": format!("http://{}/evil", self.addr()), "trigger_id": trigger })
    }
}

/// An event with what is around it.
fn callback(event: Value) -> Value {
    json!({ "token": "one-long-verification-token", "type": "event_callback", "team_id": TEAM, "api_app_id": "A0001",
        "event_id": format!("Ev{:08}", next()), "event_time": now(), "event": event,
        "authorizations": [{ "team_id": TEAM, "user_id": "U0001", "is_bot": true }] })
}

/// The event that the bot hears of its own post.
pub(super) fn by_robot(posted: &Value) -> Value {
    let mut event = posted["message"].clone();
    event["channel"] = posted["channel"].clone();
    callback(event)
}

/// The event that the bot hears of its own file.
pub(super) fn of_file(channel: &str) -> Value {
    let ts = format!("{}.{:06}", now(), next());
    callback(json!({ "type": "message", "subtype": "file_share", "user": "U0001", "text": "", "ts": ts,
        "channel": channel, "files": [{ "id": "F0001", "mode": "hosted" }] }))
}

/// The signature of a request at `timestamp`.
pub fn signature(secret: &str, timestamp: u64, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key of any length");
    mac.update(format!("v0:{timestamp}:{body}").as_bytes());
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("v0={hex}")
}

/// The kinds of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The Events API: JSON.
    Event,
    /// A slash command: a form.
    Command,
}

impl Way {
    /// The body of a request with this payload.
    pub fn body(self, payload: &Value) -> String {
        match self {
            Way::Event => payload.to_string(),
            Way::Command => serde_urlencoded::to_string(payload).expect("a form"),
        }
    }

    fn media_type(self) -> &'static str {
        match self {
            Way::Event => "application/json",
            Way::Command => "application/x-www-form-urlencoded",
        }
    }
}

/// Sends a body, signed with `secret` at the time `at`, and returns status and body of the answer.
pub async fn deliver(addr: SocketAddr, way: Way, secret: &str, at: u64, body: &str) -> (u16, String) {
    let (time, signature) = (at.to_string(), signature(secret, at, body));
    let headers = [
        ("Content-Type", way.media_type()),
        ("X-Slack-Request-Timestamp", time.as_str()),
        ("X-Slack-Signature", signature.as_str()),
        ("User-Agent", "Slackbot 1.0 (+https://api.slack.com/robots)"),
    ];
    post_with(addr, "/slack/main", &headers, body).await.expect("an answer")
}
