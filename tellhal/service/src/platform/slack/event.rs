//! Events and slash commands, which Slack delivers in the same form over Socket Mode and as requests. Pure.
//!
//! A line is a person's own words of this moment: no edit, no robot's post, no notice about the channel. It is known by channel
//! and time, since the same line may be delivered as a `message` and as an `app_mention`, with an id each.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::answer::is_ts;
use super::client::Us;
use super::config::is_id;
use super::markup::plain;

/// One delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    Line(Heard),
    /// Slack asks whether the address is ours; the answer is this text.
    Challenge(String),
    /// It is of another workspace, in which the same app is installed.
    Foreign,
    /// It carries no line of a person.
    Other,
}

/// A line that somebody said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The id of the line.
    pub event: String,
    /// The workspace and the id of the speaker.
    pub team: String,
    pub user: String,
    pub channel: String,
    pub is_private: bool,
    /// The time of the thread's first post, if the line is in a thread.
    pub thread: Option<String>,
    /// When it was said, in seconds since 1970; `None` for a slash command, which is not kept anywhere.
    pub at: Option<u64>,
    /// The text as a reader sees it. A slash command begins with a mention of the bot.
    pub text: String,
    pub is_slash: bool,
}

/// An event with what is around it. Values of other shapes are nothing that anybody said.
#[derive(Deserialize)]
struct Callback {
    #[serde(rename = "type")]
    kind: String,
    challenge: Option<String>,
    team_id: Option<String>,
    event: Option<Event>,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    subtype: Option<String>,
    user: Option<String>,
    /// The speaker's workspace, in a channel that several share.
    user_team: Option<String>,
    team: Option<String>,
    channel: Option<String>,
    channel_type: Option<String>,
    ts: Option<String>,
    thread_ts: Option<String>,
    text: Option<String>,
    bot_id: Option<IgnoredAny>,
    bot_profile: Option<IgnoredAny>,
    app_id: Option<IgnoredAny>,
    edited: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Command {
    team_id: String,
    user_id: String,
    channel_id: String,
    trigger_id: String,
    #[serde(default)]
    text: String,
}

/// The answer to a slash command that is taken: the room sees it as it sees a line that is typed there.
pub fn slash_answer() -> Value {
    json!({ "response_type": "in_channel" })
}

/// Reads the JSON of the Events API: a request's body, or an envelope's payload.
pub fn event(json: &[u8], us: &Us) -> Delivery {
    let Ok(callback) = serde_json::from_slice::<Callback>(json) else { return Delivery::Other };
    match (callback.kind.as_str(), callback.challenge, callback.event) {
        ("url_verification", Some(challenge), _) => Delivery::Challenge(challenge),
        ("event_callback", _, _) if callback.team_id.as_ref() != Some(&us.team) => Delivery::Foreign,
        ("event_callback", _, Some(event)) => line(event, us).map_or(Delivery::Other, Delivery::Line),
        _ => Delivery::Other,
    }
}

/// Reads the form of a slash command's request.
pub fn command_form(form: &[u8], us: &Us) -> Delivery {
    serde_urlencoded::from_bytes(form).map_or(Delivery::Other, |command| slash(command, us))
}

/// Reads a slash command in an envelope.
pub(super) fn command_json(json: &[u8], us: &Us) -> Delivery {
    serde_json::from_slice(json).map_or(Delivery::Other, |command| slash(command, us))
}

fn line(event: Event, us: &Us) -> Option<Heard> {
    let is_said = matches!(event.kind.as_str(), "message" | "app_mention")
        && matches!(event.subtype.as_deref(), None | Some("thread_broadcast" | "file_share"));
    let is_robots = event.bot_id.is_some() || event.bot_profile.is_some() || event.app_id.is_some();
    if !is_said || is_robots || event.edited.is_some() {
        return None;
    }
    let (channel, user, ts) = (event.channel?, event.user?, event.ts.filter(|ts| is_ts(ts))?);
    let team = event.user_team.or(event.team).unwrap_or_else(|| us.team.clone());
    let is_private = event.channel_type.as_deref() == Some("im") || channel.starts_with('D');
    let is_legal = is_id(&channel) && is_id(&user) && is_id(&team) && user != us.user;
    is_legal.then(|| Heard {
        event: format!("{channel}/{ts}"),
        at: ts.split('.').next().and_then(|seconds| seconds.parse().ok()),
        thread: event.thread_ts.filter(|ts| is_ts(ts)),
        text: plain(&event.text.unwrap_or_default(), us),
        team,
        user,
        channel,
        is_private,
        is_slash: false,
    })
}

fn slash(command: Command, us: &Us) -> Delivery {
    let Command { team_id: team, user_id: user, channel_id: channel, trigger_id, text } = command;
    if team != us.team {
        return Delivery::Foreign;
    }
    if !is_id(&channel) || !is_id(&user) || trigger_id.is_empty() {
        return Delivery::Other;
    }
    Delivery::Line(Heard {
        event: trigger_id,
        is_private: channel.starts_with('D'),
        thread: None,
        at: None,
        text: format!("@{} {}", us.name, plain(&text, us)),
        team,
        user,
        channel,
        is_slash: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us() -> Us {
        Us { team: "T0001".into(), user: "U0001".into(), name: "hal".into() }
    }

    fn message(more: Value) -> Value {
        let mut event = json!({ "type": "message", "user": "U2", "channel": "C1", "channel_type": "channel",
            "ts": "1795000000.000100", "text": "!say a &amp; b" });
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        event
    }

    fn callback(event: &Value) -> Delivery {
        let body = json!({ "type": "event_callback", "team_id": "T0001", "event_id": "Ev1", "event": event });
        super::event(body.to_string().as_bytes(), &us())
    }

    fn heard(event: &Value) -> Heard {
        match callback(event) {
            Delivery::Line(heard) => heard,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_line_is_known_by_channel_and_time_and_its_speaker_by_ids() {
        let said = heard(&message(json!({})));
        assert_eq!((said.team.as_str(), said.user.as_str(), said.channel.as_str()), ("T0001", "U2", "C1"));
        assert_eq!((said.event.as_str(), said.text.as_str()), ("C1/1795000000.000100", "!say a & b"));
        assert_eq!((said.at, said.thread.as_ref(), said.is_private), (Some(1_795_000_000), None, false));
        let mention = heard(&message(json!({ "type": "app_mention", "text": "<@U0001> help" })));
        assert_eq!((mention.event, mention.text.as_str()), (said.event, "@hal help"));
        let thread = heard(&message(json!({ "thread_ts": "1.5", "subtype": "thread_broadcast" })));
        assert_eq!(thread.thread.as_deref(), Some("1.5"));
        assert!(heard(&message(json!({ "channel": "D1", "channel_type": "im" }))).is_private);
        // In a shared channel a stranger may have the same user id.
        assert_eq!(heard(&message(json!({ "user_team": "T0666" }))).team, "T0666");
        assert_eq!(heard(&message(json!({ "team": "T0666" }))).team, "T0666");
    }

    #[test]
    fn edits_robots_and_notices_are_no_lines() {
        for more in [
            json!({ "subtype": "message_changed", "message": message(json!({})) }),
            json!({ "subtype": "message_deleted" }),
            json!({ "subtype": "bot_message", "username": "oncall" }),
            json!({ "subtype": "channel_join" }),
            json!({ "bot_id": "B1" }),
            json!({ "bot_profile": {} }),
            json!({ "app_id": "A1" }),
            json!({ "edited": { "user": "U2", "ts": "1.1" } }),
            json!({ "user": "U0001" }),
            json!({ "user": null }),
            json!({ "user": "oncall" }),
            json!({ "user": 5 }),
            json!({ "channel": "#ops" }),
            json!({ "ts": "now" }),
            json!({ "type": "reaction_added" }),
        ] {
            assert_eq!(callback(&message(more.clone())), Delivery::Other, "{more}");
        }
        for body in [
            "",
            "{",
            "[]",
            "null",
            r#"{"type":"event_callback","team_id":"T0001"}"#,
            r#"{"type":"app_rate_limited"}"#,
        ] {
            assert_eq!(super::event(body.as_bytes(), &us()), Delivery::Other, "{body}");
        }
    }

    #[test]
    fn other_workspaces_are_foreign() {
        let body = json!({ "type": "event_callback", "team_id": "T0666", "event": message(json!({})) });
        assert_eq!(super::event(body.to_string().as_bytes(), &us()), Delivery::Foreign);
        let form = b"team_id=T0666&user_id=U2&channel_id=C1&trigger_id=1.2.a&text=help";
        assert_eq!(command_form(form, &us()), Delivery::Foreign);
    }

    #[test]
    fn a_slash_command_addresses_the_bot() {
        let form = b"token=x&team_id=T0001&user_id=U2&user_name=oncall&channel_id=C1&command=%2Fhal&text=deploy+web+%26amp%3B&trigger_id=1.2.a";
        let Delivery::Line(said) = command_form(form, &us()) else { panic!("no line") };
        assert_eq!((said.text.as_str(), said.event.as_str()), ("@hal deploy web &", "1.2.a"));
        assert!(said.is_slash && !said.is_private && said.thread.is_none());
        let json = json!({ "team_id": "T0001", "user_id": "U2", "channel_id": "D1", "trigger_id": "1.2.b", "text": "" });
        let Delivery::Line(said) = command_json(json.to_string().as_bytes(), &us()) else {
            panic!("no line")
        };
        assert!(said.is_private && said.text == "@hal ");
        for form in ["", "ssl_check=1&token=x", "team_id=T0001&user_id=U2&channel_id=C1&trigger_id=", "%ff=%"]
        {
            assert_eq!(command_form(form.as_bytes(), &us()), Delivery::Other, "{form}");
        }
        let challenge = super::event(br#"{"type":"url_verification","token":"x","challenge":"abc"}"#, &us());
        assert_eq!(challenge, Delivery::Challenge("abc".into()));
    }
}
