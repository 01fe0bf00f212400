//! One open page: what it missed, then what comes. Ends when the page falls too far behind or the relay
//! stops; the browser then comes back with the last sequence it saw.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::consumer::DeliverPolicy;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::{OwnedSemaphorePermit, broadcast};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::Site;
use super::event::{Frame, KEEP_ALIVE, LIVE};
use super::problem::Problem;
use super::tail::Joined;
use crate::scan::Scan;

const QUIET: Duration = Duration::from_secs(15);

/// `GET /api/stream`.
pub(super) async fn stream(
    State(site): State<Arc<Site>>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Ok(permit) = site.readers.clone().try_acquire_owned() else {
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many pages are open; close some"));
    };
    let seen = seen(&headers, &query)?;
    let reader = Reader::new(site, permit, seen);
    let frames = futures_util::stream::unfold(reader, async |mut reader| {
        let bytes = reader.next().await?;
        Some((Ok::<Bytes, std::convert::Infallible>(bytes), reader))
    });
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(frames)).into_response())
}

/// Where this page left off: `Last-Event-ID`, which the browser sends by itself when it comes back, else
/// `after`, for a connection that had to be made anew.
fn seen(headers: &HeaderMap, query: &BTreeMap<String, String>) -> Result<Option<u64>, Problem> {
    let id = headers.get("last-event-id").map(|id| id.to_str().unwrap_or_default());
    let Some(id) = id.or(query.get("after").map(String::as_str)) else { return Ok(None) };
    let what = "Last-Event-ID or after is not a sequence of the log, such as 1234";
    id.parse().map(Some).map_err(|_| Problem::new(StatusCode::BAD_REQUEST, what))
}

struct Reader {
    site: Arc<Site>,
    shutdown: CancellationToken,
    /// Ready to be sent.
    queue: VecDeque<Frame>,
    /// The last sequence that was sent; nothing up to it is sent again.
    seen: Option<u64>,
    source: Source,
    _permit: OwnedSemaphorePermit,
}

enum Source {
    /// Not yet connected to anything.
    Start,
    /// Reads from the log what is older than what is kept; `until` is certainly covered at its end.
    Behind {
        scan: Box<Scan>,
        until: u64,
    },
    Live(broadcast::Receiver<Frame>),
}

impl Reader {
    fn new(site: Arc<Site>, permit: OwnedSemaphorePermit, seen: Option<u64>) -> Self {
        let shutdown = site.shutdown.clone();
        let queue = VecDeque::from([Frame::state(&site.shared.status)]);
        Reader { site, shutdown, queue, seen, source: Source::Start, _permit: permit }
    }

    /// The next bytes to send; `None` ends the connection.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(frame) = self.queue.pop_front() {
                if frame.sequence.is_some() {
                    self.seen = frame.sequence;
                }
                return Some(frame.bytes);
            }
            let shutdown = self.shutdown.clone();
            let advanced = tokio::time::timeout(QUIET, shutdown.run_until_cancelled(self.advance()));
            match advanced.await {
                Err(_) => return Some(KEEP_ALIVE),
                Ok(Some(Ok(()))) => {}
                Ok(Some(Err(error))) => {
                    debug!(error = format!("{error:#}"), "a page is cut off");
                    return None;
                }
                Ok(None) => return None,
            }
        }
    }

    /// One step; safe to be dropped at any await.
    async fn advance(&mut self) -> anyhow::Result<()> {
        match &mut self.source {
            Source::Start => self.start().await?,
            Source::Behind { scan, until } => match scan.next().await? {
                Some(found) => self.queue.extend(Frame::message(&self.site.shared.names, &found)),
                None => {
                    self.seen = self.seen.max(Some(*until));
                    self.source = Source::Start;
                }
            },
            Source::Live(live) => {
                let frame = live.recv().await.context("it fell behind the log")?;
                if frame.sequence.is_none_or(|sequence| self.seen.is_none_or(|seen| seen < sequence)) {
                    self.queue.push_back(frame);
                }
            }
        }
        Ok(())
    }

    async fn start(&mut self) -> anyhow::Result<()> {
        let tail = &self.site.tail;
        let Some(seen) = self.seen else {
            self.go_live(self.site.tail.join());
            return Ok(());
        };
        let last = tail.last().await;
        let shared = &self.site.shared;
        if seen > last {
            // Either the tail is a moment late, or the log was started anew since.
            let log = shared.jetstream.get_stream(shared.names.ops_stream()).await?;
            if seen > log.cached_info().state.last_sequence {
                self.seen = None;
                return Ok(());
            }
        }
        if let Some(joined) = tail.join_after(seen) {
            self.go_live(joined);
            return Ok(());
        }
        let log = shared.jetstream.get_stream(shared.names.ops_stream()).await?;
        let from = DeliverPolicy::ByStartSequence { start_sequence: seen + 1 };
        let scan = Box::new(Scan::open(&log, shared.names.all_ops(), from).await?);
        self.source = Source::Behind { scan, until: last };
        Ok(())
    }

    fn go_live(&mut self, (frames, live): Joined) {
        self.queue.extend(frames);
        self.queue.push_back(Frame { sequence: None, bytes: LIVE });
        self.source = Source::Live(live);
    }
}
