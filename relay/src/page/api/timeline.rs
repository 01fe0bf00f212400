//! `GET /api/timeline`: the number of messages over time, by severity.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use schemars::JsonSchema;
use serde::Serialize;
use tellhal::message::Severity;
use tellhal::timestamp::Timestamp;

use super::exchange::{Given, ok};
use super::messages::{Incomplete, gap};
use crate::index::filter::Filter;
use crate::index::search::{Counts, span};
use crate::page::Site;
use crate::page::params::{FILTER, Params, SPANS};
use crate::page::tail::Recent;
use service::http::problem::Problem;

/// The time range of an empty log, in ms.
const HOUR: i64 = 3_600_000;

/// Counts in equal spans of time.
#[derive(Serialize, JsonSchema)]
pub(super) struct Timeline {
    /// The start of the first span.
    since: Timestamp,
    /// The end of the last span.
    until: Timestamp,
    /// The severities of the numbers in a span, from least to most severe.
    severities: [Severity; 6],
    /// The spans in order, each with a number for each severity.
    counts: Vec<[u64; 6]>,
    /// The reason why messages may be missing; absent if none are.
    incomplete: Option<Incomplete>,
}

pub(super) async fn timeline(State(site): State<Arc<Site>>, query: Given) -> Result<Response, Problem> {
    let params = Params::new(query?.0, &[FILTER, SPANS])?;
    let (filter, spans) = (params.filter()?, params.spans()?);
    let Recent { entries, complete_after, .. } = site.tail.recent().await?;
    let now = Timestamp::now();
    let first = match &site.shared.index {
        Ok(index) => index.first_at().await?,
        Err(_) => None,
    };
    let first = first.or(entries.last().map(|entry| entry.at)).unwrap_or(Timestamp(now.0 - HOUR));
    let newest = entries.first().map_or(now, |entry| entry.at.max(now));
    // One millisecond later, so that the last message is in the last span.
    let until = filter.until.unwrap_or(Timestamp(newest.0 + 1));
    let since = filter.since.unwrap_or(first).min(until);
    let mut incomplete = gap(&site, complete_after);
    let filter = Filter { since: Some(since), until: Some(until), ..filter };
    let Counts { spans: mut counts, until: late } = match &site.shared.index {
        Ok(index) => {
            index.count(filter.clone(), complete_after.saturating_add(1), (since, until), spans).await?
        }
        Err(_) => Counts { spans: vec![[0; 6]; spans], until: None },
    };
    for entry in entries.iter().filter(|entry| filter.matches(&entry.message, entry.at)) {
        counts[span(entry.at, (since, until), spans)][entry.message.severity as usize] += 1;
    }
    if let Some(before) = late {
        incomplete = Some(Incomplete::late(before));
    }
    Ok(ok(&Timeline { since, until, severities: Severity::ALL, counts, incomplete }))
}
