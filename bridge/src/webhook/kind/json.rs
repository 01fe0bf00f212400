//! Any JSON: the configuration says at which pointers the parts of a message are, such as `title = "{/job/name} is {/state}"`, or has
//! templates for them.

use serde_json::Value;
use tellhal::message::{Severity, Status};

use super::{Event, Kind, Proof, Read, Refusal, Request};
use crate::webhook::event::{Reach as _, severity_named};
use crate::webhook::jinja::{Jinja, Rendered};
use crate::webhook::template::Template;

pub(super) const KIND: Kind = Kind {
    name: "json",
    tag: "json",
    parts: &[],
    proofs: &[Proof::Standard, Proof::Token],
    read: Read::Mapped,
};

/// The parts of a message as templates, whose placeholders are JSON pointers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Mapping {
    /// The list whose items are the events; the whole body is one event without it.
    pub(crate) each: Option<String>,
    pub(crate) tag: Template,
    pub(crate) title: Option<Template>,
    pub(crate) text: Option<Template>,
    pub(crate) severity: Option<Template>,
    pub(crate) status: Option<Template>,
    pub(crate) key: Option<Template>,
    pub(crate) id: Option<Template>,
    pub(crate) link: Option<Template>,
    /// Templates of another kind for the same parts, which come first.
    pub(crate) jinja: Jinja,
}

/// The events of a body. Without a template for its text, the whole JSON is the text.
pub(crate) fn read(request: &Request<'_>, mapping: &Mapping) -> Result<Vec<Event>, Refusal> {
    let body = request.json()?;
    let items = match &mapping.each {
        None => std::slice::from_ref(&body),
        Some(each) if body.pointer(each).is_some_and(Value::is_array) => body.list(each),
        Some(each) => return Err(Refusal::malformed(format!("there is no list at {each:?}"))),
    };
    let signed_id = request.header("webhook-id");
    let is_one = items.len() == 1;
    let event = |item: &Value| {
        let rendered = mapping.jinja.render(item);
        let id = if is_one { signed_id } else { "" };
        event(mapping, &rendered, |at| item.text(at), || item.to_string(), id)
    };
    Ok(items.iter().map(event).collect())
}

/// The event whose parts are `rendered`, or those that `value` gives by their placeholders. Without a template for its text, `whole` is
/// the text. An event of which a part could not be rendered is told all the same, with the reason.
pub(crate) fn event(
    mapping: &Mapping,
    rendered: &Rendered,
    value: impl Fn(&str) -> String,
    whole: impl FnOnce() -> String,
    id: &str,
) -> Event {
    let fill = |part: &str, template: &Option<Template>| match rendered.parts.get(part) {
        Some(text) => Some(text.clone()),
        None => template.as_ref().map(|template| template.fill(&value)),
    };
    let mut event = Event::new(fill("title", &mapping.title).unwrap_or_default());
    event = match fill("status", &mapping.status).as_deref().and_then(status_named) {
        Some(status) => event.status(status, Severity::Error),
        None => event,
    };
    if let Some(severity) = fill("severity", &mapping.severity) {
        let unknown = if severity.is_empty() { event.severity } else { Severity::UNKNOWN };
        event = event.severity(severity_named(&severity).unwrap_or(unknown));
    }
    for at in mapping.tag.places() {
        event = event.part(at, value(at));
    }
    let text = fill("text", &mapping.text).unwrap_or_else(whole);
    let key = fill("key", &mapping.key).unwrap_or_default();
    if !rendered.problems.is_empty() {
        let severity = event.severity.max(Severity::UNKNOWN);
        event = event.severity(severity).field("templates", rendered.problems.join("; "));
    }
    event
        .text(text)
        .key(key)
        .id(fill("id", &mapping.id).unwrap_or_else(|| id.to_owned()))
        .link("", fill("link", &mapping.link).unwrap_or_default())
}

/// The names that systems give to the states of a thing.
fn status_named(name: &str) -> Option<Status> {
    match name.to_ascii_lowercase().as_str() {
        "firing" | "alerting" | "triggered" | "down" | "open" | "error" | "failure" | "problem"
        | "critical" => Some(Status::Failed),
        "ok" | "up" | "closed" | "recovered" | "normal" | "recovery" => Some(Status::Resolved),
        "success" | "passed" | "done" | "completed" | "finished" => Some(Status::Succeeded),
        "running" | "pending" | "queued" | "start" => Some(Status::Started),
        name => name.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderMap;

    use super::*;

    fn read_as(mapping: &Mapping, body: &str) -> Result<Vec<Event>, Refusal> {
        read(
            &Request {
                headers: &HeaderMap::new(),
                body: body.as_bytes(),
                token: None,
                path: "",
                query: "",
                now: 0,
            },
            mapping,
        )
    }

    #[test]
    fn pointers_map_a_body() {
        let template = |text: &str| Some(Template::read(text).unwrap());
        let mapping = Mapping {
            each: Some("/checks".into()),
            tag: Template::read("check.{/name}").unwrap(),
            title: template("{/name} is {/state}"),
            severity: template("{/level}"),
            status: template("{/state}"),
            key: template("{/name}"),
            id: template("{/name}@{/at}"),
            link: template("{/url}"),
            ..Mapping::default()
        };
        let body = r#"{"checks":[{"name":"{/secret}","state":"down","level":"page","at":7,"url":"https://c.example"},{"name":"b","state":"ok","level":"page"}]}"#;
        let events = read_as(&mapping, body).unwrap();
        assert_eq!(events[0].title, "{/secret} is down", "a value is no template");
        assert_eq!((events[0].severity, events[0].status), (Severity::Critical, Some(Status::Failed)));
        assert_eq!((events[0].id.as_deref(), events[0].links.len()), (Some("{/secret}@7"), 1));
        assert_eq!((events[1].severity, events[1].status), (Severity::Critical, Some(Status::Resolved)));
        assert_eq!(events[1].parts["/name"], "b");
        assert!(read_as(&mapping, "{}").is_err());
    }

    #[test]
    fn an_event_that_a_template_does_not_fit_is_told_with_the_reason() {
        let mut mapping = Mapping { title: Some(Template::read("{/name}").unwrap()), ..Mapping::default() };
        for (part, source) in
            [("status", "{{ state }}"), ("text", "{{ log.lines }}"), ("key", "{{ name | lower }}")]
        {
            mapping.jinja.add(part, source).unwrap();
        }
        let event =
            read_as(&mapping, r#"{"name":"Web","state":"ok","log":{"lines":"fine"}}"#).unwrap().remove(0);
        assert_eq!(
            (event.title.as_str(), event.text.as_str(), event.key.as_deref()),
            ("Web", "fine", Some("web"))
        );
        assert_eq!((event.status, event.fields.len()), (Some(Status::Resolved), 0));
        let body = r#"{"name":"Web","state":"ok"}"#;
        let event = read_as(&mapping, body).unwrap().remove(0);
        assert_eq!(
            (event.title.as_str(), event.text.as_str(), event.severity),
            ("Web", body, Severity::Error)
        );
        assert_eq!(event.fields["templates"], "text: `log` is not in the request in line 1");
        assert_eq!(read_as(&Mapping::default(), r#"{"a":1}"#).unwrap()[0].text, r#"{"a":1}"#);
    }
}
