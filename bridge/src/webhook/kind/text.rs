//! Texts for curl and devices: `POST /in/{tag}`, with the title, severity and state in headers or behind `?`.

use serde_json::Value;
use tellhal::message::{Severity, Status};

use super::{Event, Kind, Proof, Read, Refusal, Request};
use crate::webhook::event::Reach as _;

pub(super) const KIND: Kind =
    Kind { name: "text", tag: "text", parts: &[], proofs: &[Proof::Token], read: Read::Text };

/// The event of a text, or of a JSON object with the same names.
pub(crate) fn read(request: &Request<'_>) -> Result<Vec<Event>, Refusal> {
    let is_json = request.media() == "application/json";
    let object = if is_json { request.json()? } else { Value::Null };
    if is_json && !object.is_object() {
        return Err(Refusal::malformed("the JSON is no object with a \"text\""));
    }
    if request.media().starts_with("multipart/") {
        return Err(Refusal::Type);
    }
    let query: Vec<(String, String)> = serde_urlencoded::from_str(request.query).unwrap_or_default();
    let get = |name: &str| -> String {
        let header = request
            .headers
            .get(format!("x-{name}"))
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let asked = query.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        header.or(asked).unwrap_or_else(|| object.text(&format!("/{name}")))
    };
    let text = match is_json {
        true => object.text("/text"),
        false => String::from_utf8_lossy(request.body).trim_end_matches(['\r', '\n', '\0']).to_owned(),
    };
    let title = get("title");
    if text.is_empty() && title.is_empty() {
        return Err(Refusal::malformed("there is neither a text nor a title"));
    }
    let mut event = Event::new(title).text(text).id(get("id")).key(get("key")).link("", get("link"));
    let status = Some(get("status")).filter(|status| !status.is_empty());
    event.status = status.map(|status| status.parse::<Status>()).transpose().map_err(Refusal::Malformed)?;
    if event.status == Some(Status::Failed) {
        event.severity = Severity::Error;
    }
    let severity = Some(get("severity")).filter(|severity| !severity.is_empty());
    if let Some(severity) = severity {
        event.severity = severity.parse().map_err(Refusal::Malformed)?;
    }
    Ok(vec![event])
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderName};

    use super::*;

    fn read_as(headers: &[(&'static str, &str)], query: &str, body: &str) -> Result<Event, Refusal> {
        let headers =
            headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        let headers: HeaderMap = headers.collect();
        let request =
            Request { headers: &headers, body: body.as_bytes(), token: None, path: "", query, now: 0 };
        read(&request).map(|mut events| events.remove(0))
    }

    #[test]
    fn a_text_is_what_curl_sends() {
        let form = ("content-type", "application/x-www-form-urlencoded");
        let event =
            read_as(&[form, ("x-title", "Front door")], "severity=warn&title=other", "open & shut=100%\n")
                .unwrap();
        assert_eq!(
            (event.title.as_str(), event.text.as_str(), event.severity),
            ("Front door", "open & shut=100%", Severity::Warning)
        );
        let json = ("content-type", "application/json");
        let event = read_as(&[json], "", r#"{"text":"down","status":"failed","key":"door"}"#).unwrap();
        assert_eq!(
            (event.severity, event.status, event.key.as_deref()),
            (Severity::Error, Some(Status::Failed), Some("door"))
        );
    }

    #[test]
    fn mistakes_are_refused() {
        let json = ("content-type", "application/json");
        for (headers, query, body) in [
            (&[][..], "", "\n"),
            (&[], "severity=loud", "x"),
            (&[], "status=odd", "x"),
            (&[json], "", "[]"),
            (&[json], "", "{"),
            (&[("content-type", "multipart/form-data; boundary=a")], "", "x"),
        ] {
            assert!(read_as(headers, query, body).is_err(), "{query} {body}");
        }
    }
}
