//! `/api/dead`: the dead letters, to list, retry and give up.

use std::sync::Arc;

use anyhow::Context as _;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::exchange::{Given, Named, ok, unacknowledged};
use super::newest::newest;
use crate::admin::Operator;
use crate::admin::dead::{self, Letter};
use crate::bus::Bus;
use crate::bus::message::StreamMessage;
use crate::page::Site;
use crate::page::access::Caller;
use crate::page::params::{PAGED, Params, ROOM};
use service::http::problem::Problem;

/// A page of dead letters.
#[derive(Serialize, JsonSchema)]
pub(super) struct DeadLetters {
    /// Newest first.
    letters: Vec<Letter>,
    /// The start of the next page; absent on the last page.
    cursor: Option<String>,
}

/// The sequence of a dead letter in its stream.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(super) struct Sequence(#[schemars(range(min = 1, max = i64::MAX))] u64);

pub(super) async fn list(State(site): State<Arc<Site>>, query: Given) -> Result<Response, Problem> {
    let params = Params::new(query?.0, &[ROOM, PAGED])?;
    let (limit, before) = (params.limit()?, params.before()?.unwrap_or(u64::MAX));
    let room = params.room()?.unwrap_or("*");
    let operator = operator(&site);
    let _turn = site.answers.turn().await;
    let Some(stream) = operator.stream(&operator.names.dead_stream()).await? else {
        return Ok(ok(&DeadLetters { letters: Vec::new(), cursor: None }));
    };
    let read = |message: &StreamMessage| Some(Letter::read(message));
    let filter = operator.names.dead(room);
    let (letters, cursor) = newest(&operator, stream, filter, (before, limit), read).await?;
    Ok(ok(&DeadLetters { letters, cursor: cursor.map(|before| before.to_string()) }))
}

pub(super) async fn retry(
    State(site): State<Arc<Site>>,
    Extension(caller): Extension<Caller>,
    sequence: Named<Sequence>,
) -> Result<StatusCode, Problem> {
    let operator = operator(&site);
    let letter = letter(&operator, sequence?.0).await?;
    if letter.delivery.is_none() {
        let what = format!("{} cannot be retried: its delivery could not be read", letter.id);
        return Err(Problem::new(StatusCode::CONFLICT, what));
    }
    dead::retry(&operator, &letter, by(&caller)).await.map_err(|error| unsure(&site, error))?;
    tracing::info!(id = letter.id, room = letter.room, by = caller.name, "dead letter to be tried again");
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn give_up(
    State(site): State<Arc<Site>>,
    Extension(caller): Extension<Caller>,
    sequence: Named<Sequence>,
) -> Result<StatusCode, Problem> {
    let operator = operator(&site);
    let letter = letter(&operator, sequence?.0).await?;
    dead::drop(&operator, &letter, by(&caller)).await.map_err(|error| unsure(&site, error))?;
    tracing::info!(id = letter.id, room = letter.room, by = caller.name, "dead letter given up");
    Ok(StatusCode::NO_CONTENT)
}

/// The caller's name for the traces.
fn by(caller: &Caller) -> &str {
    caller.name.as_deref().unwrap_or("an operator on the relay's machine")
}

fn unsure(site: &Site, error: anyhow::Error) -> Problem {
    unacknowledged(error, &site.shared.bus.server(), "asked again, it happens once")
}

async fn letter(operator: &Operator, Sequence(sequence): Sequence) -> Result<Letter, Problem> {
    let gone = || {
        Problem::not_found(format!("there is no dead letter {sequence}; it may have been handled already"))
    };
    if sequence == 0 || i64::try_from(sequence).is_err() {
        return Err(gone());
    }
    let message = StreamMessage::at(&operator.jetstream, &operator.names.dead_stream(), sequence).await;
    message.context("dead letters")?.as_ref().map(Letter::read).ok_or_else(gone)
}

/// The same access to the streams as an operator's on the command line.
pub(in crate::page) fn operator(site: &Site) -> Operator {
    let Bus { js, names, connections, .. } = site.shared.bus.clone();
    Operator { jetstream: js, names, connections }
}
