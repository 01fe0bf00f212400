//! CloudEvents 1.0 over HTTP: binary, structured and batched. An event is the same if source and id are.

use serde_json::{Map, Value};

use super::{Event, Kind, Proof, Read, Refusal, Request};
use crate::webhook::event::{Reach as _, joined, severity_named};

pub(super) const KIND: Kind = Kind {
    name: "cloudevents",
    tag: "cloudevents.{type}",
    parts: &["type", "source", "subject"],
    proofs: &[Proof::Token],
    read: Read::Own(read),
};

fn read(request: &Request<'_>) -> Result<Vec<Event>, Refusal> {
    if !request.header("ce-id").is_empty() {
        return Ok(vec![event(&binary(request))?]);
    }
    match request.json()? {
        Value::Array(batch) => batch.iter().map(event).collect(),
        structured => Ok(vec![event(&structured)?]),
    }
}

/// The structured form of an event whose attributes are headers.
fn binary(request: &Request<'_>) -> Value {
    let mut object = Map::new();
    for name in request.headers.keys() {
        if let Some(attribute) = name.as_str().strip_prefix("ce-") {
            object.insert(attribute.to_owned(), request.header(name.as_str()).into());
        }
    }
    let text = || String::from_utf8_lossy(request.body).into_owned().into();
    object.insert("data".into(), serde_json::from_slice(request.body).unwrap_or_else(|_| text()));
    object.into()
}

fn event(event: &Value) -> Result<Event, Refusal> {
    let get = |name: &str| event.text(&format!("/{name}"));
    let (id, source, kind, subject) = (get("id"), get("source"), get("type"), get("subject"));
    if [&id, &source, &kind].iter().any(|one| one.is_empty()) {
        return Err(Refusal::malformed("an event has no \"id\", \"source\" or \"type\""));
    }
    let says = event.first(&["/data/title", "/data/summary", "/data/message", "/data/msg", "/data"]);
    let told = Event::new(joined(&[&kind, &subject, &says], ": "));
    let told = match event.pointer("/data") {
        Some(data @ (Value::Object(_) | Value::Array(_))) => told.text(data.to_string()),
        _ => told,
    };
    Ok(told
        .id(format!("{source}\n{id}"))
        .severity(
            severity_named(&event.first(&["/severitytext", "/severity", "/data/severity"]))
                .unwrap_or_default(),
        )
        .field("time", get("time"))
        .field("source", source.clone())
        .link("", event.first(&["/data/url", "/data/link"]))
        .part("type", kind)
        .part("source", source)
        .part("subject", subject))
}

#[cfg(test)]
mod tests {
    use super::super::testing::posted;
    use super::*;

    #[test]
    fn all_three_modes_are_read() {
        let one = r#"{"specversion":"1.0","id":"1","source":"/shop","type":"com.example.order","subject":"o-7","data":{"title":"paid"}}"#;
        let structured = posted(&KIND, &[("content-type", "application/cloudevents+json")], one).unwrap();
        assert_eq!(structured[0].title, "com.example.order: o-7: paid");
        let batch = posted(
            &KIND,
            &[("content-type", "application/cloudevents-batch+json")],
            &format!("[{one},{one}]"),
        )
        .unwrap();
        assert_eq!(batch, [structured.clone(), structured.clone()].concat());
        let headers = [
            ("ce-id", "1"),
            ("ce-source", "/shop"),
            ("ce-type", "com.example.order"),
            ("ce-subject", "o-7"),
            ("ce-specversion", "1.0"),
        ];
        assert_eq!(posted(&KIND, &headers, r#"{"title":"paid"}"#).unwrap(), structured);
        assert_eq!(posted(&KIND, &headers, "plain").unwrap()[0].title, "com.example.order: o-7: plain");
        assert!(posted(&KIND, &[], "{}").is_err() && posted(&KIND, &[], &format!("[{one},7]")).is_err());
    }
}
