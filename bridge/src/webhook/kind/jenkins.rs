//! Jenkins with its Notification plugin, as JSON. A build's phases STARTED and FINALIZED are told; COMPLETED comes just before the
//! latter and says the same.

use tellhal::message::{Severity, Status};

use super::{Event, Kind, Proof, Read, Refusal, Request};
use crate::webhook::event::{Reach as _, id_of, joined};

pub(super) const KIND: Kind = Kind {
    name: "jenkins",
    tag: "jenkins.{job}",
    parts: &["job", "phase", "status"],
    proofs: &[Proof::Token],
    read: Read::Own(read),
};

fn read(request: &Request<'_>) -> Result<Vec<Event>, Refusal> {
    let body = request.json()?;
    let (job, phase) = (body.first(&["/display_name", "/name"]), body.text("/build/phase"));
    if job.is_empty() || phase.is_empty() {
        return Err(Refusal::malformed("there is no \"name\" or no \"build\" with a \"phase\""));
    }
    let result = body.text("/build/status");
    let (status, bad) = match (phase.as_str(), result.as_str()) {
        ("STARTED", _) => (Some(Status::Started), Severity::Info),
        ("FINALIZED", "SUCCESS") => (Some(Status::Succeeded), Severity::Info),
        ("FINALIZED", "FAILURE") => (Some(Status::Failed), Severity::Error),
        ("FINALIZED", "UNSTABLE") => (Some(Status::Failed), Severity::Warning),
        ("FINALIZED", _) => (None, Severity::Info),
        _ => return Ok(Vec::new()),
    };
    let number = body.text("/build/number");
    let outcome =
        if phase == "STARTED" { "started".to_owned() } else { result.to_lowercase().replace('_', " ") };
    let url = body.first(&["/build/full_url", "/build/url", "/url"]);
    let branch = body.text("/build/scm/branch");
    let failed: Vec<String> = body
        .list("/build/test_summary/failed_tests")
        .iter()
        .take(10)
        .map(|test| test.first(&["", "/name"]))
        .collect();
    let event = Event::new(format!("{job} #{number}: {outcome}"));
    let event = match status {
        Some(status) => event.status(status, bad),
        None => event.severity(Severity::Notice),
    };
    let event = event
        .id(id_of(&[&url, &number, &phase]))
        .key(job.clone())
        .text(joined(&[&body.text("/build/notes"), &failed.join("\n")], "\n"))
        .link("", url)
        .field("branch", branch)
        .field("commit", body.text("/build/scm/commit"));
    Ok(vec![event.part("job", job).part("phase", phase.to_lowercase()).part("status", result.to_lowercase())])
}

#[cfg(test)]
mod tests {
    use super::super::testing::posted;
    use super::*;

    #[test]
    fn a_build_is_told_when_it_starts_and_once_when_it_ends() {
        let build = |phase: &str, status: &str| {
            let body = format!(
                r#"{{"name":"deploy","url":"job/deploy/","build":{{"full_url":"http://ci.example/job/deploy/5/","number":5,"phase":"{phase}"{status},
                "scm":{{"branch":"origin/main","commit":"abc"}},"test_summary":{{"failed":1,"failed_tests":["a.b.c"]}}}}}}"#
            );
            posted(&KIND, &[], &body).unwrap()
        };
        let (begun, over) =
            (build("STARTED", "").remove(0), build("FINALIZED", r#","status":"FAILURE""#).remove(0));
        assert_eq!((begun.title.as_str(), begun.status), ("deploy #5: started", Some(Status::Started)));
        assert_eq!((over.title.as_str(), over.status), ("deploy #5: failure", Some(Status::Failed)));
        assert_eq!((over.text.as_str(), over.key), ("a.b.c", begun.key));
        assert_ne!(over.id, begun.id);
        assert_eq!(build("COMPLETED", r#","status":"FAILURE""#), []);
        assert_eq!(build("FINALIZED", r#","status":"ABORTED""#)[0].status, None);
        assert!(posted(&KIND, &[], "{}").is_err());
    }
}
