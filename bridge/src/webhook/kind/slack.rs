//! Slack's incoming webhooks: text, blocks and attachments as a script or a library sends them to Slack. Refusals are Slack's words.

use serde_json::Value;
use service::platform::slack::{links, read_markup};
use tellhal::message::Severity;

use super::{Event, Kind, Proof, Read, Refusal, Request};
use crate::webhook::event::{Reach as _, joined};

pub(crate) const KIND: Kind = Kind {
    name: "slack",
    tag: "slack",
    parts: &["channel", "username"],
    proofs: &[Proof::Token],
    read: Read::Own(read),
};

/// The most attachments that Slack takes.
const ATTACHMENTS: usize = 100;
/// The deepest blocks that are read.
const DEPTH: usize = 8;

fn read(request: &Request<'_>) -> Result<Vec<Event>, Refusal> {
    let body = request.json().map_err(|_| Refusal::malformed("invalid_payload"))?;
    if !body.is_object() {
        return Err(Refusal::malformed("invalid_payload"));
    }
    let attachments = body.list("/attachments");
    if attachments.len() > ATTACHMENTS {
        return Err(Refusal::malformed("too_many_attachments"));
    }
    let mut event = Event::new("").part("channel", body.text("/channel").trim_start_matches(['#', '@']));
    event = event.part("username", body.text("/username")).field("username", body.text("/username"));
    let text = body.text("/text");
    let blocks = blocks(body.list("/blocks"), 0);
    // The text is what the blocks say, for notifications, unless there are none.
    let mut paragraphs = vec![if blocks.is_empty() { text } else { blocks }];
    for one in attachments {
        paragraphs.push(attachment(one));
        event.severity = event.severity.max(coloured(&one.text("/color")));
        event = event.link(&one.text("/title"), one.text("/title_link"));
    }
    let paragraphs: Vec<&str> = paragraphs.iter().map(|one| one.trim()).collect();
    let markup = joined(&paragraphs, "\n");
    if markup.is_empty() {
        return Err(Refusal::malformed("no_text"));
    }
    for (url, label) in links(&markup) {
        event = event.link(&label, url);
    }
    Ok(vec![event.text(read_markup(&markup))])
}

fn attachment(one: &Value) -> String {
    let fields =
        one.list("/fields").iter().map(|field| joined(&[&field.text("/title"), &field.text("/value")], ": "));
    let fields = fields.collect::<Vec<_>>().join("\n");
    let parts =
        [one.text("/pretext"), one.text("/title"), one.text("/text"), fields, blocks(one.list("/blocks"), 0)];
    let whole = joined(&parts.each_ref().map(String::as_str), "\n");
    let whole = if whole.is_empty() { one.text("/fallback") } else { whole };
    joined(&[&whole, &one.text("/footer")], "\n")
}

/// The texts of blocks, a line each: sections, headers, fields, and rich texts, whose parts are one line.
fn blocks(list: &[Value], depth: usize) -> String {
    let lines = list.iter().take(100).map(|block| {
        let text = block.first(&["/text/text", "/text", "/alt_text"]);
        let text = match (block.text("/url"), block.text("/type").as_str()) {
            (url, "link") if !url.is_empty() => format!("<{url}|{text}>"),
            (_, "emoji") => format!(":{}:", block.text("/name")),
            (_, "user") => format!("<@{}>", block.text("/user_id")),
            (_, "broadcast") => format!("@{}", block.text("/range")),
            _ => text,
        };
        let inner = |at: &str| if depth < DEPTH { blocks(block.list(at), depth + 1) } else { String::new() };
        joined(&[&text, &inner("/fields"), &inner("/elements")], "\n")
    });
    let lines: Vec<String> = lines.collect();
    let is_inline = list.iter().any(|block| {
        matches!(block.text("/type").as_str(), "link" | "emoji" | "user" | "broadcast" | "text")
    });
    joined(&lines.iter().map(String::as_str).collect::<Vec<_>>(), if is_inline { "" } else { "\n" })
}

