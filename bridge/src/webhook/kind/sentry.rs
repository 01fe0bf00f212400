//! Sentry's integration platform: issues, alerts on them, and alerts on metrics.

use serde_json::Value;
use tellhal::message::{Severity, Status};

use super::{Event, Kind, Proof, Read, Refusal, Request};
use crate::webhook::event::{Reach as _, first_line, joined, severity_named, shortened};

pub(super) const KIND: Kind = Kind {
    name: "sentry",
    tag: "sentry.{event}",
    parts: &["event", "action", "project", "level"],
    proofs: &[Proof::Hmac { header: "sentry-hook-signature", prefix: "" }],
    read: Read::Own(read),
};

fn read(request: &Request<'_>) -> Result<Vec<Event>, Refusal> {
    let body = request.json()?;
    let (resource, action) = (request.header("sentry-hook-resource"), body.text("/action"));
    if resource.is_empty() || action.is_empty() {
        return Err(Refusal::malformed("there is no resource or no \"action\""));
    }
    let project = project(&body);
    let level = body.first(&["/data/issue/level", "/data/event/level", "/data/error/level"]);
    let url = body.first(&[
        "/data/event/web_url",
        "/data/error/web_url",
        "/data/issue/web_url",
        "/data/issue/permalink",
        "/data/web_url",
    ]);
    let thing = body.first(&[
        "/data/issue/id",
        "/data/event/issue_id",
        "/data/error/issue_id",
        "/data/issue_id",
        "/data/metric_alert/id",
        "/data/metric_alert/alert_rule/id",
    ]);
    let bad = severity_named(&level).unwrap_or(Severity::Error);
    let event = Event::new(joined(&[&project, &headline(&body, resource, &action)], ": "));
    let event = match (resource, action.as_str()) {
        (_, "resolved" | "archived" | "ignored") => event.status(Status::Resolved, bad),
        ("metric_alert", "critical") => event.status(Status::Failed, Severity::Critical),
        ("metric_alert", "warning") => event.status(Status::Failed, Severity::Warning),
        ("issue" | "error", "created") | ("issue", "unresolved") | ("event_alert", _) => {
            event.status(Status::Failed, bad)
        }
        ("activity_alert", _) => event.severity(Severity::Notice),
        _ => event,
    };
    let event = event
        .id(request.header("request-id"))
        .key(if thing.is_empty() {
            thing
        } else {
            format!("{}/{thing}", if resource == "metric_alert" { "metric" } else { "issue" })
        })
        .text(text(&body))
        .link("", url)
        .field("project", &project)
        .field("environment", tag(&body, "environment"))
        .field("release", tag(&body, "release"))
        .field("server", tag(&body, "server_name"));
    Ok(vec![
        event.part("event", resource).part("action", action).part("project", project).part("level", level),
    ])
}

/// The project's name in addresses. An event has it only in the address of the API: `…/projects/ORGANISATION/PROJECT/events/…`.
fn project(body: &Value) -> String {
    let slug = body.first(&[
        "/data/issue/project/slug",
        "/data/event/project_slug",
        "/data/project_slug",
        "/data/metric_alert/projects/0",
    ]);
    let api = body.first(&["/data/event/url", "/data/error/url"]);
    let of_api =
        api.split_once("/projects/").and_then(|(_, rest)| rest.split('/').nth(1)).unwrap_or_default();
    let numbers = ["/data/event/project_name", "/data/error/project", "/data/event/project"];
    [slug, of_api.to_owned(), body.first(&numbers)]
        .into_iter()
        .find(|name| !name.is_empty())
        .unwrap_or_default()
}

