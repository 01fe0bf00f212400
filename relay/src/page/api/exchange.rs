//! The forms in which every handler takes its request and gives its answer.

use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequest, Path, Query, Request};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use service::http::problem::Problem;
use service::http::serve::Body;

/// A request's query parameters, unchecked.
pub(super) type Given = Result<Query<Vec<(String, String)>>, QueryRejection>;
/// The value of `{…}` in an address.
pub(super) type Named<T> = Result<Path<T>, PathRejection>;

/// A body that must be JSON.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let kind = kind.and_then(|kind| kind.split(';').next()).map(str::trim);
        if !kind.is_some_and(|kind| kind.eq_ignore_ascii_case("application/json")) {
            let what = "the body must be JSON: Content-Type: application/json";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, what));
        }
        let Body(body) = Body::from_request(request, state).await?;
        let read = serde_json::from_slice(&body);
        read.map(Json).map_err(|error| Problem::bad(format!("the body: {error}")))
    }
}

/// An answer in JSON, which must not be cached.
pub(super) fn answer(status: StatusCode, body: &impl Serialize) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    match serde_json::to_vec(body) {
        Ok(body) => (status, headers, body).into_response(),
        Err(error) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// The problem of an entry that was not appended. Without an answer of the server, nobody knows whether the log has it.
pub(super) fn unacknowledged(error: anyhow::Error, server: &str, again: &str) -> Problem {
    let kind = error.downcast_ref::<PublishError>().map(PublishError::kind);
    match kind {
        Some(PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe) => Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            format!("{server} has not acknowledged it, and it may still arrive; {again}"),
        ),
        _ => error.into(),
    }
}

pub(super) fn ok(body: &impl Serialize) -> Response {
    answer(StatusCode::OK, body)
}
