//! `GET /api/sources` and `GET /api/tags`: the names in the log, each with its last message and its counts.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use schemars::JsonSchema;
use serde::Serialize;
use tellhal::message::Severity;
use tellhal::timestamp::Timestamp;

use super::exchange::{Given, ok};
use super::messages::{Incomplete, gap};
use crate::index::search::{self, HOURS};
use crate::page::Site;
use crate::page::params::{NAMED, Params};
use service::http::problem::Problem;

/// A page of sources or tags.
#[derive(Serialize, JsonSchema)]
pub(super) struct Names {
    /// Ordered by name.
    names: Vec<Name>,
    /// The start of the next page; absent on the last page.
    cursor: Option<String>,
    /// The reason why the counts may be incomplete; absent if they are complete.
    incomplete: Option<Incomplete>,
}

/// A source or a tag.
#[derive(Serialize, JsonSchema)]
struct Name {
    name: String,
    /// The last full host name the source gave.
    host: Option<String>,
    /// The time of the first message, as far back as this relay's index goes.
    first: Timestamp,
    /// The time of the last message, at most 90 days ago.
    last: Timestamp,
    /// The sequence of the last message in the log.
    last_sequence: u64,
    /// The number of its messages in the log.
    count: u64,
    /// The highest severity of the last 24 hours; absent if there was no message.
    worst: Option<Severity>,
    /// The number of messages in each of the last 24 hours, oldest hour first.
    hours: [u64; HOURS],
}

impl From<search::Name> for Name {
    fn from(name: search::Name) -> Name {
        let search::Name { name, first, last, last_sequence, host, count, worst, hours } = name;
        Name { name, host, first, last, last_sequence, count, worst, hours }
    }
}

pub(super) async fn sources(State(site): State<Arc<Site>>, query: Given) -> Result<Response, Problem> {
    names(&site, query, true).await
}

pub(super) async fn tags(State(site): State<Arc<Site>>, query: Given) -> Result<Response, Problem> {
    names(&site, query, false).await
}

async fn names(site: &Site, query: Given, sources: bool) -> Result<Response, Problem> {
    let params = Params::new(query?.0, &[NAMED])?;
    let limit = params.name_limit()?;
    let after = params.after_name()?.unwrap_or_default();
    let index = site.index()?;
    let search::Names { names, until } = match sources {
        true => index.sources(after, limit).await?,
        false => index.tags(after, limit).await?,
    };
    let cursor = names.last().filter(|_| names.len() == limit).map(|last| last.name.clone());
    let incomplete = match until {
        Some(at) => Some(Incomplete::late(at)),
        None => gap(site, site.tail.recent().await?.complete_after),
    };
    Ok(ok(&Names { names: names.into_iter().map(Name::from).collect(), cursor, incomplete }))
}
