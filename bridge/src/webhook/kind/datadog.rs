//! Datadog, whose payload is a template of the one who sets it up: [`TEMPLATE`], with an `Authorization: Bearer` among the custom
//! headers. Datadog's own default is read as well, without a state.

use tellhal::message::{Severity, Status};

use super::{Event, Kind, Proof, Read, Refusal, Request};
use crate::webhook::event::{Reach as _, id_of, severity_named};

pub(super) const KIND: Kind = Kind {
    name: "datadog",
    tag: "datadog.{event}",
    parts: &["event", "transition", "priority"],
    proofs: &[Proof::Token],
    read: Read::Own(read),
};

/// The payload to enter at Datadog.
#[cfg(test)]
const TEMPLATE: &str = r#"{"id":"$ID","title":"$EVENT_TITLE","body":"$TEXT_ONLY_MSG","event_type":"$EVENT_TYPE","transition":"$ALERT_TRANSITION","alert_type":"$ALERT_TYPE","priority":"$ALERT_PRIORITY","key":"$ALERT_CYCLE_KEY","metric":"$ALERT_METRIC","scope":"$ALERT_SCOPE","link":"$LINK"}"#;

fn read(request: &Request<'_>) -> Result<Vec<Event>, Refusal> {
    let body = request.json()?;
    let title = body.text("/title");
    if title.is_empty() {
        return Err(Refusal::malformed("there is no \"title\""));
    }
    let (id, transition) = (body.text("/id"), body.text("/transition"));
    let bad = match body.text("/alert_type").as_str() {
        "warning" => Severity::Warning,
        _ => severity_named(&body.text("/priority")).unwrap_or(Severity::Error),
    };
    let event = Event::new(title).text(body.text("/body"));
    let event = match transition.as_str() {
        "Triggered" | "Re-Triggered" | "No Data" | "Re-No Data" => event.status(Status::Failed, bad),
        "Warn" | "Re-Warn" => event.status(Status::Failed, Severity::Warning),
        "Recovered" => event.status(Status::Resolved, bad),
        _ => event.severity(severity_named(&body.text("/alert_type")).unwrap_or_default()),
    };
    let event = event
        .id(if transition.is_empty() { id } else { id_of(&[&id, &transition]) })
        .key(body.text("/key"))
        .link("", body.text("/link"))
        .field("metric", body.text("/metric"))
        .field("scope", body.text("/scope"));
    let event = event.part("event", body.text("/event_type")).part("transition", transition);
    Ok(vec![event.part("priority", body.text("/priority"))])
}

#[cfg(test)]
mod tests {
    use super::super::testing::posted;
    use super::*;

    #[test]
    fn our_template_gives_pairs() {
        let told = |transition: &str| {
            let body = TEMPLATE
                .replace("$ALERT_TRANSITION", transition)
                .replace("$ALERT_PRIORITY", "P2")
                .replace("$ID", "77");
            posted(&KIND, &[], &body).unwrap().remove(0)
        };
        let (begun, over) = (told("Triggered"), told("Recovered"));
        assert_eq!(
            (begun.status, begun.severity, begun.id.as_deref()),
            (Some(Status::Failed), Severity::Error, Some("77/Triggered"))
        );
        assert_eq!((over.status, over.key), (Some(Status::Resolved), begun.key));
        let default = r#"{"body":"b","last_updated":1,"event_type":"e","title":"t","date":1,"org":{"id":1,"name":"o"},"id":"5"}"#;
        assert_eq!(posted(&KIND, &[], default).unwrap()[0].status, None);
        assert!(posted(&KIND, &[], "{}").is_err());
    }
}
