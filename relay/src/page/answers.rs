//! The memory for answers: a limit for those that are made, and a budget of bytes for those that are sent. A client that
//! reads slowly, or not at all, holds its part of the budget for a limited time.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::Response;
use futures_util::stream;
use hyper::body::Body as _;
use service::http::serve::busy;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// Bytes of messages in one answer, after which the next page begins.
pub(super) const PAGE: usize = 4 << 20;
/// Bytes of all large answers that are being sent.
const SENT: usize = 64 << 20;
/// Smaller answers are not counted: the number of requests limits them.
const SMALL: usize = 64 << 10;
/// Answers that are made of many messages at the same time.
const MADE: usize = 4;
/// The number of clients that are sent older messages of the log at the same time.
const BEHIND: usize = 16;
/// The time that a client has to take a large answer.
const TAKEN: Duration = Duration::from_secs(60);
/// The part of an answer that is sent at once.
const PART: usize = 64 << 10;

/// The bytes that further answers may take.
#[derive(Clone)]
pub(super) struct Answers {
    made: Arc<Semaphore>,
    sent: Arc<Semaphore>,
    /// The turns of streams that read older messages of the log.
    pub(super) behind: Arc<Semaphore>,
}

impl Answers {
    pub(super) fn new() -> Self {
        let of = |permits| Arc::new(Semaphore::new(permits));
        Answers { made: of(MADE), sent: of(SENT), behind: of(BEHIND) }
    }

    /// Waits for the turn to make an answer of many messages. It lasts as long as the permit.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed.
        self.made.acquire().await.ok()
    }
}

/// Sends a large answer in parts and within its time, if the budget allows it.
pub(super) async fn within_budget(State(answers): State<Answers>, request: Request, next: Next) -> Response {
    let (mut head, body) = next.run(request).await.into_parts();
    let size = match body.size_hint().exact().and_then(|size| usize::try_from(size).ok()) {
        Some(size) if size > SMALL => size,
        _ => return Response::from_parts(head, body),
    };
    let part = u32::try_from(size.min(SENT)).unwrap_or(u32::MAX);
    let Ok(permit) = answers.sent.clone().try_acquire_many_owned(part) else {
        return busy("too many large answers are being sent");
    };
    let Ok(bytes) = to_bytes(body, usize::MAX).await else {
        return busy("the answer could not be made");
    };
    head.headers.insert(header::CONTENT_LENGTH, size.into());
    Response::from_parts(head, in_parts(bytes, permit))
}

fn in_parts(bytes: Bytes, permit: OwnedSemaphorePermit) -> Body {
    let until = Instant::now() + TAKEN;
    Body::from_stream(stream::unfold((bytes, permit), move |(mut bytes, permit)| {
        let part = match () {
            () if bytes.is_empty() => None,
            () if Instant::now() > until => Some(Err(std::io::Error::from(std::io::ErrorKind::TimedOut))),
            () => Some(Ok(bytes.split_to(PART.min(bytes.len())))),
        };
        std::future::ready(part.map(|part| (part, (bytes, permit))))
    }))
}
