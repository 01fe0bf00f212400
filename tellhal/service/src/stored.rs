//! Reads one message of a stream by a request of its own, with the headers as bytes: from a consumer, or with real headers, the
//! client drops its connection if it cannot parse them. To parse them is the reader's.

use async_nats::jetstream::{Context, ErrorCode, response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::{Value, json};
use tellhal::Timestamp;

/// One message of a stream.
#[derive(Clone, Debug)]
pub struct Stored {
    pub sequence: u64,
    /// The stream's time.
    pub at: Timestamp,
    /// Bytes that are not UTF-8 are replaced by the server.
    pub subject: String,
    /// The header block as it was sent, empty without one.
    pub headers: Vec<u8>,
    pub payload: Vec<u8>,
}

/// The message with this sequence; `None` if the stream has none.
pub async fn at(js: &Context, stream: &str, sequence: u64) -> anyhow::Result<Option<Stored>> {
    ask(js, stream, json!({"seq": sequence})).await
}

/// The first message from `sequence` on whose subject matches `filter`; `None` if there is none yet. An empty filter matches all.
pub async fn first_from(
    js: &Context,
    stream: &str,
    filter: &str,
    sequence: u64,
) -> anyhow::Result<Option<Stored>> {
    let filter = if filter.is_empty() { ">" } else { filter };
    ask(js, stream, json!({"seq": sequence, "next_by_subj": filter})).await
}

/// The server's answer.
#[derive(Deserialize)]
struct Answer {
    message: Encoded,
}

#[derive(Deserialize)]
struct Encoded {
    subject: String,
    seq: u64,
    time: Timestamp,
    #[serde(default)]
    hdrs: String,
    #[serde(default)]
    data: String,
}

async fn ask(js: &Context, stream: &str, question: Value) -> anyhow::Result<Option<Stored>> {
    let Encoded { subject, seq, time, hdrs, data } =
        match js.request(format!("STREAM.MSG.GET.{stream}"), &question).await? {
            response::Response::Ok(Answer { message }) => message,
            response::Response::Err { error } if error.error_code() == ErrorCode::NO_MESSAGE_FOUND => {
                return Ok(None);
            }
            response::Response::Err { error } => return Err(error.into()),
        };
    let (headers, payload) = (BASE64.decode(hdrs)?, BASE64.decode(data)?);
    Ok(Some(Stored { sequence: seq, at: time, subject, headers, payload }))
}