/// The event in a line.
fn headline(body: &Value, resource: &str, action: &str) -> String {
    let title = body.first(&["/data/issue/title", "/data/event/title", "/data/error/title"]);
    let title = shortened(first_line(&title));
    let actor = body.text("/actor/name");
    let person = if body.text("/actor/type") == "user" { actor.as_str() } else { "" };
    match resource {
        "event_alert" | "activity_alert" => {
            let rule = body.first(&["/data/triggered_rule", "/data/alert/title"]);
            joined(&[&joined(&["alert", &rule], " "), &title], ": ")
        }
        "error" => joined(&["error", &title], ": "),
        // Its title begins with the state.
        "metric_alert" => body.first(&["/data/description_title", "/data/metric_alert/title"]),
        "comment" => {
            let verb = match action {
                "updated" => "changed a comment on",
                "deleted" => "deleted a comment on",
                _ => "commented on",
            };
            joined(&[person, verb, "issue", &body.text("/data/issue_id")], " ")
        }
        "issue" => {
            let short = body.text("/data/issue/shortId");
            let short = if short.is_empty() { "issue" } else { &short };
            let done = match person {
                "" => format!("{short} {action}"),
                person => format!("{person} {action} {short}"),
            };
            joined(&[&format!("{done}{}", detail(body, action)), &title], ": ")
        }
        other => joined(
            &[joined(&[&other.replace('_', " "), action, "by", person], " ").trim_end_matches(" by"), &title],
            ": ",
        ),
    }
}

/// The words behind the action on an issue.
fn detail(body: &Value, action: &str) -> String {
    let to = body.first(&["/data/issue/assignedTo/name", "/data/issue/assignedTo/email"]);
    let state = body.text("/data/issue/substatus").replace('_', " ");
    match action {
        "assigned" if !to.is_empty() => format!(" to {to}"),
        "unresolved" | "archived" | "ignored" if !matches!(state.as_str(), "" | "ongoing" | "new") => {
            format!(" ({state})")
        }
        _ => String::new(),
    }
}

fn text(body: &Value) -> String {
    let said = body.first(&["/data/description_text", "/data/comment"]);
    let at = body.first(&["/data/event/culprit", "/data/issue/culprit", "/data/error/culprit"]);
    joined(&[&said, &at, &body.text("/data/event/location")], "\n")
}

/// A tag of an event: the second of a pair whose first is its name.
fn tag(body: &Value, name: &str) -> String {
    let tags = body.list("/data/event/tags").iter().chain(body.list("/data/error/tags"));
    let mut named = tags.filter(|tag| tag.text("/0") == name);
    named.next().map(|tag| tag.text("/1")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::testing::posted;
    use super::*;

    #[test]
    fn issues_and_metrics_fail_and_resolve() {
        let told = |resource: &str, body: &str| {
            posted(&KIND, &[("sentry-hook-resource", resource), ("request-id", "r1")], body)
                .unwrap()
                .remove(0)
        };
        let issue = |action: &str| {
            told(
                "issue",
                &format!(
                    r#"{{"action":"{action}","data":{{"issue":{{"id":"17","title":"TypeError: x is undefined","level":"error","project":{{"slug":"shop"}},"web_url":"https://s.example/17"}}}}}}"#
                ),
            )
        };
        let (begun, over) = (issue("created"), issue("resolved"));
        assert_eq!(begun.title, "shop: issue created: TypeError: x is undefined");
        assert_eq!(
            (begun.status, begun.severity, begun.id.as_deref()),
            (Some(Status::Failed), Severity::Error, Some("r1"))
        );
        assert_eq!((over.status, over.key), (Some(Status::Resolved), begun.key));
        let alert = told(
            "event_alert",
            r#"{"action":"triggered","data":{"triggered_rule":"Busy","event":{"title":"Oops","level":"warning","issue_id":"17","project":1}}}"#,
        );
        assert_eq!(
            (alert.title.as_str(), alert.severity, alert.key.as_deref()),
            ("1: alert Busy: Oops", Severity::Warning, Some("issue/17"))
        );
        let metric = told(
            "metric_alert",
            r#"{"action":"critical","data":{"description_title":"Critical: slow","description_text":"5s","metric_alert":{"id":"9"},"web_url":"https://s.example/m"}}"#,
        );
        assert_eq!((metric.severity, metric.key.as_deref()), (Severity::Critical, Some("metric/9")));
        assert!(posted(&KIND, &[], "{}").is_err());
    }
}
