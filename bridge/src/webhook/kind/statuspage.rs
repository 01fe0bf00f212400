//! Statuspage, the pages of others' incidents: each update of an incident, and components whose state has changed.

use tellhal::message::{Severity, Status};

use super::{Event, Kind, Proof, Read, Refusal, Request};
use crate::webhook::event::{Reach as _, joined};

pub(super) const KIND: Kind = Kind {
    name: "statuspage",
    tag: "statuspage.{event}",
    parts: &["event", "status", "impact", "page"],
    proofs: &[Proof::Token],
    read: Read::Own(read),
};

fn read(request: &Request<'_>) -> Result<Vec<Event>, Refusal> {
    let body = request.json()?;
    let page = body.text("/page/id");
    let (event, kind, status) = if body.pointer("/incident").is_some() {
        let status = body.text("/incident/status");
        let title = joined(&[&body.text("/incident/name"), &status.replace('_', " ")], ": ");
        // The newest update comes first.
        let update = "/incident/incident_updates/0";
        let id = body.first(&[&format!("{update}/id"), "/incident/updated_at", "/incident/id"]);
        let bad = match body.text("/incident/impact").as_str() {
            "critical" => Severity::Critical,
            "major" => Severity::Error,
            "none" => Severity::Notice,
            _ => Severity::Warning,
        };
        let text = body.text(&format!("{update}/body"));
        let event = Event::new(title).id(id).key(body.text("/incident/id")).text(text);
        (event.status(state(&status), bad).link("", body.text("/incident/shortlink")), "incident", status)
    } else if body.pointer("/component_update").is_some() {
        let status = body.first(&["/component_update/new_status", "/component/status"]);
        let name = body.text("/component/name");
        let event = Event::new(joined(&[&name, &status.replace('_', " ")], ": "));
        let event = event
            .id(body.text("/component_update/id"))
            .key(body.first(&["/component/id", "/component_update/component_id"]));
        let bad = if status == "major_outage" { Severity::Error } else { Severity::Warning };
        (event.status(state(&status), bad), "component", status)
    } else {
        return Err(Refusal::malformed("there is neither an \"incident\" nor a \"component_update\""));
    };
    let event = event.part("impact", body.text("/incident/impact")).part("page", &page);
    Ok(vec![
        event.part("event", kind).part("status", status).field("page", body.text("/page/status_description")),
    ])
}

fn state(status: &str) -> Status {
    match status {
        "resolved" | "completed" | "postmortem" | "operational" => Status::Resolved,
        "scheduled" | "in_progress" | "verifying" | "under_maintenance" => Status::Started,
        _ => Status::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::posted;
    use super::*;

    #[test]
    fn incidents_and_components_come_and_go() {
        let incident = |status: &str, update: &str| {
            let body = format!(
                r#"{{"page":{{"id":"j2mfxwj97wnj","status_description":"Major System Outage"}},"incident":{{"id":"rclfj","name":"Database is down","status":"{status}",
                "impact":"major","shortlink":"http://stspg.io/x","incident_updates":[{{"id":"{update}","body":"We look into it.","status":"{status}"}},{{"id":"old"}}]}}}}"#
            );
            posted(&KIND, &[], &body).unwrap().remove(0)
        };
        let (begun, over) = (incident("investigating", "u1"), incident("resolved", "u2"));
        assert_eq!(
            (begun.title.as_str(), begun.severity),
            ("Database is down: investigating", Severity::Error)
        );
        assert_eq!(
            (begun.id.as_deref(), over.id.as_deref(), over.status),
            (Some("u1"), Some("u2"), Some(Status::Resolved))
        );
        assert_eq!(begun.key, over.key);
        let body = r#"{"page":{"id":"p"},"component_update":{"id":"k7730b5v92bv","old_status":"operational","new_status":"major_outage","component_id":"rb5wq1dczvbm"},"component":{"id":"rb5wq1dczvbm","name":"Some Component"}}"#;
        let component = posted(&KIND, &[], body).unwrap().remove(0);
        assert_eq!(
            (component.title.as_str(), component.status),
            ("Some Component: major outage", Some(Status::Failed))
        );
        assert!(posted(&KIND, &[], "{}").is_err());
    }
}
