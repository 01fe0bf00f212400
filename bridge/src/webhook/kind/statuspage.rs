//! Statuspage, the pages of others' incidents: each update of an incident, and components whose state has changed.

use serde_json::Value;
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
        let (update, is_newest) = changed(body.list("/incident/incident_updates"));
        let id = joined(&[&update.text("/id"), &update.text("/updated_at")], "@");
        let id = if id.is_empty() { body.first(&["/incident/updated_at", "/incident/id"]) } else { id };
        let bad = match body.text("/incident/impact").as_str() {
            "critical" => Severity::Critical,
            "major" => Severity::Error,
            "none" => Severity::Notice,
            _ => Severity::Warning,
        };
        let said = update.text("/body");
        let text = match is_newest {
            true => said,
            false => format!("What was said at {} is now: {said}", told_at(update)),
        };
        let event = Event::new(title).id(id).key(body.text("/incident/id")).text(text);
        let event = event.field("began", body.text("/incident/created_at"));
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

/// The update that was changed last, and whether it is also the newest. Pages also send an incident when somebody corrects an older
/// update, or adds one to an incident that is over.
fn changed(updates: &[Value]) -> (&Value, bool) {
    let at = |update: &Value| update.first(&["/updated_at", "/created_at", "/display_at"]);
    // The newest comes first, so that it is the one that counts among equals.
    let newest = updates.iter().rev().max_by_key(|update| told_at(update));
    let changed = updates.iter().rev().max_by_key(|update| at(update));
    let (changed, newest) = (changed.unwrap_or(&Value::Null), newest.unwrap_or(&Value::Null));
    (changed, changed == newest)
}

/// The time that an update is of.
fn told_at(update: &Value) -> String {
    update.first(&["/display_at", "/created_at"])
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

    #[test]
    fn an_older_update_that_is_changed_is_told_as_that() {
        let incident = |updates: &str| {
            let body = format!(
                r#"{{"page":{{"id":"p"}},"incident":{{"id":"rclfj","name":"Database is down","status":"resolved","impact":"major",
                "created_at":"2026-11-20T01:00:00.000Z","incident_updates":[{updates}]}}}}"#
            );
            posted(&KIND, &[], &body).unwrap().remove(0)
        };
        let update = |id: &str, created: &str, updated: &str, body: &str| {
            format!(
                r#"{{"id":"{id}","created_at":"2026-11-20T0{created}:00:00.000Z","updated_at":"2026-11-{updated}:00:00.000Z","body":"{body}"}}"#
            )
        };
        let resolved = update("u2", "2", "20T02", "It is back.");
        let first = incident(&format!("{resolved},{}", update("u1", "1", "20T01", "We look into it.")));
        assert_eq!(
            (first.text.as_str(), first.fields["began"].as_str()),
            ("It is back.", "2026-11-20T01:00:00.000Z")
        );
        let begun = incident(&update("u1", "1", "20T01", "We look into it."));
        // In either order.
        for updates in [
            format!("{resolved},{}", update("u1", "1", "28T03", "It was the disk.")),
            format!("{},{resolved}", update("u1", "1", "28T03", "It was the disk.")),
        ] {
            let later = incident(&updates);
            assert_eq!(later.text, "What was said at 2026-11-20T01:00:00.000Z is now: It was the disk.");
            assert_eq!((later.key.as_deref(), later.status), (Some("rclfj"), Some(Status::Resolved)));
            assert_ne!(later.id, begun.id, "the claim of the first one does not swallow it");
        }
        let added = incident(&format!("{},{resolved}", update("u3", "9", "28T03", "The report is here.")));
        assert_eq!(added.text, "The report is here.");
    }
}
