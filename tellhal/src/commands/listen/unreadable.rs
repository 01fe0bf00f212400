//! Messages that the client cannot read. The server stores subjects and headers unchecked, and the client drops its
//! connection when it cannot parse them; requested by itself, such a message comes as JSON.

use async_nats::StatusCode;
use async_nats::header::HeaderName;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::Value;
use tellhal::Timestamp;

use super::api::{Api, Trouble, other};

/// A message of the stream, with its headers as bytes.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Stored {
    pub(super) subject: String,
    pub(super) seq: u64,
    pub(super) time: Timestamp,
    /// In base64, as `data` is.
    hdrs: String,
    data: String,
}

/// The question for one message, without its prefix. A listener's credentials may not allow it.
pub(super) fn question(stream: &str) -> String {
    format!("STREAM.MSG.GET.{stream}")
}

/// The message that `which` describes; `None` if there is none.
pub(super) async fn get(api: &Api, stream: &str, which: Value) -> Result<Option<Stored>, Trouble> {
    match api.ask(&question(stream), which).await {
        Ok(mut answer) => serde_json::from_value(answer["message"].take()).map(Some).map_err(other),
        Err(Trouble::NoMessage) => Ok(None),
        Err(trouble) => Err(trouble),
    }
}

impl Stored {
    pub(super) fn payload(&self) -> Vec<u8> {
        BASE64.decode(&self.data).unwrap_or_default()
    }

    /// True if the client can read it when it arrives from a consumer.
    pub(super) fn is_readable(&self) -> bool {
        // JSON shows bytes that are not UTF-8 as this character.
        let odd = |c: char| c == '\u{fffd}' || c.is_whitespace();
        !self.subject.contains(odd) && BASE64.decode(&self.hdrs).is_ok_and(|hdrs| are_readable(&hdrs))
    }
}

fn are_readable(headers: &[u8]) -> bool {
    if headers.is_empty() {
        return true;
    }
    let Ok(text) = std::str::from_utf8(headers) else { return false };
    let mut lines = text.lines();
    let Some(status) = lines.next().and_then(|version| version.strip_prefix("NATS/1.0")) else {
        return false;
    };
    let status = status.split_whitespace().next();
    let is_name = |name: &str| name.parse::<HeaderName>().is_ok();
    let continues = |line: &str| line.starts_with(char::is_whitespace);
    status.is_none_or(|status| status.parse::<StatusCode>().is_ok())
        && lines
            .filter(|line| !line.is_empty() && !continues(line))
            .all(|line| line.split_once(':').is_some_and(|(name, _)| is_name(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_judged_as_the_client_does() {
        let readable: [&[u8]; 4] = [
            b"",
            b"NATS/1.0\r\n\r\n",
            b"NATS/1.0 503\r\n\r\n",
            b"NATS/1.0 404 No Messages\r\nA: b\r\n more: c\r\nD:\r\n\r\n",
        ];
        let unreadable: [&[u8]; 7] = [
            b"\r\n",
            b"garbage!",
            b"HTTP/1.1\r\nX: y\r\n\r\n",
            b"NATS/1.0\r\nX: caf\xe9\r\n\r\n",
            b"NATS/1.0\r\nno colon\r\n\r\n",
            b"NATS/1.0\r\nX Y: z\r\n\r\n",
            b"NATS/1.0 odd\r\n\r\n",
        ];
        assert!(readable.iter().all(|headers| are_readable(headers)));
        for headers in unreadable {
            assert!(!are_readable(headers), "{:?}", String::from_utf8_lossy(headers));
        }
        let at = |subject: &str| Stored { subject: subject.into(), ..Stored::default() }.is_readable();
        assert!(at("hal.ops.a.b") && !at("hal.ops.a.caf\u{fffd}") && !at("hal.ops.a.no\u{a0}break"));
    }
}
