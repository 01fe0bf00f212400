//! The event stream of one open page: the messages it missed, then new ones. Ends when the page falls too far behind or
//! the relay stops; the browser then reconnects with the last sequence it has received.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::DeliverPolicy;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::exchange::Given;
use crate::bus::scan::Scan;
use crate::index::filter::Filter;
use crate::page::Site;
use crate::page::event::{Frame, KEEP_ALIVE};
use crate::page::params::{AFTER, FILTER, Params};
use crate::page::tail::Place;
use service::http::problem::Problem;

const QUIET: Duration = Duration::from_secs(15);
/// Bytes sent in one chunk at most, when many messages arrive at once.
const TOGETHER: usize = 64 * 1024;

/// `GET /api/stream`.
pub(super) async fn stream(
    State(site): State<Arc<Site>>,
    query: Given,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let params = Params::new(query?.0, &[FILTER, AFTER])?;
    let filter = params.filter()?;
    let seen = seen(&headers, &params)?;
    let Ok(permit) = site.readers.clone().try_acquire_owned() else {
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many pages are open; close some"));
    };
    let reader = Reader::new(site, permit, filter, seen);
    let frames = futures_util::stream::unfold(reader, async |mut reader| {
        let bytes = reader.next().await?;
        Some((Ok::<Bytes, std::convert::Infallible>(bytes), reader))
    });
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(frames)).into_response())
}

/// The last sequence this page has received: `Last-Event-ID`, which the browser sends when it reconnects, else `after`,
/// which the page's script sends with a new connection.
fn seen(headers: &HeaderMap, params: &Params) -> Result<Option<u64>, Problem> {
    let id = headers.get("last-event-id").map(|id| id.to_str().unwrap_or("?"));
    let Some(id) = id.or(params.get("after")) else { return Ok(None) };
    let what = "Last-Event-ID or after is not a sequence of the log, such as 1234";
    id.parse::<i64>().ok().and_then(|id| u64::try_from(id).ok()).map(Some).ok_or_else(|| Problem::bad(what))
}

struct Reader {
    site: Arc<Site>,
    shutdown: CancellationToken,
    filter: Filter,
    /// Frames that are ready to be sent.
    queue: VecDeque<Frame>,
    /// The last sequence that was sent or filtered out; messages up to it are not sent again.
    seen: Option<u64>,
    source: Source,
    problem: watch::Receiver<Option<String>>,
    _permit: OwnedSemaphorePermit,
}

enum Source {
    /// Not yet chosen.
    Start,
    /// Reads messages from the log that are no longer in memory; its end covers at least `until`.
    Behind {
        scan: Box<Scan>,
        until: u64,
        _turn: OwnedSemaphorePermit,
    },
    Live(Place),
}

impl Reader {
    fn new(site: Arc<Site>, permit: OwnedSemaphorePermit, filter: Filter, seen: Option<u64>) -> Self {
        let shutdown = site.shutdown.clone();
        let problem = site.tail.problem();
        let queue = VecDeque::from([Frame::state(site.shared.problem())]);
        site.shared.metrics.page_readers.inc();
        Reader { site, shutdown, filter, queue, seen, source: Source::Start, problem, _permit: permit }
    }

    /// The next bytes to send; `None` ends the connection.
    async fn next(&mut self) -> Option<Bytes> {
        // A message that the filter leaves out does not count as traffic.
        let quiet = Instant::now() + QUIET;
        loop {
            if let Some(bytes) = self.queued() {
                return Some(bytes);
            }
            let shutdown = self.shutdown.clone();
            let advanced = tokio::time::timeout_at(quiet, shutdown.run_until_cancelled(self.advance()));
            match advanced.await {
                Err(_) => return Some(KEEP_ALIVE),
                Ok(Some(Ok(()))) => {}
                Ok(Some(Err(error))) => {
                    debug!(error = format!("{error:#}"), "closing a page's event stream");
                    return None;
                }
                Ok(None) => return None,
            }
        }
    }

    /// The matching frames that are ready, up to the size of one chunk.
    fn queued(&mut self) -> Option<Bytes> {
        let mut first: Option<Bytes> = None;
        let mut more = Vec::new();
        while let Some(frame) = self.queue.front() {
            let length = first.as_ref().map_or(0, |first| first.len().max(more.len()));
            if length > 0 && length + frame.bytes.len() > TOGETHER {
                break;
            }
            let Some(frame) = self.queue.pop_front() else { break };
            self.seen = frame.sequence().or(self.seen);
            if !frame.entry.is_none_or(|entry| self.filter.matches(&entry.message, entry.at)) {
                continue;
            }
            match &first {
                // Most frames are sent alone, and their bytes are shared by all readers.
                None => first = Some(frame.bytes),
                Some(only) => {
                    if more.is_empty() {
                        more.extend_from_slice(only);
                    }
                    more.extend_from_slice(&frame.bytes);
                }
            }
        }
        if more.is_empty() { first } else { Some(more.into()) }
    }

    /// Takes one step; safe to be dropped at any await.
    async fn advance(&mut self) -> anyhow::Result<()> {
        match &mut self.source {
            Source::Start => self.start().await?,
            Source::Behind { scan, until, .. } => match scan.next().await? {
                Some(message) => self.queue.extend(Frame::message(&self.site.shared.bus.names, &message)),
                None => {
                    self.seen = self.seen.max(Some(*until));
                    self.source = Source::Start;
                }
            },
            Source::Live(place) => tokio::select! {
                // Messages that arrived meanwhile are sent together.
                frames = self.site.tail.next(place, TOGETHER) => self.queue.extend(frames?),
                changed = self.problem.changed() => {
                    changed?;
                    let problem = self.problem.borrow_and_update().clone();
                    self.queue.push_back(Frame::state(problem));
                }
            },
        }
        Ok(())
    }

    async fn start(&mut self) -> anyhow::Result<()> {
        let tail = &self.site.tail;
        let Some(seen) = self.seen else {
            self.source = Source::Live(tail.join());
            return Ok(());
        };
        let last = tail.last().await;
        let bus = &self.site.shared.bus;
        if seen > last {
            // Either the tail is late, or the log has been replaced since.
            let log = bus.js.get_stream(bus.names.ops_stream()).await?;
            if seen > log.cached_info().state.last_sequence {
                self.queue.push_back(Frame::anew());
                self.seen = None;
                return Ok(());
            }
        }
        if let Some(place) = tail.join_after(seen) {
            self.source = Source::Live(place);
            return Ok(());
        }
        // Messages that were read and not sent yet take memory for each reader.
        let _turn = self.site.answers.behind.clone().acquire_owned().await?;
        let log = bus.js.get_stream(bus.names.ops_stream()).await?;
        let from = DeliverPolicy::ByStartSequence { start_sequence: seen + 1 };
        let scan = Box::new(Scan::open(&bus.js, &bus.connections, log, bus.names.all_ops(), from).await?);
        self.source = Source::Behind { scan, until: last, _turn };
        Ok(())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.site.shared.metrics.page_readers.dec();
    }
}
