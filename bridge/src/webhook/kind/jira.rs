//! Jira's webhooks: issues, comments, and whatever else it tells of.

use super::{Event, Kind, Proof, Read, Refusal, Request};
use crate::webhook::event::{Reach as _, joined};

pub(super) const KIND: Kind = Kind {
    name: "jira",
    tag: "jira.{event}",
    parts: &["event", "project", "issue_type", "priority"],
    proofs: &[Proof::Hmac { header: "x-hub-signature", prefix: "sha256=" }, Proof::Token],
    read: Read::Own(read),
};

fn read(request: &Request<'_>) -> Result<Vec<Event>, Refusal> {
    let body = request.json()?;
    let kind = body.text("/webhookEvent").replace("jira:", "");
    if kind.is_empty() {
        return Err(Refusal::malformed("there is no \"webhookEvent\""));
    }
    let (issue, summary) = (body.text("/issue/key"), body.text("/issue/fields/summary"));
    let user = body.first(&["/user/displayName", "/comment/author/displayName", "/user/name"]);
    let name = body.first(&["/version/name", "/sprint/name", "/project/name"]);
    let what = match kind.as_str() {
        "issue_created" => "created".into(),
        "issue_updated" => "changed".into(),
        "issue_deleted" => "deleted".into(),
        "comment_created" => "commented on".into(),
        other => other.replace('_', " "),
    };
    let who = if user.is_empty() { "somebody" } else { &user };
    let changes: Vec<String> = body
        .list("/changelog/items")
        .iter()
        .take(20)
        .map(|change| {
            format!(
                "{}: {} → {}",
                change.text("/field"),
                or_none(change.text("/fromString")),
                or_none(change.text("/toString"))
            )
        })
        .collect();
    let address = body.text("/issue/self");
    let address = address
        .split_once("/rest/")
        .filter(|_| !issue.is_empty())
        .map(|(base, _)| format!("{base}/browse/{issue}"));
    let event = Event::new(joined(&[&joined(&[who, &what, &issue, &name], " "), &summary], ": "))
        .id(request.header("x-atlassian-webhook-identifier"))
        .key(issue)
        .text(joined(&[&changes.join("\n"), &body.text("/comment/body")], "\n"))
        .link("", address.unwrap_or_default())
        .field("status", body.text("/issue/fields/status/name"))
        .field("priority", body.text("/issue/fields/priority/name"));
    Ok(vec![
        event
            .part("event", kind)
            .part("project", body.first(&["/issue/fields/project/key", "/project/key"]))
            .part("issue_type", body.text("/issue/fields/issuetype/name"))
            .part("priority", body.text("/issue/fields/priority/name")),
    ])
}

fn or_none(text: String) -> String {
    if text.is_empty() { "none".into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::super::testing::posted;
    use super::*;

    #[test]
    fn an_issues_changes_are_lines() {
        let body = r#"{"webhookEvent":"jira:issue_updated","user":{"displayName":"Amy"},"issue":{"key":"OPS-7","self":"https://j.example/rest/api/2/issue/1",
            "fields":{"summary":"Disk is full","status":{"name":"Done"},"project":{"key":"OPS"}}},
            "changelog":{"items":[{"field":"status","fromString":"Open","toString":"Done"},{"field":"assignee","fromString":null,"toString":"Bob"}]}}"#;
        let event = posted(&KIND, &[("x-atlassian-webhook-identifier", "w1")], body).unwrap().remove(0);
        assert_eq!(event.title, "Amy changed OPS-7: Disk is full");
        assert_eq!(event.text, "status: Open → Done\nassignee: none → Bob");
        assert_eq!(
            (event.links[0].url.as_str(), event.key.as_deref()),
            ("https://j.example/browse/OPS-7", Some("OPS-7"))
        );
        assert_eq!(
            posted(&KIND, &[], r#"{"webhookEvent":"sprint_started","sprint":{"name":"S1"}}"#).unwrap()[0]
                .title,
            "somebody sprint started S1"
        );
        assert!(posted(&KIND, &[], "{}").is_err());
    }
}
