//! Reads the log message by message, each requested by itself as JSON: a consumer would break at a message whose headers the
//! client cannot parse.

use anyhow::Context as _;
use async_nats::jetstream::{ErrorCode, response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::json;
use tellhal::Timestamp;

use crate::bus::Bus;

/// A message of the log.
#[derive(Clone, Debug)]
pub(crate) struct Logged {
    pub(crate) sequence: u64,
    /// The stream's time.
    pub(crate) at: Timestamp,
    pub(crate) subject: String,
    pub(crate) payload: Vec<u8>,
}

#[derive(Deserialize)]
struct Reply {
    message: Stored,
}

#[derive(Deserialize)]
struct Stored {
    subject: String,
    seq: u64,
    time: Timestamp,
    #[serde(default)]
    data: String,
}

/// The sequence of the last message of the log.
pub(crate) async fn last(bus: &Bus) -> anyhow::Result<u64> {
    let name = bus.names.ops_stream();
    let log = bus.js.get_stream(&name).await.with_context(|| format!("stream {name}"))?;
    Ok(log.cached_info().state.last_sequence)
}

/// The first message behind the place `after` whose subject is like `filter`; `None` if there is none yet.
pub(crate) async fn next(bus: &Bus, filter: &str, after: u64) -> anyhow::Result<Option<Logged>> {
    let subject = format!("STREAM.MSG.GET.{}", bus.names.ops_stream());
    let question = json!({ "seq": after + 1, "next_by_subj": filter });
    let Stored { subject, seq, time, data } = match bus.js.request(subject, &question).await? {
        response::Response::Ok(Reply { message }) => message,
        response::Response::Err { error } if error.error_code() == ErrorCode::NO_MESSAGE_FOUND => {
            return Ok(None);
        }
        response::Response::Err { error } => return Err(error.into()),
    };
    Ok(Some(Logged { sequence: seq, at: time, subject, payload: BASE64.decode(data)? }))
}
