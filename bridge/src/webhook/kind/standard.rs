//! Standard Webhooks, as Svix and many services send them: `{"type": …, "timestamp": …, "data": …}`.

use super::{Event, Kind, Proof, Read, Refusal, Request};
use crate::webhook::event::{Reach as _, joined, severity_named};

pub(super) const KIND: Kind = Kind {
    name: "standard_webhooks",
    tag: "standard_webhooks.{type}",
    parts: &["type"],
    proofs: &[Proof::Standard],
    read: Read::Own(read),
};

fn read(request: &Request<'_>) -> Result<Vec<Event>, Refusal> {
    let body = request.json()?;
    let kind = body.first(&["/type", "/event_type", "/eventType", "/event"]);
    let says = body.first(&["/data/title", "/data/summary", "/data/message", "/data/name", "/message"]);
    let ids = ["webhook-id", "svix-id"].map(|name| request.header(name));
    let event = Event::new(joined(&[if kind.is_empty() { "event" } else { &kind }, &says], ": "));
    let event = event
        .id(ids.into_iter().find(|id| !id.is_empty()).unwrap_or_default())
        .text(body.pointer("/data").unwrap_or(&body).to_string())
        .severity(severity_named(&body.first(&["/severity", "/data/severity"])).unwrap_or_default())
        .link("", body.first(&["/data/url", "/url"]));
    Ok(vec![event.part("type", kind)])
}

#[cfg(test)]
mod tests {
    use super::super::testing::posted;
    use super::*;

    #[test]
    fn the_type_and_a_few_words_are_the_title() {
        let body = r#"{"type":"invoice.paid","timestamp":"2026-11-28T01:00:00Z","data":{"title":"No. 7","url":"https://i.example/7"}}"#;
        let event = posted(&KIND, &[("webhook-id", "m1")], body).unwrap().remove(0);
        assert_eq!(
            (event.title.as_str(), event.id.as_deref(), event.links.len()),
            ("invoice.paid: No. 7", Some("m1"), 1)
        );
        assert_eq!(posted(&KIND, &[], "{}").unwrap()[0].title, "event");
    }
}
