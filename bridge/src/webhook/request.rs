//! A request as it came, and the reasons for which one is refused. Pure.

use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

/// A request to an intake.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
    /// The token in the address, if it has one.
    pub(crate) token: Option<&'a str>,
    /// The address without what is behind `?`.
    pub(crate) path: &'a str,
    /// The part of the address behind `?`.
    pub(crate) query: &'a str,
    /// Seconds since 1970.
    pub(crate) now: u64,
}

/// The reason why a request gives no messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It does not prove that it comes from the right sender.
    Unproven(&'static str),
    /// Its body is of a type that its kind never has.
    Type,
    /// It is for a thing that is not there.
    Unknown(&'static str),
    /// It cannot be proven now, since this cannot be had; its sender shall come again.
    Later(&'static str),
    /// Its body cannot be understood.
    Malformed(String),
}

impl Refusal {
    pub(crate) fn malformed(what: impl Into<String>) -> Refusal {
        Refusal::Malformed(what.into())
    }
}

impl<'a> Request<'a> {
    /// A header's value; empty if there is none.
    pub(crate) fn header(&self, name: &str) -> &'a str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The media type without its parameters, in lower case; empty if none is given.
    pub(crate) fn media(&self) -> String {
        let kind = self.header(CONTENT_TYPE.as_str()).split(';').next().unwrap_or_default();
        kind.trim().to_ascii_lowercase()
    }

    pub(crate) fn is_form(&self) -> bool {
        self.media() == "application/x-www-form-urlencoded"
    }

    /// The first value of a form's field.
    pub(crate) fn form(&self, field: &str) -> Option<String> {
        let pairs: Vec<(String, String)> = serde_urlencoded::from_bytes(self.body).ok()?;
        pairs.into_iter().find(|(name, _)| name == field).map(|(_, value)| value)
    }

    /// The body as JSON, or the JSON in the field `payload` of a form. A body without a type may be JSON; `text/plain` is what
    /// SNS says of its JSON.
    pub(crate) fn json(&self) -> Result<Value, Refusal> {
        let media = self.media();
        if self.is_form() {
            let payload = self.form("payload").ok_or(Refusal::Type)?;
            return parsed(payload.as_bytes());
        }
        let is_json = media.is_empty() || media == "text/plain" || media.ends_with("/json");
        if !is_json && !media.ends_with("+json") {
            return Err(Refusal::Type);
        }
        parsed(self.body)
    }

    /// The body as JSON, whatever its type says.
    pub(crate) fn untyped_json(&self) -> Result<Value, Refusal> {
        parsed(self.body)
    }

    /// The token that the request shows: in the address, as a bearer's, or as the password of basic authentication.
    pub(crate) fn shown_token(&self) -> Option<String> {
        if let Some(token) = self.token {
            return Some(token.to_owned());
        }
        let (scheme, value) = self.header(AUTHORIZATION.as_str()).split_once(' ')?;
        if scheme.eq_ignore_ascii_case("bearer") {
            return Some(value.trim().to_owned());
        }
        let decoded =
            BASE64_STANDARD.decode(value.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
        String::from_utf8(decoded).ok()?.split_once(':').map(|(_, password)| password.to_owned())
    }
}

/// JSON at most 128 levels deep, which is the parser's own bound. Its error names a place, never a value.
fn parsed(body: &[u8]) -> Result<Value, Refusal> {
    serde_json::from_slice(body).map_err(|error| {
        Refusal::Malformed(format!("the body is no JSON: line {}, column {}", error.line(), error.column()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_and_forms_of_it_are_read() {
        let json = |media: Option<&str>, body: &str| {
            let mut headers = HeaderMap::new();
            media.into_iter().for_each(|media| drop(headers.insert(CONTENT_TYPE, media.parse().unwrap())));
            Request { headers: &headers, body: body.as_bytes(), token: None, path: "", query: "", now: 0 }
                .json()
        };
        let form = Some("application/x-www-form-urlencoded");
        for (media, body) in [
            (None, "{}"),
            (Some("application/json; charset=utf-8"), "{}"),
            (Some("application/cloudevents+json"), "{}"),
            (Some("Text/Plain"), "{}"),
            (form, "payload=%7B%7D"),
        ] {
            assert!(json(media, body).unwrap().is_object(), "{media:?}");
        }
        let entities = r#"<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>"#;
        for (media, body) in [
            (Some("application/xml"), entities),
            (Some("text/xml"), entities),
            (Some("multipart/form-data; boundary=x"), "{}"),
            (form, "{}"),
        ] {
            assert_eq!(json(media, body), Err(Refusal::Type), "{media:?}");
        }
        let deep = "[".repeat(10_000);
        for body in ["", "{", entities, deep.as_str(), "\u{fffe}", "{} {}", "{\"secret\": hunter2}"] {
            let Err(Refusal::Malformed(why)) = json(None, body) else { panic!("{body}") };
            assert!(!why.contains("hunter2"), "{why}");
        }
    }

    #[test]
    fn a_token_is_in_the_address_or_in_the_authorization() {
        let shown = |token, value: &str| {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())]);
            Request { headers: &headers, body: b"", token, path: "", query: "", now: 0 }.shown_token()
        };
        assert_eq!(shown(Some("a"), "Bearer b").as_deref(), Some("a"));
        assert_eq!(shown(None, "bearer b").as_deref(), Some("b"));
        assert_eq!(shown(None, "Basic aGFsOmI=").as_deref(), Some("b"));
        for wrong in ["", "Bearer", "Basic !", "Basic aGFs", "Digest b"] {
            assert_eq!(shown(None, wrong), None, "{wrong}");
        }
    }
}
