//! Gitea and Forgejo, whose events are GitHub's with some names of their own.

use super::{Event, Kind, Proof, Read, Refusal, Request, github};

pub(super) const GITEA: Kind = Kind {
    name: "gitea",
    tag: "gitea.{event}",
    parts: github::PARTS,
    proofs: &[Proof::Hmac { header: "x-gitea-signature", prefix: "" }],
    read: Read::Own(read),
};

pub(super) const FORGEJO: Kind = Kind {
    name: "forgejo",
    tag: "forgejo.{event}",
    proofs: &[
        Proof::Hmac { header: "x-forgejo-signature", prefix: "" },
        Proof::Hmac { header: "x-gitea-signature", prefix: "" },
    ],
    ..GITEA
};

fn read(request: &Request<'_>) -> Result<Vec<Event>, Refusal> {
    let header = |name: &str| {
        let forgejo = request.header(&format!("x-forgejo-{name}"));
        if forgejo.is_empty() { request.header(&format!("x-gitea-{name}")) } else { forgejo }
    };
    github::events(request, header("event"), header("delivery"))
}

#[cfg(test)]
mod tests {
    use super::super::testing::posted;
    use super::*;

    #[test]
    fn a_push_is_told_as_githubs() {
        let body = r#"{"ref":"refs/heads/develop","compare_url":"http://git.example/gitea/webhooks/compare/28e1879...bffeb74",
            "commits":[{"id":"bffeb74224043ba2feb48d137756c8a9331c449a","message":"Webhooks Yay!\n","author":{"name":"Gitea"}}],
            "repository":{"name":"webhooks","full_name":"gitea/webhooks"},"pusher":{"username":"gitea"},"sender":{"username":"gitea"}}"#;
        for (kind, event, delivery) in [
            (&GITEA, "x-gitea-event", "x-gitea-delivery"),
            (&FORGEJO, "x-forgejo-event", "x-forgejo-delivery"),
            (&FORGEJO, "x-gitea-event", "x-gitea-delivery"),
        ] {
            let told = posted(kind, &[(event, "push"), (delivery, "f6266f16")], body).unwrap().remove(0);
            assert_eq!(told.title, "gitea/webhooks: gitea pushed 1 commit to develop");
            assert_eq!((told.id.as_deref(), told.links.len()), (Some("f6266f16"), 1));
        }
    }
}
