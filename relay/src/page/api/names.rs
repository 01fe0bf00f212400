//! `GET /api/sources` and `GET /api/tags`: who told, about what, when last and how often.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use schemars::JsonSchema;
use serde::Serialize;
use tellhal::message::Severity;
use tellhal::timestamp::Timestamp;

use super::messages::{Incomplete, gap};
use super::{Given, found};
use crate::index::search::{self, HOURS};
use crate::page::Site;
use crate::page::params::{NAMED, Params};
use service::http::problem::Problem;

/// Some of the sources or tags.
#[derive(Serialize, JsonSchema)]
pub(super) struct Names {
    /// In the order of their names.
    names: Vec<Name>,
    /// Where the next page begins; absent when there is nothing more.
    cursor: Option<String>,
    /// Why not everything was counted; absent when it was.
    incomplete: Option<Incomplete>,
}

/// A source or a tag.
#[derive(Serialize, JsonSchema)]
struct Name {
    name: String,
    /// The last full host name the source gave.
    host: Option<String>,
    /// When it was first heard of, as far back as this relay's index goes.
    first: Timestamp,
    /// When it was last heard of, at most 90 days ago.
    last: Timestamp,
    /// The place of the last message in the log.
    last_sequence: u64,
    /// How many of its messages are in the log.
    count: u64,
    /// The worst severity of the last 24 hours; absent when there was nothing.
    worst: Option<Severity>,
    /// How many messages in each of the last 24 hours, the last one's last.
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
    let limit = params.names()?;
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
    Ok(found(&Names { names: names.into_iter().map(Name::from).collect(), cursor, incomplete }))
}
