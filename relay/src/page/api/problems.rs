//! `GET /api/problems`: the things that failed or started and are not over.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Context as _;
use axum::extract::State;
use axum::response::Response;
use futures_util::{StreamExt as _, stream};
use schemars::JsonSchema;
use serde::Serialize;
use tellhal::message::Severity;
use tellhal::timestamp::Timestamp;

use super::exchange::{Given, ok};
use super::messages::{Incomplete, gap};
use crate::bus::message::StreamMessage;
use crate::index::problems;
use crate::page::Site;
use crate::page::event::Entry;
use crate::page::params::{LIMIT, Params};
use crate::page::site::Headline;
use service::http::problem::Problem;

/// Number of messages requested from the log at the same time.
const AT_ONCE: usize = 8;

/// The open problems.
#[derive(Serialize, JsonSchema)]
pub(super) struct Problems {
    /// The worst first: failures by severity, then runs without an end, then runs under way.
    problems: Vec<OpenProblem>,
    /// The number of all of them.
    total: usize,
    /// The reason why some may be missing; absent if none are.
    incomplete: Option<Incomplete>,
}

/// A thing, by source and key, that failed or started and is not over.
#[derive(Serialize, JsonSchema)]
struct OpenProblem {
    /// The sequence of its last failure, or of its start.
    sequence: u64,
    /// The parts of that message that name the thing.
    #[serde(flatten)]
    message: Arc<Headline>,
    state: problems::State,
    /// The time of its first failure, or of its start.
    since: Timestamp,
    /// The highest severity of its failures, or the severity of its start.
    worst: Severity,
    /// The number of its failures.
    failures: u64,
    /// It has started again since its last failure.
    again: bool,
    /// The end of its usual time, if it is running: twice the longest of its last runs, or a day if there are none.
    due: Option<Timestamp>,
}

pub(super) async fn list(State(site): State<Arc<Site>>, query: Given) -> Result<Response, Problem> {
    let limit = Params::new(query?.0, &[LIMIT])?.limit()?;
    let found = site.index()?.open_problems(limit).await?;
    let sequences = found.problems.iter().map(|problem| problem.sequence).collect();
    let mut headlines = headlines(&site, sequences).await?;
    let problems = found.problems.into_iter().filter_map(|problem| {
        let problems::Problem { state, sequence, since, severity: worst, failures, again, due } = problem;
        let message = headlines.remove(&sequence)?;
        Some(OpenProblem { sequence, message, state, since, worst, failures, again, due })
    });
    let incomplete = match found.late {
        true => Some(Incomplete::without_ends()),
        false => gap(&site, site.tail.recent().await?.complete_after),
    };
    Ok(ok(&Problems { problems: problems.collect(), total: found.total, incomplete }))
}

/// The headlines of these entries of the log, without those that the log no longer has. The last ones that were asked for
/// are kept: most of them are asked for again.
async fn headlines(site: &Site, sequences: Vec<u64>) -> Result<HashMap<u64, Arc<Headline>>, Problem> {
    let (bus, log) = (&site.shared.bus, &site.shared.bus.names.ops_stream());
    let mut kept = site.headlines.lock().await;
    let mut known = HashMap::new();
    let mut unknown = Vec::new();
    for sequence in sequences {
        match kept.get(&sequence) {
            Some(headline) => _ = known.insert(sequence, headline.clone()),
            None => unknown.push(sequence),
        }
    }
    let mut messages = std::pin::pin!(
        stream::iter(unknown)
            .map(async |sequence| StreamMessage::at(&bus.js, log, sequence).await)
            .buffered(AT_ONCE)
    );
    while let Some(message) = messages.next().await {
        let message = message.context("the log cannot be read")?;
        let Some(entry) = message.and_then(|message| Entry::new(&bus.names, &message)) else { continue };
        known.insert(entry.sequence, Arc::new(Headline::of(&entry.message)));
    }
    kept.clone_from(&known);
    Ok(known)
}
