//! `POST /api/commands` passes a line of the command box to a bridge; `GET /api/audit` lists what was asked in all chats. The
//! relay neither reads the line nor decides about it.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{StatusCode as NatsStatus, Subscriber};
use axum::body::{Body, Bytes};
use axum::extract::{Extension, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt as _, stream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use service::http::problem::Problem;
use tellhal::audit::{Entry, PageLine};
use tellhal::command::{Answer, Progress, Reply, VERSION};
use tokio::time::timeout;

use super::dead::operator;
use super::exchange::{Given, Json, ok};
use super::newest::newest;
use crate::bus::message::StreamMessage;
use crate::page::Site;
use crate::page::access::{Caller, Credential};
use crate::page::params::{PAGED, Params};

/// The longest line, in bytes, as the bridge has it.
const LONGEST: usize = 4096;
/// The silence after which the bridge counts as gone: it tells every two seconds that it waits.
const SILENCE: Duration = Duration::from_secs(20);

/// A line for the command box.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Typed {
    /// A command with its arguments, such as `help`.
    #[schemars(length(min = 1, max = LONGEST))]
    line: String,
}

/// One line of the answer: progress any number of times, then the answer.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Said {
    Progress(Progress),
    Answer(Answer),
}

pub(super) async fn give(
    State(site): State<Arc<Site>>,
    Extension(caller): Extension<Caller>,
    Json(Typed { line }): Json<Typed>,
) -> Result<Response, Problem> {
    if line.is_empty() || line.len() > LONGEST {
        let what = format!("a line has 1 to {LONGEST} bytes");
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, what));
    }
    let bus = &site.shared.bus;
    let line =
        PageLine { v: VERSION, id: format!("{:032x}", fastrand::u128(..)), token: token(&caller), line };
    let inbox = bus.client.new_inbox();
    let failed = |error: String| Problem::unavailable(format!("{} cannot be asked: {error}", bus.server()));
    let replies = bus.client.subscribe(inbox.clone()).await.map_err(|error| failed(error.to_string()))?;
    let payload = serde_json::to_vec(&line).map_err(anyhow::Error::from)?;
    let asked = bus.client.publish_with_reply(bus.names.ask_page(), inbox, payload.into()).await;
    asked.map_err(|error| failed(error.to_string()))?;
    // Fused, since compression asks once more after the end.
    let lines = stream::unfold(Some(replies), async |replies| {
        let mut replies = replies?;
        let said = next(&mut replies).await;
        let is_last = matches!(said, Said::Answer(_));
        let mut bytes = serde_json::to_vec(&said).unwrap_or_default();
        bytes.push(b'\n');
        Some((Ok::<_, std::io::Error>(Bytes::from(bytes)), (!is_last).then_some(replies)))
    });
    let headers = [(header::CONTENT_TYPE, "application/jsonl"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(lines.fuse())).into_response())
}

/// The name by which the bridge knows the caller. A proxy's users have names of their own, which must not be those of tokens.
fn token(caller: &Caller) -> Option<String> {
    let name = caller.name.clone()?;
    match caller.credential {
        Credential::Bearer | Credential::Cookie => Some(name),
        Credential::Proxy => Some(format!("proxy:{name}")),
        Credential::Local => None,
    }
}

async fn next(replies: &mut Subscriber) -> Said {
    let gone = "the bridge has stopped answering: outcome unknown; the list below may tell more";
    match timeout(SILENCE, replies.next()).await {
        Ok(Some(reply)) if reply.status == Some(NatsStatus::NO_RESPONDERS) => {
            Said::Answer(Answer::failed("no bridge is there to answer: is hal-bridge running?"))
        }
        Ok(Some(reply)) => match Reply::read(reply.headers.as_ref(), &reply.payload) {
            Reply::Progress(progress) => Said::Progress(Progress { v: VERSION, progress }),
            Reply::Answer(answer) => Said::Answer(answer),
        },
        Ok(None) | Err(_) => Said::Answer(Answer::failed(gone)),
    }
}

/// A page of the audit.
#[derive(Serialize, JsonSchema)]
pub(super) struct Audit {
    /// Newest first.
    entries: Vec<Entry>,
    /// The start of the next page; absent on the last page.
    cursor: Option<String>,
}

pub(super) async fn audit(State(site): State<Arc<Site>>, query: Given) -> Result<Response, Problem> {
    let params = Params::new(query?.0, &[PAGED])?;
    let (limit, before) = (params.limit()?, params.before()?.unwrap_or(u64::MAX));
    let operator = operator(&site);
    let _turn = site.answers.turn().await;
    let Some(stream) = operator.stream(&operator.names.audit_stream()).await? else {
        return Ok(ok(&Audit { entries: Vec::new(), cursor: None }));
    };
    let read = |message: &StreamMessage| serde_json::from_slice(&message.payload).ok();
    let all = operator.names.all_audit();
    let (entries, cursor) = newest(&operator, stream, all, (before, limit), read).await?;
    Ok(ok(&Audit { entries, cursor: cursor.map(|before| before.to_string()) }))
}
