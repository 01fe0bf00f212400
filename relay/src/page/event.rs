//! Messages for the page, as JSON and as server-sent events.

use std::sync::Arc;

use axum::body::Bytes;
use schemars::JsonSchema;
use serde::Serialize;
use tellhal::message::{Message, Received, read};
use tellhal::subject::{Names, Subject};
use tellhal::timestamp::Timestamp;

use crate::bus::message::StreamMessage;

/// Sent to a reader that got no message for a while, so that proxies keep the connection open and the page knows that
/// it works: an event, because a script does not see comments.
pub(super) const KEEP_ALIVE: Bytes = Bytes::from_static(b"event: alive\ndata: {}\n\n");
/// Sent after the messages from before the connection.
pub(super) const LIVE: Bytes = Bytes::from_static(b"event: live\ndata: {}\n\n");

/// One message of the log.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Entry {
    /// Its sequence in the log.
    pub(super) sequence: u64,
    /// The stream's time, which is the time of the message.
    pub(super) at: Timestamp,
    pub(super) message: Message,
    /// Remarks about how it was read, in words.
    pub(super) marks: Vec<String>,
    /// The size of its payload.
    #[serde(skip)]
    pub(super) bytes: usize,
}

impl Entry {
    /// `None` for a log entry that is not a message.
    pub(super) fn new(names: &Names, message: &StreamMessage) -> Option<Entry> {
        let Some(Subject::Ops { source, tag }) = names.parse(&message.subject) else { return None };
        let Received { message: content, marks } =
            read(source, tag, &message.payload, message.sequence, message.at);
        let marks = marks.iter().map(ToString::to_string).collect();
        let (sequence, at, bytes) = (message.sequence, message.at, message.payload.len());
        Some(Entry { sequence, at, message: content, marks, bytes })
    }
}

/// One server-sent event, encoded once for every reader.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    /// Absent for an event that is not about a message.
    pub(super) entry: Option<Arc<Entry>>,
    pub(super) bytes: Bytes,
}

impl Frame {
    /// A message of the log. `None` for a log entry that is not a message.
    pub(super) fn message(names: &Names, message: &StreamMessage) -> Option<Frame> {
        let entry = Entry::new(names, message)?;
        let json = serde_json::to_string(&entry).ok()?;
        let bytes = format!("id: {}\ndata: {json}\n\n", message.sequence).into();
        Some(Frame { entry: Some(Arc::new(entry)), bytes })
    }

    /// The problem of the relay or of the page, if any: a page that is connected to a relay without a log must say so.
    pub(super) fn state(problem: Option<String>) -> Frame {
        let json = serde_json::json!({ "problem": problem });
        Frame { entry: None, bytes: format!("event: state\ndata: {json}\n\n").into() }
    }

    /// The reader's last message is of another log, so its sequence means nothing in this one.
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
