//! One message of a stream, from a consumer or requested by its sequence.

use anyhow::Context as _;
use async_nats::header::{HeaderName, HeaderValue, NATS_MESSAGE_ID};
use async_nats::jetstream::stream::{DirectGetErrorKind, Stream};
use async_nats::jetstream::{Context, Message};
use async_nats::{HeaderMap, Subject};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use service::stored::{self, Stored};
use tellhal::Timestamp;

/// One message of a stream.
#[derive(Clone, Debug)]
pub struct StreamMessage {
    pub sequence: u64,
    /// The stream's time.
    pub at: Timestamp,
    pub subject: Subject,
    pub headers: Option<HeaderMap>,
    pub payload: Bytes,
    /// False if the client would drop its connection when it meets the message.
    pub(crate) is_plain: bool,
    /// Its number among the messages of its consumer, from 1, and the number of messages that consumer still has.
    pub(crate) number: u64,
    pub(crate) pending: u64,
}

impl StreamMessage {
    /// A message from a consumer.
    pub fn new(message: Message) -> anyhow::Result<StreamMessage> {
        let info = message.info().map_err(anyhow::Error::from_boxed)?;
        let (sequence, at) = (info.stream_sequence, Timestamp::from_stream(info.published));
        let (number, pending) = (info.consumer_sequence, info.pending);
        let async_nats::Message { subject, headers, payload, .. } = message.message;
        Ok(StreamMessage { sequence, at, subject, headers, payload, is_plain: true, number, pending })
    }

    /// The message with this sequence, even if its headers cannot be parsed; `None` if it was deleted.
    pub async fn at(js: &Context, stream: &str, sequence: u64) -> anyhow::Result<Option<StreamMessage>> {
        Ok(stored::at(js, stream, sequence).await?.map(Self::from_stored))
    }

    /// The first message from `sequence` on whose subject matches `filter`, in the same way. An empty filter matches all.
    pub async fn first_from(
        js: &Context,
        stream: &str,
        filter: &str,
        sequence: u64,
    ) -> anyhow::Result<Option<StreamMessage>> {
        Ok(stored::first_from(js, stream, filter, sequence).await?.map(Self::from_stored))
    }

    fn from_stored(Stored { sequence, at, subject, headers, payload }: Stored) -> StreamMessage {
        StreamMessage {
            sequence,
            at,
            is_plain: is_plain(&subject, &headers),
            subject: subject.into(),
            headers: Some(read_headers(&headers)).filter(|headers| !headers.is_empty()),
            payload: payload.into(),
            number: 0,
            pending: 0,
        }
    }

    /// The message's `Nats-Msg-Id`.
    pub fn once(&self) -> Option<&str> {
        self.headers.as_ref()?.get(NATS_MESSAGE_ID).map(|id| id.as_str())
    }
}

/// True if the client can parse a message with this subject, in which the server replaces what is not UTF-8, and these headers.
fn is_plain(subject: &str, headers: &[u8]) -> bool {
    let Ok(headers) = std::str::from_utf8(headers) else { return false };
    let is_header = |line: &str| {
        line.is_empty() || line.split_once(':').is_some_and(|(name, _)| name.parse::<HeaderName>().is_ok())
    };
    let mut lines = headers.lines();
    !subject.contains(char::REPLACEMENT_CHARACTER)
        && lines.next().is_none_or(|version| version == "NATS/1.0")
        && lines.all(is_header)
}

/// The headers of a message that can be parsed.
fn read_headers(bytes: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in String::from_utf8_lossy(bytes).lines() {
        let Some((name, value)) = line.split_once(':') else { continue };
        if let (Ok(name), Ok(value)) =
            (name.trim().parse::<HeaderName>(), value.trim().parse::<HeaderValue>())
        {
            headers.append(name, value);
        }
    }
    headers
}

/// The sequence of the last message on a subject, and the message unless it cannot be parsed; `None` if there is none.
pub async fn last<T: DeserializeOwned>(
    stream: &Stream,
    subject: String,
) -> anyhow::Result<Option<(u64, Option<T>)>> {
    match stream.direct_get_last_for_subject(subject.clone()).await {
        Ok(message) => Ok(Some((message.sequence, serde_json::from_slice(&message.payload).ok()))),
        Err(error) if error.kind() == DirectGetErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("the last of {subject} cannot be read")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_message_that_the_client_can_parse_is_plain() {
        let ours = b"NATS/1.0\r\nNats-Msg-Id: 01a2\r\ntraceparent: 00-1\r\n\r\n";
        for (subject, headers) in [("hal.ops.db1.a", &b""[..]), ("hal.ops.db1.\u{e9}", ours)] {
            assert!(is_plain(subject, headers), "{subject}");
        }
        for (subject, headers) in [
            ("hal.ops.db1.\u{fffd}", &b""[..]),
            ("a", b"garbage"),
            ("a", b"NATS/1.0 100 Idle Heartbeat\r\n\r\n"),
            ("a", b"NATS/1.0\r\nno colon\r\n\r\n"),
            ("a", b"NATS/1.0\r\nX: caf\xe9\r\n\r\n"),
        ] {
            assert!(!is_plain(subject, headers), "{}", headers.escape_ascii());
        }
    }
}
