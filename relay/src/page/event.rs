//! What the page shows, as JSON and as server-sent events.

use std::sync::Arc;

use axum::body::Bytes;
use schemars::JsonSchema;
use serde::Serialize;
use tellhal::message::{Message, Received, read};
use tellhal::subject::{Names, Subject};
use tellhal::timestamp::Timestamp;

use crate::bus::message::StreamMessage;
use crate::status::Status;

/// Told to a reader that was quiet for a while, so that proxies keep the connection and the page
/// knows that it is there: an event, because a script does not see comments.
pub(super) const KEEP_ALIVE: Bytes = Bytes::from_static(b"event: alive\ndata: {}\n\n");
/// Told once what came before the connection has been sent.
pub(super) const LIVE: Bytes = Bytes::from_static(b"event: live\ndata: {}\n\n");

/// One message of the log.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Entry {
    /// Its place in the log.
    pub(super) sequence: u64,
    /// The stream's time, which decides.
    pub(super) at: Timestamp,
    pub(super) message: Message,
    /// What a reader should know about how it was read, in words.
    pub(super) marks: Vec<String>,
}

impl Entry {
    /// `None` for an entry of the log that is no message.
    pub(super) fn new(names: &Names, found: &StreamMessage) -> Option<Entry> {
        let Some(Subject::Ops { source, tag }) = names.parse(&found.subject) else { return None };
        let Received { message, marks } = read(source, tag, &found.payload, found.sequence, found.at);
        let marks = marks.iter().map(ToString::to_string).collect();
        Some(Entry { sequence: found.sequence, at: found.at, message, marks })
    }
}

/// One server-sent event, encoded once for every reader.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    /// Absent for what is not in the log.
    pub(super) entry: Option<Arc<Entry>>,
    pub(super) bytes: Bytes,
}

impl Frame {
    /// A message of the log. `None` for an entry that is no message.
    pub(super) fn message(names: &Names, found: &StreamMessage) -> Option<Frame> {
        let entry = Entry::new(names, found)?;
        let json = serde_json::to_string(&entry).ok()?;
        let bytes = format!("id: {}\ndata: {json}\n\n", found.sequence).into();
        Some(Frame { entry: Some(Arc::new(entry)), bytes })
    }

    /// Whether the relay itself is well: a page that is connected to a relay without a log must say so.
    pub(super) fn state(status: &Status) -> Frame {
        let problem = status.ready().err();
        let json = serde_json::json!({ "problem": problem });
        Frame { entry: None, bytes: format!("event: state\ndata: {json}\n\n").into() }
    }

    /// What the reader has seen is of another log, whose sequences say nothing in this one.
    pub(super) fn anew() -> Frame {
        Frame { entry: None, bytes: Bytes::from_static(b"event: anew\ndata: {}\n\n") }
    }

    pub(super) fn live() -> Frame {
        Frame { entry: None, bytes: LIVE }
    }

    pub(super) fn sequence(&self) -> Option<u64> {
        self.entry.as_ref().map(|entry| entry.sequence)
    }
}
