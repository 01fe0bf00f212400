//! GitHub. Every event gives one readable line; those that people wait for have a state and a key as well.

use serde_json::Value;
use tellhal::message::{Severity, Status};

use super::{Event, Kind, Proof, Read, Refusal, Request};
use crate::webhook::event::{Reach as _, first_line, joined, severity_named, shortened};

pub(super) const KIND: Kind = Kind {
    name: "github",
    tag: "github.{event}",
    parts: PARTS,
    proofs: &[Proof::Hmac { header: "x-hub-signature-256", prefix: "sha256=" }],
    read: Read::Own(|request| {
        events(request, request.header("x-github-event"), request.header("x-github-delivery"))
    }),
};

pub(super) const PARTS: &[&str] = &["event", "action", "repository", "owner", "sender"];
/// The most commits that are listed.
const COMMITS: usize = 10;

/// The one event `name` of a request in GitHub's format.
pub(super) fn events(request: &Request<'_>, name: &str, delivery: &str) -> Result<Vec<Event>, Refusal> {
    let body = request.json()?;
    if name.is_empty() || !body.is_object() {
        return Err(Refusal::malformed("there is no event's name or no object"));
    }
    let payload = Payload { name, body: &body };
    let action = body.text("/action");
    let event = payload
        .event()
        .id(delivery)
        .part("event", name)
        .part("action", action)
        .part("repository", body.text("/repository/name"))
        .part("owner", body.first(&["/repository/owner/login", "/organization/login"]))
        .part("sender", body.first(&["/sender/login", "/sender/username"]));
    let event = event.field("repository", body.text("/repository/full_name"));
    Ok(vec![event.field("sender", body.first(&["/sender/login", "/sender/username"]))])
}

struct Payload<'a> {
    name: &'a str,
    body: &'a Value,
}

