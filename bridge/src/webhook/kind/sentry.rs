//! Sentry's integration platform: issues, alerts on them, and alerts on metrics.

use tellhal::message::{Severity, Status};

use super::{Event, Kind, Proof, Read, Refusal, Request};
use crate::webhook::event::{Reach as _, joined, severity_named};

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
    let project = body.first(&[
        "/data/issue/project/slug",
        "/data/event/project_slug",
        "/data/event/project_name",
        "/data/error/project",
        "/data/event/project",
    ]);
    let level = body.first(&["/data/issue/level", "/data/event/level", "/data/error/level"]);
    let title = body.first(&[
        "/data/issue/title",
        "/data/event/title",
        "/data/error/title",
        "/data/description_title",
        "/data/comment",
    ]);
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
        "/data/metric_alert/id",
        "/data/metric_alert/alert_rule/id",
    ]);
    let bad = severity_named(&level).unwrap_or(Severity::Error);
    let rule = body.text("/data/triggered_rule");
    let what = match resource {
        "event_alert" => joined(&["alert", &rule], " "),
        other => joined(&[&other.replace('_', " "), &action], " "),
    };
    let event = Event::new(joined(&[&project, &what, &title], ": "));
    let event = match (resource, action.as_str()) {
        (_, "resolved" | "archived" | "ignored") => event.status(Status::Resolved, bad),
        ("metric_alert", "critical") => event.status(Status::Failed, Severity::Critical),
        ("metric_alert", "warning") => event.status(Status::Failed, Severity::Warning),
        ("issue" | "error", "created") | ("issue", "unresolved") | ("event_alert", _) => {
            event.status(Status::Failed, bad)
        }
        _ => event,
    };
    let event = event
        .id(request.header("request-id"))
        .key(if thing.is_empty() {
            thing
        } else {
            format!("{}/{thing}", if resource == "metric_alert" { "metric" } else { "issue" })
        })
        .text(body.first(&["/data/description_text", "/data/event/culprit", "/data/issue/culprit"]))
        .link("", url)
        .field("project", project.clone());
    Ok(vec![
        event.part("event", resource).part("action", action).part("project", project).part("level", level),
    ])
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
