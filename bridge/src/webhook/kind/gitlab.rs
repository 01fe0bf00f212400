//! GitLab: signed like Standard Webhooks by a new one, a token in a header from an older one.

use serde_json::Value;
use tellhal::message::{Severity, Status};

use super::{Event, Kind, Proof, Read, Refusal, Request};
use crate::webhook::event::{Reach as _, first_line, joined, severity_named, shortened};

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
    let project =
        body.first(&["/project/path_with_namespace", "/project_name", "/group/full_path", "/group_path"]);
    let user = body.first(&["/user/username", "/user_username", "/user/name", "/user_name"]);
    let event = Told { body: &body, kind: &kind, user: &user, project: &project }.event();
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
    /// Empty if the event does not say who did it.
    user: &'a str,
    project: &'a str,
}

impl Told<'_> {
    fn event(&self) -> Event {
        match self.kind {
            "push" | "tag_push" => self.push(),
            "issue" | "work_item" | "merge_request" => self.issue(),
            "note" => self.note(),
            "pipeline" => self.pipeline(),
            "build" => self.job(),
            "deployment" => {
                let (status, to) = (self.body.text("/status"), self.body.text("/environment"));
                stated(self.line(&[&format!("deployment to {to}"), &status]), &status)
                    .key(format!("deployment/{}/{to}", self.project))
                    .text(self.body.text("/commit_title"))
                    .link("", self.body.first(&["/deployable_url", "/project/web_url"]))
            }
            "vulnerability" => self.vulnerability(),
            "access_token" => {
                let (name, day) = (self.get("name"), self.get("expires_at"));
                let line = self.line(&[&format!("access token {name} expires on {day}")]);
                line.severity(Severity::Warning).link("", self.body.text("/project/web_url"))
            }
            kind => self.of_group(kind).unwrap_or_else(|| self.other()),
        }
    }

    /// A value of what the event is about.
    fn get(&self, name: &str) -> String {
        self.body.text(&format!("/object_attributes/{name}"))
    }

    /// An event with the project and these parts as its title.
    fn line(&self, parts: &[&str]) -> Event {
        let parts: Vec<String> = parts.iter().map(|part| shortened(first_line(part))).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        Event::new(joined(&[self.project, &joined(&parts, ": ")], ": "))
    }

    /// The words for somebody who did this to a thing, or for the thing alone if nobody is named.
    fn done(&self, verb: &str, thing: &str) -> String {
        match self.user {
            "" => format!("{thing} {verb}"),
            user => format!("{user} {verb} {thing}"),
        }
    }

    fn push(&self) -> Event {
        let (body, user) = (self.body, self.user);
        let branch = body.text("/ref").trim_start_matches("refs/heads/").replace("refs/tags/", "tag ");
        let after = body.text("/after");
        let is_gone = !after.is_empty() && after.bytes().all(|byte| byte == b'0');
        let what = match body.text("/total_commits_count").as_str() {
            _ if is_gone => format!("{user} deleted {branch}"),
            "" | "0" => format!("{user} pushed {branch}"),
            "1" => format!("{user} pushed 1 commit to {branch}"),
            many => format!("{user} pushed {many} commits to {branch}"),
        };
        let commits = body.list("/commits");
        let messages: Vec<String> = commits.iter().take(10).map(|commit| commit.text("/message")).collect();
        let lines: Vec<&str> = messages.iter().map(|message| first_line(message)).collect();
        let newest = commits.last().map(|commit| commit.text("/url")).unwrap_or_default();
        let url = if newest.is_empty() { body.text("/project/web_url") } else { newest };
        self.line(&[&what]).text(lines.join("\n")).link("", url)
    }

    fn issue(&self) -> Event {
        let sign = if self.kind == "merge_request" { "!" } else { "#" };
        let number = format!("{sign}{}", self.get("iid"));
        let done =
            self.done(&verb(&self.get("action")), &format!("{} {number}", self.kind.replace('_', " ")));
        let is_new = self.get("action") == "open";
        let text = if is_new { self.get("description") } else { String::new() };
        let line = self.line(&[&done, &self.get("title")]).key(format!("{}{number}", self.project));
        line.text(text).link("", self.get("url"))
    }

    fn note(&self) -> Event {
        let body = self.body;
        let (issue, request) = (body.text("/issue/iid"), body.text("/merge_request/iid"));
        let (on, key) = match (issue.as_str(), request.as_str()) {
            ("", "") if body.pointer("/commit").is_some() => {
                let sha = body.text("/commit/id");
                (format!("commit {}", sha.get(..8).unwrap_or(&sha)), None)
            }
            ("", "") => (self.get("noteable_type").to_ascii_lowercase(), None),
            (number, "") => (format!("#{number}"), Some(format!("{}#{number}", self.project))),
            (_, number) => (format!("!{number}"), Some(format!("{}!{number}", self.project))),
        };
        let titles = ["/merge_request/title", "/issue/title", "/snippet/title", "/commit/message"];
        let verb = if self.get("action") == "update" { "changed a comment on" } else { "commented on" };
        let line = self.line(&[&self.done(verb, &on), &body.first(&titles)]);
        line.key(key.unwrap_or_default()).text(self.get("note")).link("", self.get("url"))
    }

    /// A pipeline, with the jobs that failed.
    fn pipeline(&self) -> Event {
        let (id, of, status) = (self.get("id"), self.get("ref"), self.get("status"));
        let failed = self.body.list("/builds").iter().filter(|job| job.text("/status") == "failed");
        let failed = failed.map(|job| {
            let may_fail = if job.is("/allow_failure") { ", which may fail" } else { "" };
            format!("{} failed in {}{may_fail}", job.text("/name"), job.text("/stage"))
        });
        let commit =
            joined(&[&self.body.text("/commit/title"), &self.body.text("/commit/author/name")], ", by ");
        let lines: Vec<String> = failed.take(20).chain([commit]).filter(|line| !line.is_empty()).collect();
        let url = self.get("url");
        let url = if url.is_empty() { self.below(&format!("pipelines/{id}")) } else { url };
        stated(self.line(&[&format!("pipeline #{id} on {of}"), &status]), &status)
            .key(format!("pipeline/{}/{of}", self.project))
            .text(lines.join("\n"))
            .link("", url)
    }

    fn job(&self) -> Event {
        let get = |name: &str| self.body.text(&format!("/{name}"));
        let (name, status, of) = (get("build_name"), get("build_status"), get("ref"));
        let why = match status.as_str() {
            "failed" => get("build_failure_reason").replace('_', " "),
            _ => String::new(),
        };
        let text = joined(&[&why, first_line(&self.body.text("/commit/message"))], "\n");
        stated(self.line(&[&format!("job {name} on {of}"), &status]), &status)
            .key(format!("job/{}/{of}/{name}", self.project))
            .text(text)
            .link("", self.below(&format!("jobs/{}", get("build_id"))))
    }

    fn vulnerability(&self) -> Event {
        let (state, url) = (self.get("state"), self.get("url"));
        let bad = severity_named(&self.get("severity")).unwrap_or(Severity::Warning);
        let event = self.line(&[&format!("vulnerability {state}"), &self.get("title")]);
        let event = match state.as_str() {
            "resolved" | "dismissed" => event.status(Status::Resolved, bad),
            _ => event.status(Status::Failed, bad),
        };
        let file = self.body.text("/object_attributes/location/file");
        event.key(url.clone()).link("", url).field("severity", self.get("severity")).field("file", file)
    }

    /// Members, groups and projects that come and go.
    fn of_group(&self, kind: &str) -> Option<Event> {
        let get = |name: &str| self.body.text(&format!("/{name}"));
        let (name, access) = (self.body.first(&["/user_name", "/user_username"]), get("group_access"));
        let what = match kind {
            "user_add_to_group" => format!("{name} was added to the group as {access}"),
            "user_update_for_group" => format!("{name} is now {access} in the group"),
            "user_remove_from_group" => format!("{name} was removed from the group"),
            "user_access_request_to_group" => format!("{name} asks to be let into the group"),
            "subgroup_create" => format!("group {} created", get("full_path")),
            "subgroup_destroy" => format!("group {} deleted", get("full_path")),
            "project_create" => format!("project {} created", get("path_with_namespace")),
            "project_destroy" => format!("project {} deleted", get("path_with_namespace")),
            _ => return None,
        };
        Some(self.line(&[&what]))
    }

    /// Any other event, in the words that all of them have.
    fn other(&self) -> Event {
        let body = self.body;
        let action = body.first(&["/object_attributes/action", "/action"]);
        let name = body.first(&["/object_attributes/title", "/object_attributes/name", "/tag", "/name"]);
        let verb = match self.body.pointer("/object_attributes/active").and_then(Value::as_bool) {
            Some(true) => "switched on".into(),
            Some(false) => "switched off".into(),
            None => verb(&action),
        };
        let kind = self.kind.replace('_', " ");
        let on = body.first(&["/issue/title", "/merge_request/title", "/commit/title"]);
        let (thing, on) = match self.kind {
            "emoji" => (name, on),
            _ => (format!("{kind} {name}"), String::new()),
        };
        let text =
            body.first(&["/object_attributes/description", "/object_attributes/message", "/description"]);
        let urls =
            ["/object_attributes/url", "/object_attributes/awarded_on_url", "/url", "/project/web_url"];
        let url = match self.kind {
            "milestone" => self.below(&format!("milestones/{}", self.get("iid"))),
            _ => body.first(&urls),
        };
        self.line(&[&self.done(&verb, &thing), &on]).text(text).link("", url)
    }

    /// An address below the project's.
    fn below(&self, path: &str) -> String {
        match self.body.first(&["/project/web_url", "/repository/homepage"]).as_str() {
            "" => String::new(),
            project => format!("{project}/-/{path}"),
        }
    }
}

fn verb(action: &str) -> String {
    match action {
        "" => "told of".into(),
        "open" | "reopen" => format!("{action}ed"),
        "approval" | "unapproval" | "approved" | "unapproved" => action.replace("val", "ved"),
        "award" => "reacted with".into(),
        "revoke" => "took back".into(),
        "close" | "merge" | "update" | "approve" | "unapprove" | "create" | "delete" => format!("{action}d"),
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
                "A told of feature flag x",
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
