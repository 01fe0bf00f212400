//! GitLab: signed like Standard Webhooks by a new one, a token in a header from an older one.

use serde_json::Value;
use tellhal::message::{Severity, Status};

use super::{Event, Kind, Proof, Read, Refusal, Request};
use crate::webhook::event::{Reach as _, first_line, joined};

pub(super) const KIND: Kind = Kind {
    name: "gitlab",
    tag: "gitlab.{event}",
    parts: &["event", "action", "project", "user"],
    proofs: &[Proof::Standard, Proof::Header("x-gitlab-token")],
    read: Read::Own(read),
};

fn read(request: &Request<'_>) -> Result<Vec<Event>, Refusal> {
    let body = request.json()?;
    let kind = body.first(&["/object_kind", "/event_name", "/event_type"]);
    if kind.is_empty() {
        return Err(Refusal::malformed("there is no \"object_kind\""));
    }
    let project = body.first(&["/project/path_with_namespace", "/project_name", "/group/full_path"]);
    let user = body.first(&["/user/username", "/user_username", "/user/name", "/user_name"]);
    let told = Told { body: &body, kind: &kind, user: if user.is_empty() { "somebody" } else { &user } };
    let event = told.event(&project);
    let ids = ["webhook-id", "idempotency-key", "x-gitlab-webhook-uuid", "x-gitlab-event-uuid"];
    // The UUID of a hook is the same for all its events; only that of an event names it.
    let id = ids.iter().filter(|name| !name.contains("webhook-uuid")).map(|name| request.header(name));
    let action = body.first(&["/object_attributes/action", "/action"]);
    let event = event.id(id.into_iter().find(|id| !id.is_empty()).unwrap_or_default());
    let event =
        event.part("event", &kind).part("action", action).part("project", &project).part("user", &user);
    Ok(vec![event.field("project", &project).field("user", &user)])
}

struct Told<'a> {
    body: &'a Value,
    kind: &'a str,
    user: &'a str,
}

impl Told<'_> {
    fn event(&self, project: &str) -> Event {
        let body = self.body;
        let line = |what: String, rest: &str| {
            Event::new(joined(&[project, &joined(&[&what, first_line(rest)], ": ")], ": "))
        };
        let get = |name: &str| body.text(&format!("/object_attributes/{name}"));
        let user = self.user;
        match self.kind {
            "push" | "tag_push" => {
                let branch =
                    body.text("/ref").trim_start_matches("refs/heads/").replace("refs/tags/", "tag ");
                let count = body.first(&["/total_commits_count"]);
                let is_gone =
                    body.text("/after").bytes().all(|byte| byte == b'0') && !body.text("/after").is_empty();
                let what = match count.as_str() {
                    _ if is_gone => format!("{user} deleted {branch}"),
                    "" | "0" => format!("{user} pushed {branch}"),
                    "1" => format!("{user} pushed 1 commit to {branch}"),
                    many => format!("{user} pushed {many} commits to {branch}"),
                };
                let commits: Vec<String> =
                    body.list("/commits").iter().take(10).map(|commit| commit.text("/message")).collect();
                let lines: Vec<&str> = commits.iter().map(|message| first_line(message)).collect();
                let newest =
                    body.list("/commits").last().map(|commit| commit.text("/url")).unwrap_or_default();
                let url = if newest.is_empty() { body.text("/project/web_url") } else { newest };
                line(what, "").text(lines.join("\n")).link("", url)
            }
            "issue" | "work_item" | "merge_request" => {
                let sign = if self.kind == "merge_request" { "!" } else { "#" };
                let verb = verb(&get("action"));
                let thing = format!("{user} {verb} {} {sign}{}", self.kind.replace('_', " "), get("iid"));
                line(thing, &get("title")).key(format!("{project}{sign}{}", get("iid"))).link("", get("url"))
            }
            "note" => {
                let on = body.first(&[
                    "/merge_request/title",
                    "/issue/title",
                    "/snippet/title",
                    "/commit/message",
                ]);
                line(format!("{user} commented on {}", get("noteable_type")), &on)
                    .text(get("note"))
                    .link("", get("url"))
            }
            "pipeline" => {
                let thing = format!("pipeline #{} on {}", get("id"), get("ref"));
                let url = body.first(&["/object_attributes/url", "/project/web_url"]);
                stated(line(thing, &get("status")), &get("status"))
                    .key(format!("pipeline/{project}/{}", get("ref")))
                    .link("", url)
            }
            "build" => {
                let (name, status) = (body.text("/build_name"), body.text("/build_status"));
                let thing = format!("job {name} on {}", body.text("/ref"));
                stated(line(thing, &status), &status)
                    .key(format!("job/{project}/{}/{name}", body.text("/ref")))
                    .text(body.text("/build_failure_reason").replace('_', " "))
                    .link("", body.first(&["/project/web_url", "/repository/homepage"]))
            }
            "deployment" => {
                let (status, to) = (body.text("/status"), body.text("/environment"));
                stated(line(format!("deployment to {to}"), &status), &status)
                    .key(format!("deployment/{project}/{to}"))
                    .link("", body.first(&["/deployable_url", "/project/web_url"]))
            }
            "release" => line(
                format!("{user} {}d release {}", body.text("/action"), body.text("/tag")),
                &body.text("/name"),
            )
            .link("", body.text("/url")),
            other => {
                let action = body.first(&["/object_attributes/action", "/action"]);
                let title = body.first(&["/object_attributes/title", "/object_attributes/name", "/name"]);
                let what = joined(
                    &[user, if action.is_empty() { "told of" } else { &action }, &other.replace('_', " ")],
                    " ",
                );
                line(what, &title).link("", body.first(&["/object_attributes/url", "/project/web_url"]))
            }
        }
    }
}

