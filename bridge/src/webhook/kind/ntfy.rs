//! Messages as ntfy takes them, by their topic: `curl -d text HOST/TOPIC`, or JSON to `HOST/`.
//!
//! Honoured: the message, `Title`, `Priority` (5 is critical, 4 an error, 2 and 1 are debug), `Tags`, which become a field, and
//! `Click`, which becomes a link; by all of their names, in headers, behind `?` and in JSON. The field `not_honoured` names
//! everything else that ntfy would have done.

use serde_json::Value;
use tellhal::message::Severity;

use super::{Event, Kind, Proof, Read, Refusal, Request};
use crate::webhook::event::Reach as _;

pub(crate) const KIND: Kind =
    Kind { name: "ntfy", tag: "ntfy", parts: &["topic"], proofs: &[Proof::Token], read: Read::Own(read) };

/// The text of a message without one, as in ntfy.
const TRIGGERED: &str = "triggered";
const TITLE: [&str; 4] = ["x-title", "title", "ti", "t"];
const PRIORITY: [&str; 5] = ["x-priority", "priority", "prio", "p", "pr"];
const TAGS: [&str; 4] = ["x-tags", "tags", "tag", "ta"];
const CLICK: [&str; 2] = ["x-click", "click"];
/// Parameters without a meaning here; the last name is the one that is shown.
const OTHERS: [&[&str]; 12] = [
    &["x-actions", "action", "actions"],
    &["x-attach", "a", "attach"],
    &["x-cache", "cache"],
    &["x-call", "call"],
    &["x-at", "at", "x-in", "in", "x-delay", "delay"],
    &["x-email", "x-e-mail", "e-mail", "mail", "e", "email"],
    &["x-filename", "file", "f", "filename"],
    &["x-firebase", "firebase"],
    &["x-icon", "icon"],
    &["x-markdown", "md", "markdown"],
    &["x-template", "tpl", "template"],
    &["x-unifiedpush", "up", "unifiedpush"],
];

fn read(request: &Request<'_>) -> Result<Vec<Event>, Refusal> {
    // JSON goes to the address without a topic; curl says that it is a form.
    let object = if request.path == "/" { request.untyped_json()? } else { Value::Null };
    let query: Vec<(String, String)> = serde_urlencoded::from_str(request.query).unwrap_or_default();
    let get = |names: &[&str]| -> String {
        let header = |name: &&str| {
            request.headers.get(*name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let asked =
            |name: &&str| Some(query.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?.1.clone());
        // Short names are names of other things in headers.
        let headers = names.iter().find_map(header).or_else(|| names.iter().find_map(asked));
        headers.unwrap_or_else(|| {
            names
                .iter()
                .map(|name| object.text(&format!("/{name}")))
                .find(|text| !text.is_empty())
                .unwrap_or_default()
        })
    };
    let text = match &object {
        Value::Null => String::from_utf8_lossy(request.body).trim().to_owned(),
        object => object.text("/message"),
    };
    let text = if text.is_empty() { get(&["x-message", "message", "m"]) } else { text };
    let listed: Vec<String> = object.list("/tags").iter().map(|tag| tag.text("")).collect();
    let tags = if listed.is_empty() { get(&TAGS) } else { listed.join(",") };
    let tags: Vec<&str> = tags.split(',').map(str::trim).filter(|tag| !tag.is_empty()).collect();
    let is_used = |names: &&&[&str]| {
        let last = names.last().copied().unwrap_or_default();
        !get(names).is_empty() || object.pointer(&format!("/{last}")).is_some_and(|value| value.is_array())
    };
    let others: Vec<&str> = OTHERS.iter().filter(is_used).filter_map(|names| names.last().copied()).collect();
    let topic = match &object {
        Value::Null => request.path.trim_matches('/').to_owned(),
        object => object.text("/topic"),
    };
    let event = Event::new(get(&TITLE)).text(if text.is_empty() { TRIGGERED.to_owned() } else { text });
    let event = event
        .severity(priority(&get(&PRIORITY))?)
        .link("", get(&CLICK))
        .part("topic", topic.clone())
        .field("topic", topic);
    Ok(vec![event.field("tags", tags.join(", ")).field("not_honoured", others.join(", "))])
}

fn priority(name: &str) -> Result<Severity, Refusal> {
    Ok(match name.to_ascii_lowercase().as_str() {
        "5" | "max" | "urgent" => Severity::Critical,
        "4" | "high" => Severity::Error,
        "" | "3" | "default" => Severity::Info,
        "1" | "2" | "min" | "low" => Severity::Debug,
        _ => return Err(Refusal::malformed("invalid priority parameter")),
    })
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderName};

    use super::*;

    fn read_as(
        path: &str,
        headers: &[(&'static str, &str)],
        query: &str,
        body: &str,
    ) -> Result<Event, Refusal> {
        let headers =
            headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        let headers: HeaderMap = headers.collect();
        let request = Request { headers: &headers, body: body.as_bytes(), token: None, path, query, now: 0 };
        read(&request).map(|mut events| events.remove(0))
    }

    #[test]
    fn parameters_are_honoured_or_named() {
        let headers = [
            ("ti", "Low disk"),
            ("x-priority", "high"),
            ("tags", "warning, cd"),
            ("delay", "30min"),
            ("content-type", "text/markdown"),
        ];
        let event = read_as("/alerts", &headers, "click=https://a.example&email=a@b", "full\n").unwrap();
        assert_eq!(
            (event.title.as_str(), event.text.as_str(), event.severity),
            ("Low disk", "full", Severity::Error)
        );
        assert_eq!(
            (event.fields["tags"].as_str(), event.fields["not_honoured"].as_str()),
            ("warning, cd", "delay, email")
        );
        assert_eq!((event.links.len(), event.parts["topic"].as_str()), (1, "alerts"));
        let json = r#"{"topic":"alerts","message":"m","title":"t","tags":["a","b"],"priority":5,"click":"https://a.example","actions":[{"a":1}]}"#;
        let event = read_as("/", &[], "", json).unwrap();
        assert_eq!(
            (event.title.as_str(), event.text.as_str(), event.severity),
            ("t", "m", Severity::Critical)
        );
        assert_eq!(
            (event.fields["tags"].as_str(), event.fields["not_honoured"].as_str()),
            ("a, b", "actions")
        );
        assert_eq!(read_as("/alerts", &[], "", "").unwrap().text, "triggered");
        assert_eq!(read_as("/alerts", &[], "m=hello+world", "").unwrap().text, "hello world");
        for (path, query, body) in [("/", "", "x"), ("/a", "p=9", "x")] {
            assert!(read_as(path, &[], query, body).is_err());
        }
    }
}
