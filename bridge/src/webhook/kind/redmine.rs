//! Redmine: its plugin redmine_webhook, and the webhooks that Redmine itself has since version 7.

use super::{Event, Kind, Proof, Read, Refusal, Request};
use crate::webhook::event::{Reach as _, id_of, joined};

pub(super) const KIND: Kind = Kind {
    name: "redmine",
    tag: "redmine.{event}",
    parts: &["event", "project", "tracker", "priority"],
    proofs: &[Proof::Hmac { header: "x-redmine-signature-256", prefix: "sha256=" }, Proof::Token],
    read: Read::Own(read),
};

fn read(request: &Request<'_>) -> Result<Vec<Event>, Refusal> {
    let body = request.json()?;
    // The plugin has all under "payload", Redmine itself under "data".
    let (data, action) = match body.pointer("/payload") {
        Some(payload) => (payload, payload.text("/action")),
        None => (body.pointer("/data").unwrap_or(&body), body.text("/type").replace("issue.", "")),
    };
    let (id, subject) = (data.text("/issue/id"), data.text("/issue/subject"));
    if action.is_empty() || id.is_empty() {
        return Err(Refusal::malformed("there is no action or no \"issue\""));
    }
    let user = |at: &str| {
        joined(&[&data.text(&format!("{at}/firstname")), &data.text(&format!("{at}/lastname"))], " ")
    };
    let names = [
        user("/journal/author"),
        data.text("/journal/user/name"),
        user("/issue/author"),
        data.text("/issue/author/name"),
    ];
    let who = names.into_iter().find(|name| !name.is_empty()).unwrap_or_else(|| "somebody".into());
    let changes: Vec<String> = data
        .list("/journal/details")
        .iter()
        .take(20)
        .map(|change| {
            let name = change.first(&["/prop_key", "/name"]);
            format!(
                "{}: {} → {}",
                name,
                change.first(&["/old_value"]),
                change.first(&["/value", "/new_value"])
            )
        })
        .collect();
    let event = Event::new(joined(&[&format!("{who} {action} #{id}"), &subject], ": "))
        .id(id_of(&[&id, &action, &data.first(&["/journal/id", "/issue/updated_on", "/issue/created_on"])]))
        .key(format!("#{id}"))
        .text(joined(&[&changes.join("\n"), &data.text("/journal/notes")], "\n"))
        .link("", data.first(&["/url", "/issue/url"]))
        .field("status", data.text("/issue/status/name"));
    Ok(vec![
        event
            .part("event", action)
            .part("project", data.first(&["/issue/project/identifier", "/issue/project/name"]))
            .part("tracker", data.text("/issue/tracker/name"))
            .part("priority", data.text("/issue/priority/name")),
    ])
}

#[cfg(test)]
mod tests {
    use super::super::testing::posted;
    use super::*;

    #[test]
    fn both_formats_are_read() {
        let plugin = r#"{"payload":{"action":"updated","issue":{"id":191,"subject":"Found a bug","project":{"identifier":"test"},"status":{"name":"New"}},
            "journal":{"id":5,"notes":"Fixed","author":{"firstname":"Ann","lastname":"Bee"},"details":[{"prop_key":"done_ratio","old_value":"0","value":"100"}]},"url":"https://r.example/issues/191"}}"#;
        let event = posted(&KIND, &[], plugin).unwrap().remove(0);
        assert_eq!(
            (event.title.as_str(), event.text.as_str()),
            ("Ann Bee updated #191: Found a bug", "done_ratio: 0 → 100\nFixed")
        );
        assert_eq!(
            (event.key.as_deref(), event.links.len(), event.id.as_deref()),
            (Some("#191"), 1, Some("191/updated/5"))
        );
        let own = r#"{"type":"issue.created","timestamp":"2026-11-28T01:00:00Z","data":{"issue":{"id":7,"subject":"New","author":{"name":"Ann"},"project":{"name":"P"}}}}"#;
        assert_eq!(posted(&KIND, &[], own).unwrap()[0].title, "Ann created #7: New");
        assert!(posted(&KIND, &[], "{}").is_err());
    }
}