impl Payload<'_> {
    fn event(&self) -> Event {
        match self.name {
            "ping" => self.line("webhook works", &self.body.text("/zen")),
            "push" => self.push(),
            "pull_request" | "pull_request_target" => self.issue("/pull_request", "pull request"),
            "issues" => self.issue("/issue", "issue"),
            "issue_comment" => self.comment("/issue"),
            "pull_request_review_comment" | "pull_request_comment" => self.comment("/pull_request"),
            "pull_request_review" => self.review(),
            "release" => self.subject("/release", &self.body.first(&["/release/tag_name", "/release/name"])),
            "workflow_run" | "workflow_job" | "check_run" | "check_suite" => self.build(),
            "status" => self.commit_status(),
            "deployment_status" => self.deployment_status(),
            "dependabot_alert"
            | "code_scanning_alert"
            | "secret_scanning_alert"
            | "repository_vulnerability_alert" => self.alert(),
            _ => self.other(),
        }
    }

    fn repository(&self) -> String {
        self.body.first(&[
            "/repository/full_name",
            "/organization/login",
            "/enterprise/slug",
            "/installation/account/login",
        ])
    }

    fn sender(&self) -> String {
        let sender = self.body.first(&["/sender/login", "/sender/username", "/pusher/name"]);
        if sender.is_empty() { "somebody".into() } else { sender }
    }

    fn line(&self, what: &str, rest: &str) -> Event {
        let repository = self.repository();

        Event::new(joined(&[&repository, what.trim_end(), first_line(rest)], ": "))
    }

    /// `SENDER ACTION KIND NAME`, such as "octocat published release v1".
    fn done(&self, thing: &str, rest: &str) -> Event {
        let action = self.body.text("/action").replace("synchronize", "updated").replace('_', " ");
        let action = if action.is_empty() { "told of".into() } else { action };
        self.line(&joined(&[&self.sender(), &action, thing], " "), rest)
    }

    fn subject(&self, at: &str, name: &str) -> Event {
        let thing = joined(&[&self.name.replace('_', " "), first_line(name)], " ");
        self.done(&thing, "").link("", self.address(at))
    }

    fn address(&self, at: &str) -> String {
        self.body.first(&[&format!("{at}/html_url"), "/repository/html_url"])
    }

    fn push(&self) -> Event {
        let body = self.body;
        let reference = body.text("/ref");
        let branch = reference.trim_start_matches("refs/heads/").replace("refs/tags/", "tag ");
        let commits = body.list("/commits");
        let verb = if body.is("/forced") { "force-pushed" } else { "pushed" };
        let what = match commits.len() {
            _ if body.is("/deleted") => format!("{} deleted {branch}", self.sender()),
            0 if body.is("/created") => format!("{} created {branch}", self.sender()),
            1 => format!("{} {verb} 1 commit to {branch}", self.sender()),
            many => format!("{} {verb} {many} commits to {branch}", self.sender()),
        };
        let newest = body.text("/head_commit/message");
        let mut lines: Vec<String> = commits.iter().take(COMMITS).map(commit).collect();
        if commits.len() > COMMITS {
            lines.push(format!("… and {} more", commits.len() - COMMITS));
        }
        let lines = if commits.len() > 1 { lines.join("\n") } else { String::new() };
        self.line(&what, &newest).text(lines).link("changes", body.first(&["/compare", "/compare_url"]))
    }

    fn numbered(&self, at: &str) -> (String, String) {
        let number = self.body.first(&[&format!("{at}/number"), "/number"]);
        (format!("{}#{number}", self.repository()), number)
    }

    fn issue(&self, at: &str, kind: &str) -> Event {
        let (key, number) = self.numbered(at);
        let title = self.body.text(&format!("{at}/title"));
        let event = match self.changed(at, &format!("{kind} #{number}")) {
            Some(what) => self.line(&format!("{} {what}", self.sender()), &title),
            None => self.done(&format!("{kind} #{number}"), &title),
        };
        event.key(key).link("", self.address(at))
    }

    /// The words for an action whose name is no verb, or that is about one more thing.
    fn changed(&self, at: &str, thing: &str) -> Option<String> {
        let label = self.body.text("/label/name");
        let assignee = self.body.text("/assignee/login");
        let reviewer = self.body.first(&["/requested_reviewer/login", "/requested_team/name"]);
        Some(match self.body.text("/action").as_str() {
            "closed" if self.body.is(&format!("{at}/merged")) => format!("merged {thing}"),
            "review_requested" if !reviewer.is_empty() => format!("asked {reviewer} to review {thing}"),
            "review_request_removed" => format!("withdrew a request to review {thing}"),
            "ready_for_review" => format!("marked {thing} as ready for review"),
            "converted_to_draft" => format!("made {thing} a draft"),
            "auto_merge_enabled" => format!("lets {thing} be merged when it is ready"),
            "auto_merge_disabled" => format!("does not let {thing} be merged by itself any more"),
            "labeled" if !label.is_empty() => format!("labeled {thing} {label}"),
            "unlabeled" if !label.is_empty() => format!("took the label {label} from {thing}"),
            "assigned" if !assignee.is_empty() => format!("assigned {assignee} to {thing}"),
            "unassigned" if !assignee.is_empty() => format!("took {assignee} off {thing}"),
            "milestoned" => format!("put {thing} into a milestone"),
            "demilestoned" => format!("took {thing} out of its milestone"),
            _ => return None,
        })
    }

    fn comment(&self, at: &str) -> Event {
        let (key, number) = self.numbered(at);
        let verb = match self.body.text("/action").as_str() {
            "created" | "" => "commented on".to_owned(),
            action => format!("{action} a comment on"),
        };
        let title = self.body.text(&format!("{at}/title"));
        let event = self.line(&format!("{} {verb} #{number}", self.sender()), &title);
        event.key(key).text(self.body.text("/comment/body")).link("", self.address("/comment"))
    }

    fn review(&self) -> Event {
        let (key, number) = self.numbered("/pull_request");
        let verb = match self.body.text("/review/state").to_ascii_lowercase().as_str() {
            "approved" => "approved",
            "changes_requested" => "asked for changes in",
            _ if self.body.text("/action") == "dismissed" => "dismissed a review of",
            _ => "reviewed",
        };
        let event = self.line(
            &format!("{} {verb} pull request #{number}", self.sender()),
            &self.body.text("/pull_request/title"),
        );
        event.key(key).text(self.body.text("/review/body")).link("", self.address("/review"))
    }

    /// Runs of workflows and checks, which begin and end.
    fn build(&self) -> Event {
        let at = format!("/{}", self.name);
        let get = |name: &str| self.body.text(&format!("{at}/{name}"));
        let name = self.body.first(&[&format!("{at}/name"), &format!("{at}/app/name")]);
        let branch =
            self.body.first(&[&format!("{at}/head_branch"), &format!("{at}/check_suite/head_branch")]);
        let number =
            if get("run_number").is_empty() { String::new() } else { format!("#{}", get("run_number")) };
        let thing = joined(&[&self.name.replace('_', " "), &name, &number], " ");
        let on = if branch.is_empty() { String::new() } else { format!(" on {branch}") };
        let (conclusion, state) = (get("conclusion"), get("status"));
        let outcome = if conclusion.is_empty() { state } else { conclusion };
        let outcome = if outcome.is_empty() { self.body.text("/action") } else { outcome };
        let event = self.line(&format!("{thing}{on}"), &outcome.replace('_', " "));
        let event =
            concluded(event, &outcome).key(joined(&[self.name, &self.repository(), &name, &branch], "/"));
        event.text(get("output/title")).link("", self.address(&at))
    }

    fn commit_status(&self) -> Event {
        let body = self.body;
        let (context, state, sha) = (body.text("/context"), body.text("/state"), body.text("/sha"));
        let event = self.line(&joined(&[&context, "for", short(&sha)], " "), &state);
        let event = concluded(event, &state).text(body.text("/description"));
        event
            .key(joined(&["status", &self.repository(), &context, &sha], "/"))
            .link("", body.first(&["/target_url", "/commit/html_url"]))
    }

    fn deployment_status(&self) -> Event {
        let get = |name: &str| {
            self.body.first(&[&format!("/deployment_status/{name}"), &format!("/deployment/{name}")])
        };
        let (environment, state) = (get("environment"), get("state"));
        let event = self.line(&format!("deployment to {environment}"), &state.replace('_', " "));
        let event = concluded(event, &state).text(get("description"));
        event
            .key(joined(&["deployment", &self.repository(), &environment], "/"))
            .link("", self.body.first(&["/deployment_status/target_url", "/repository/html_url"]))
    }

    fn alert(&self) -> Event {
        let get = |name: &str| self.body.text(&format!("/alert/{name}"));
        let named = self.body.first(&[
            "/alert/security_advisory/summary",
            "/alert/rule/description",
            "/alert/secret_type_display_name",
            "/alert/secret_type",
            "/alert/affected_package_name",
        ]);
        let severity = self.body.first(&[
            "/alert/security_advisory/severity",
            "/alert/rule/security_severity_level",
            "/alert/rule/severity",
            "/alert/severity",
        ]);
        let number = get("number");
        let thing = joined(
            &[
                &self.name.replace('_', " "),
                &if number.is_empty() { number.clone() } else { format!("#{number}") },
            ],
            " ",
        );
        let event = self.done(&thing, &named);
        let bad = severity_named(&severity).unwrap_or(Severity::Warning);
        let event = match self.body.text("/action").as_str() {
            "created" | "create" | "reopened" | "reopened_by_user" | "reintroduced"
            | "appeared_in_branch" | "auto_reopened" => event.status(Status::Failed, bad),
            "fixed" | "dismissed" | "dismiss" | "auto_dismissed" | "closed_by_user" | "resolved"
            | "resolve" | "revoked" => event.status(Status::Resolved, bad),
            _ => event,
        };
        event.key(joined(&[self.name, &self.repository(), &number], "/")).link("", self.address("/alert"))
    }

    /// Any other event: the object of its name, or the first that is not known otherwise, is its subject.
    fn other(&self) -> Event {
        if let Some(what) = self.plain_words() {
            return self.line(&format!("{} {what}", self.sender()), "").link("", self.address("/forkee"));
        }
        let at = format!("/{}", self.name);
        let members = self.body.as_object().into_iter().flatten();
        let known = ["repository", "organization", "sender", "installation", "enterprise"];
        let about = members.filter(|(name, value)| value.is_object() && !known.contains(&name.as_str()));
        let subject = self.body.pointer(&at).filter(|value| value.is_object());
        let subject = subject.or_else(|| about.map(|(_, value)| value).next()).unwrap_or(&Value::Null);
        let name = subject.first(&[
            "/title",
            "/name",
            "/full_name",
            "/login",
            "/slug",
            "/tag_name",
            "/number",
            "/description",
        ]);
        let name =
            if name.is_empty() { self.body.first(&["/ref", "/rule/name", "/hook/name"]) } else { name };
        let thing = joined(&[&self.name.replace('_', " "), &shortened(first_line(&name))], " ");
        let address = subject.first(&["/html_url"]);
        let event = self.done(&thing, "").text(subject.text("/body"));
        event.link("", if address.is_empty() { self.address(&at) } else { address })
    }

    /// Events without an action, which their name alone says.
    fn plain_words(&self) -> Option<String> {
        let reference = || joined(&[&self.body.text("/ref_type"), &self.body.text("/ref")], " ");
        Some(match self.name {
            "create" => format!("created {}", reference()),
            "delete" => format!("deleted {}", reference()),
            "fork" => "forked the repository".to_owned(),
            "gollum" => "changed the wiki".to_owned(),
            "public" => "made the repository public".to_owned(),
            "page_build" => "built the pages".to_owned(),
            "repository_import" => "imported the repository".to_owned(),
            _ => return None,
        })
    }
}

