//! Bugzilla's webhooks (its extension Webhooks, as at bugzilla.mozilla.org): new bugs, changes and comments.

use super::{Event, Kind, Proof, Read, Refusal, Request};
use crate::webhook::event::{Reach as _, id_of, joined};

pub(super) const KIND: Kind = Kind {
    name: "bugzilla",
    tag: "bugzilla.{target}.{action}",
    parts: &["target", "action", "product", "component"],
    proofs: &[Proof::Token],
    read: Read::Own(read),
};

fn read(request: &Request<'_>) -> Result<Vec<Event>, Refusal> {
    let body = request.json()?;
    let (action, target, bug) =
        (body.text("/event/action"), body.text("/event/target"), body.text("/bug/id"));
    if action.is_empty() || bug.is_empty() {
        return Err(Refusal::malformed("there is no \"event\" with an \"action\", or no \"bug\""));
    }
    let user = body.first(&["/event/user/real_name", "/event/user/login"]);
    let what = match (target.as_str(), action.as_str()) {
        ("bug", "create") => "filed".to_owned(),
        ("bug", "modify") => "changed".to_owned(),
        ("comment", _) => "commented on".to_owned(),
        (target, action) => format!("{action} {target} of"),
    };
    let change = body.first(&["/event/change_set", "/bug/comment/id"]);
    let who = if user.is_empty() { "somebody" } else { &user };
    let changes: Vec<String> = body
        .list("/event/changes")
        .iter()
        .take(20)
        .map(|change| {
            let (old, new) = (change.text("/removed"), change.text("/added"));
            let shown = |text: String| if text.is_empty() { "none".to_owned() } else { text };
            format!("{}: {} → {}", change.text("/field"), shown(old), shown(new))
        })
        .collect();
    let event = Event::new(joined(&[&format!("{who} {what} bug {bug}"), &body.text("/bug/summary")], ": "))
        .id(id_of(&[&bug, &body.text("/event/time"), &what, &format!("change {change}")]))
        .key(format!("bug {bug}"))
        .text(joined(&[&changes.join("\n"), &body.first(&["/bug/comment/body", "/comment/body"])], "\n"))
        .link("", body.first(&["/bug/url", "/bug/link"]))
        .field(
            "status",
            joined(
                &[&body.text("/bug/status/name"), &body.text("/bug/status"), &body.text("/bug/resolution")],
                " ",
            ),
        );
    Ok(vec![
        event
            .part("target", target)
            .part("action", action)
            .part("product", body.text("/bug/product"))
            .part("component", body.text("/bug/component")),
    ])
}

#[cfg(test)]
mod tests {
    use super::super::testing::posted;
    use super::*;

    #[test]
    fn a_bugs_changes_are_lines() {
        let body = r#"{"webhook_name":"hal","event":{"action":"modify","target":"bug","routing_key":"bug.modify:status","time":"2026-11-28T01:00:00",
            "user":{"login":"amy@example.com","real_name":"Amy"},"changes":[{"field":"status","removed":"NEW","added":"RESOLVED"}]},
            "bug":{"id":12,"summary":"It crashes","product":"Shop","component":"Cart","status":"RESOLVED","resolution":"FIXED"}}"#;
        let event = posted(&KIND, &[], body).unwrap().remove(0);
        assert_eq!(
            (event.title.as_str(), event.text.as_str()),
            ("Amy changed bug 12: It crashes", "status: NEW → RESOLVED")
        );
        assert_eq!(
            (event.fields["status"].as_str(), event.key.as_deref()),
            ("RESOLVED FIXED", Some("bug 12"))
        );
        assert!(posted(&KIND, &[], "{}").is_err());
    }
}
