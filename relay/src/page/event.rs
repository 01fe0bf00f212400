//! What the page shows, as JSON and as server-sent events.

use axum::body::Bytes;
use serde::Serialize;
use tellhal::message::{Message, Received, read};
use tellhal::subject::{Names, Subject};
use tellhal::timestamp::Timestamp;

use crate::delivery::Summary;
use crate::scan::Found;
use crate::status::Status;

/// Told to a reader that was quiet for a while, so that proxies keep the connection and the page
/// knows that it is there: an event, because a script does not see comments.
pub(super) const KEEP_ALIVE: Bytes = Bytes::from_static(b"event: alive\ndata: {}\n\n");
/// Told once what came before the connection has been sent.
pub(super) const LIVE: Bytes = Bytes::from_static(b"event: live\ndata: {}\n\n");

/// One message of the log, as the API gives it.
#[derive(Debug, Serialize)]
pub(super) struct Entry {
    sequence: u64,
    /// The stream's time.
    at: Timestamp,
    message: Message,
    /// What a reader should know about how it was read, in words.
    marks: Vec<String>,
}

impl Entry {
    /// `None` for an entry of the log that is no message.
    fn new(names: &Names, found: &Found) -> Option<Entry> {
        let message = &found.message;
        let Some(Subject::Ops { source, tag }) = names.parse(&message.subject) else { return None };
        let Received { message, marks } = read(source, tag, &message.payload, found.sequence, found.at);
        let marks = marks.iter().map(ToString::to_string).collect();
        Some(Entry { sequence: found.sequence, at: found.at, message, marks })
    }
}

/// One server-sent event, encoded once for every reader.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    /// The log's sequence; absent for what is not in the log.
    pub(super) sequence: Option<u64>,
    pub(super) bytes: Bytes,
}

impl Frame {
    /// A message of the log. `None` for an entry that is no message.
    pub(super) fn message(names: &Names, found: &Found) -> Option<Frame> {
        let json = serde_json::to_string(&Entry::new(names, found)?).ok()?;
        let bytes = format!("id: {}\ndata: {json}\n\n", found.sequence).into();
        Some(Frame { sequence: Some(found.sequence), bytes })
    }

    /// What a throttle held back: delivered to the page as to any room, but no entry of the log.
    pub(super) fn summary(id: &str, at: Timestamp, summary: &Summary) -> Option<Frame> {
        #[derive(Serialize)]
        struct Told<'a> {
            id: &'a str,
            at: Timestamp,
            summary: &'a Summary,
        }
        let json = serde_json::to_string(&Told { id, at, summary }).ok()?;
        Some(Frame { sequence: None, bytes: format!("event: summary\ndata: {json}\n\n").into() })
    }

    /// Whether the relay itself is well: a page that is connected to a relay without a log must say so.
    pub(super) fn state(status: &Status) -> Frame {
        let problem = status.ready().err();
        let json = serde_json::json!({ "problem": problem });
        Frame { sequence: None, bytes: format!("event: state\ndata: {json}\n\n").into() }
    }
}