/// The state that an outcome stands for. Cancelled, skipped and neutral ones are neither good nor bad.
fn concluded(event: Event, outcome: &str) -> Event {
    match outcome {
        "success" => event.status(Status::Succeeded, Severity::Info),
        "failure" | "error" | "timed_out" | "startup_failure" => {
            event.status(Status::Failed, Severity::Error)
        }
        "action_required" => event.severity(Severity::Warning),
        "queued" | "requested" | "in_progress" | "pending" | "waiting" => {
            event.status(Status::Started, Severity::Info)
        }
        _ => event,
    }
}

fn commit(commit: &Value) -> String {
    let author = commit.first(&["/author/username", "/author/name"]);
    let sha = commit.text("/id");
    joined(&[short(&sha), &format!("{author}:"), first_line(&commit.text("/message"))], " ")
}

/// A commit's id as people write it.
fn short(sha: &str) -> &str {
    sha.get(..7).unwrap_or(sha)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::posted;
    use super::*;

    fn event(name: &'static str, body: &Value) -> Event {
        posted(&KIND, &[("x-github-event", name), ("x-github-delivery", "d1")], &body.to_string())
            .unwrap()
            .remove(0)
    }

    #[test]
    fn builds_begin_and_end_under_one_key() {
        let run = |action: &str, conclusion: Option<&str>| {
            let run = json!({"name": "CI", "head_branch": "main", "run_number": 7, "conclusion": conclusion,
                "status": if conclusion.is_some() { "completed" } else { "queued" }, "html_url": "https://github.com/o/r/actions/runs/1"});
            event(
                "workflow_run",
                &json!({"action": action, "workflow_run": run, "repository": {"full_name": "o/r", "name": "r"}}),
            )
        };
        let (begun, bad, good) =
            (run("requested", None), run("completed", Some("failure")), run("completed", Some("success")));
        assert_eq!(bad.title, "o/r: workflow run CI #7 on main: failure");
        assert_eq!((bad.status, bad.severity), (Some(Status::Failed), Severity::Error));
        assert_eq!((begun.status, good.status), (Some(Status::Started), Some(Status::Succeeded)));
        assert_eq!([begun.key, good.key], [bad.key.clone(), bad.key]);
        assert_eq!(
            (bad.id.as_deref(), bad.links.len(), bad.parts["repository"].as_str()),
            (Some("d1"), 1, "r")
        );
        assert_eq!(run("completed", Some("cancelled")).status, None);
    }

    #[test]
    fn what_was_done_to_a_pull_request_is_one_sentence() {
        let title = |action: &str, more: Value| {
            let mut body = json!({"action": action, "number": 7, "sender": {"login": "amy"}, "repository": {"full_name": "o/r"},
                "pull_request": {"number": 7, "title": "Faster", "merged": action == "closed", "html_url": "https://github.com/o/r/pull/7"}});
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            event("pull_request", &body).title
        };
        for (action, more, what) in [
            ("opened", json!({}), "opened pull request #7"),
            ("closed", json!({}), "merged pull request #7"),
            (
                "review_requested",
                json!({"requested_reviewer": {"login": "ben"}}),
                "asked ben to review pull request #7",
            ),
            (
                "review_requested",
                json!({"requested_team": {"name": "Web"}}),
                "asked Web to review pull request #7",
            ),
            ("labeled", json!({"label": {"name": "bug"}}), "labeled pull request #7 bug"),
            ("unassigned", json!({"assignee": {"login": "ben"}}), "took ben off pull request #7"),
            ("ready_for_review", json!({}), "marked pull request #7 as ready for review"),
            ("enqueued", json!({}), "enqueued pull request #7"),
        ] {
            assert_eq!(title(action, more), format!("o/r: amy {what}: Faster"), "{action}");
        }
    }

    #[test]
    fn a_push_lists_its_commits() {
        let commits: Vec<Value> = (0..12).map(|i| json!({"id": "abcdef1234", "author": {"username": "amy"}, "message": format!("Fix {i}\n\nmore")})).collect();
        let body = json!({"ref": "refs/heads/main", "forced": true, "commits": commits, "head_commit": {"message": "Fix 11\n\nmore"},
            "compare": "https://github.com/o/r/compare/a...b", "pusher": {"name": "amy"}, "repository": {"full_name": "o/r"}});
        let push = event("push", &body);
        assert_eq!(push.title, "o/r: amy force-pushed 12 commits to main: Fix 11");
        assert!(
            push.text.starts_with("abcdef1 amy: Fix 0\n") && push.text.ends_with("\n… and 2 more"),
            "{}",
            push.text
        );
    }

    #[test]
    fn alerts_end_with_the_key_they_began_with() {
        let alert = |action: &str| {
            let alert = json!({"number": 3, "security_advisory": {"summary": "Bad parser", "severity": "high"}, "html_url": "https://g.example/3"});
            event(
                "dependabot_alert",
                &json!({"action": action, "alert": alert, "repository": {"full_name": "o/r"}, "sender": {"login": "github"}}),
            )
        };
        let (begun, over) = (alert("created"), alert("fixed"));
        assert_eq!(begun.title, "o/r: github created dependabot alert #3: Bad parser");
        assert_eq!((begun.status, begun.severity), (Some(Status::Failed), Severity::Critical));
        assert_eq!((over.status, over.key), (Some(Status::Resolved), begun.key));
    }

    #[test]
    fn what_is_not_understood_is_refused_or_told_in_a_line() {
        assert!(matches!(posted(&KIND, &[("x-github-event", "push")], "[]"), Err(Refusal::Malformed(_))));
        assert!(matches!(posted(&KIND, &[], "{}"), Err(Refusal::Malformed(_))));
        assert_eq!(event("new_thing", &json!({})).title, "somebody told of new thing");
        assert_eq!(event("push", &json!({"commits": 7})).title, "somebody pushed 0 commits to");
    }
}
