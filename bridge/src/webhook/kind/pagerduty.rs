//! PagerDuty's webhooks, version 3: an incident from its trigger to its end has one key.

use tellhal::message::{Severity, Status};

use super::{Event, Kind, Proof, Read, Refusal, Request};
use crate::webhook::event::{Reach as _, joined};

pub(super) const KIND: Kind = Kind {
    name: "pagerduty",
    tag: "pagerduty.{resource}.{event}",
    parts: &["resource", "event", "service"],
    proofs: &[Proof::Hmac { header: "x-pagerduty-signature", prefix: "v1=" }],
    read: Read::Own(read),
};

fn read(request: &Request<'_>) -> Result<Vec<Event>, Refusal> {
    let body = request.json()?;
    let event_type = body.text("/event/event_type");
    let (resource, verb) =
        event_type.split_once('.').ok_or_else(|| Refusal::malformed("there is no \"event_type\""))?;
    let get = |name: &str| body.text(&format!("/event/data/{name}"));
    let first =
        |name: &str| body.first(&[&format!("/event/data/{name}"), &format!("/event/data/incident/{name}")]);
    let (number, title) = (
        get("number"),
        body.first(&[
            "/event/data/title",
            "/event/data/incident/summary",
            "/event/data/name",
            "/event/data/summary",
        ]),
    );
    let service = body.first(&["/event/data/service/summary", "/event/data/incident/service/summary"]);
    let number = if number.is_empty() { number } else { format!("#{number}") };
    let thing = joined(&[resource, &number, &verb.replace(['_', '.'], " ")], " ");
    let event = Event::new(joined(&[&service, &thing, &title], ": "));
    let bad = if get("urgency") == "low" { Severity::Warning } else { Severity::Critical };
    let event = match (resource, verb) {
        ("incident", "triggered" | "reopened" | "escalated" | "unacknowledged") => {
            event.status(Status::Failed, bad)
        }
        ("incident", "resolved") => event.status(Status::Resolved, bad),
        _ => event,
    };
    let incident = body.first(&["/event/data/incident/id", "/event/data/id"]);
    let who: Vec<String> =
        body.list("/event/data/assignees").iter().map(|one| one.text("/summary")).collect();
    let event = event
        .id(body.first(&["/event/id"]))
        .key(incident)
        .text(body.first(&["/event/data/content", "/event/data/resolve_reason/type", "/event/data/message"]))
        .link("", first("html_url"))
        .field("assignees", who.join(", "))
        .field("agent", body.text("/event/agent/summary"))
        .field("priority", body.text("/event/data/priority/summary"));
    Ok(vec![event.part("resource", resource).part("event", verb).part("service", service)])
}

#[cfg(test)]
mod tests {
    use super::super::testing::posted;
    use super::*;

    #[test]
    fn an_incident_keeps_its_key() {
        let told = |kind: &str, data: &str| {
            let body = format!(
                r#"{{"event":{{"id":"e-{kind}","event_type":"{kind}","resource_type":"incident","occurred_at":"2020-10-02T18:45:22Z","data":{data}}}}}"#
            );
            posted(&KIND, &[], &body).unwrap().remove(0)
        };
        let incident = r#"{"id":"PGR0VU2","type":"incident","html_url":"https://acme.pagerduty.com/incidents/PGR0VU2","number":2,"title":"A little bump in the road","urgency":"high",
            "service":{"summary":"API Service"},"assignees":[{"summary":"Tenex Engineer"}]}"#;
        let (begun, over) = (told("incident.triggered", incident), told("incident.resolved", incident));
        assert_eq!(begun.title, "API Service: incident #2 triggered: A little bump in the road");
        assert_eq!((begun.status, begun.severity), (Some(Status::Failed), Severity::Critical));
        assert_eq!((over.status, &over.key), (Some(Status::Resolved), &begun.key));
        let note = told(
            "incident.annotated",
            r#"{"incident":{"id":"PGR0VU2","summary":"bump","html_url":"https://x"},"content":"On it","type":"incident_note"}"#,
        );
        assert_eq!(
            (note.title.as_str(), note.text.as_str(), note.key),
            ("incident annotated: bump", "On it", begun.key)
        );
        assert_eq!(told("pagey.ping", r#"{"message":"Hello from your friend Pagey!"}"#).title, "pagey ping");
        assert!(posted(&KIND, &[], "{}").is_err());
    }
}