fn verb(action: &str) -> String {
    match action {
        "" => "told of".into(),
        "open" | "reopen" => format!("{action}ed"),
        "approval" | "unapproval" | "approved" | "unapproved" => action.replace("val", "ved"),
        "close" | "merge" | "update" | "approve" | "unapprove" => format!("{action}d"),
        other => other.to_owned(),
    }
}

fn stated(event: Event, status: &str) -> Event {
    match status {
        "success" => event.status(Status::Succeeded, Severity::Info),
        "failed" => event.status(Status::Failed, Severity::Error),
        "running" | "pending" | "created" => event.status(Status::Started, Severity::Info),
        _ => event,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::posted;
    use super::*;

    #[test]
    fn pipelines_merge_requests_and_pushes_are_lines() {
        for (body, title, status) in [
            (
                r#"{"object_kind":"pipeline","object_attributes":{"id":31,"ref":"master","status":"failed","url":"http://git.example/p/31"},"project":{"path_with_namespace":"gitlab-org/gitlab-test"}}"#,
                "gitlab-org/gitlab-test: pipeline #31 on master: failed",
                Some(Status::Failed),
            ),
            (
                r#"{"object_kind":"merge_request","user":{"username":"root"},"project":{"path_with_namespace":"a/b"},"object_attributes":{"iid":1,"title":"MS-Viewport","action":"merge","url":"http://x"}}"#,
                "a/b: root merged merge request !1: MS-Viewport",
                None,
            ),
            (
                r#"{"object_kind":"push","after":"da15","ref":"refs/heads/master","user_username":"jsmith","project":{"path_with_namespace":"mike/diaspora"},"total_commits_count":4,"commits":[{"message":"Update Catalan translation\n\nSee"}]}"#,
                "mike/diaspora: jsmith pushed 4 commits to master",
                None,
            ),
            (
                r#"{"object_kind":"feature_flag","object_attributes":{"name":"x"},"user":{"name":"A"}}"#,
                "A told of feature flag: x",
                None,
            ),
        ] {
            let event =
                posted(&KIND, &[("webhook-id", "m1"), ("x-gitlab-event-uuid", "u")], body).unwrap().remove(0);
            assert_eq!(
                (event.title.as_str(), event.status, event.id.as_deref()),
                (title, status, Some("m1"))
            );
        }
        assert!(posted(&KIND, &[], "{}").is_err());
    }
}