/// The severity that a colour stands for: red is an error, yellow and orange are a warning.
fn coloured(color: &str) -> Severity {
    let hex = u32::from_str_radix(color.trim_start_matches('#'), 16).ok().filter(|_| color.len() >= 6);
    match (color, hex.map(|hex| ((hex >> 16) & 255, (hex >> 8) & 255, hex & 255))) {
        ("danger", _) => Severity::Error,
        ("warning", _) => Severity::Warning,
        (_, Some((red, green, blue))) if red > 2 * green && red > 2 * blue => Severity::Error,
        (_, Some((red, green, blue))) if red > 120 && green > 60 && blue < red.min(green).max(80) => {
            Severity::Warning
        }
        _ => Severity::Info,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderMap;
    use axum::http::header::CONTENT_TYPE;

    use super::*;

    fn post(body: &str) -> Result<Event, Refusal> {
        let mut headers = HeaderMap::new();
        if body.starts_with("payload=") {
            headers.insert(CONTENT_TYPE, "application/x-www-form-urlencoded".parse().unwrap());
        }
        let request =
            Request { headers: &headers, body: body.as_bytes(), token: None, path: "", query: "", now: 0 };
        read(&request).map(|mut events| events.remove(0))
    }

    #[test]
    fn text_is_read_as_slack_would_show_it() {
        let event = post(r##"{"text":"<!channel> &lt;b&gt; see <https://x.example/a?b&amp;c|the run>\n*two*","channel":"#ops","username":"robot"}"##).unwrap();
        assert_eq!(event.text, "@channel <b> see the run\n*two*");
        assert_eq!(
            (event.links[0].url.as_str(), event.links[0].title.as_deref()),
            ("https://x.example/a?b&c", Some("the run"))
        );
        assert_eq!((event.parts["channel"].as_str(), event.fields["username"].as_str()), ("ops", "robot"));
        assert_eq!(post("payload=%7B%22text%22%3A%22a%2Bb%22%7D").unwrap().text, "a+b");
    }

    #[test]
    fn attachments_and_blocks_are_lines() {
        let event = post(
            r##"{"attachments":[{"fallback":"f","color":"#A32037","pretext":"Look:","title":"Disk","title_link":"https://d.example","text":"99 %","fields":[{"title":"Host","value":"db1"}]},
                {"fallback":"only this","color":"good"}]}"##,
        )
        .unwrap();
        assert_eq!(event.text, "Look:\nDisk\n99 %\nHost: db1\nonly this");
        assert_eq!((event.severity, event.links.len()), (Severity::Error, 1));
        let event = post(
            r#"{"text":"fallback","blocks":[{"type":"header","text":{"type":"plain_text","text":"Hello"}},{"type":"divider"},
                {"type":"section","fields":[{"type":"mrkdwn","text":"*a*"},{"type":"mrkdwn","text":"b"}]},
                {"type":"rich_text","elements":[{"type":"rich_text_section","elements":[{"type":"text","text":"see "},{"type":"link","url":"https://x.example","text":"x"}]}]}]}"#,
        )
        .unwrap();
        assert_eq!((event.text.as_str(), event.links.len()), ("Hello\n*a*\nb\nsee x", 1));
    }

    #[test]
    fn colours_and_refusals_are_slacks() {
        for (color, severity) in [
            ("danger", Severity::Error),
            ("warning", Severity::Warning),
            ("good", Severity::Info),
            ("#CACF29", Severity::Warning),
            ("#3AA3E3", Severity::Info),
            ("#3AA337", Severity::Info),
            ("#ff9800", Severity::Warning),
            ("", Severity::Info),
            ("#x", Severity::Info),
        ] {
            assert_eq!(coloured(color), severity, "{color}");
        }
        let many = format!(r#"{{"attachments":[{}{{}}]}}"#, "{},".repeat(100));
        for (body, why) in [
            ("", "invalid_payload"),
            ("[]", "invalid_payload"),
            ("payload=x", "invalid_payload"),
            ("{}", "no_text"),
            (r#"{"text":"  "}"#, "no_text"),
            (many.as_str(), "too_many_attachments"),
        ] {
            assert_eq!(post(body), Err(Refusal::malformed(why)), "{body}");
        }
    }
}
