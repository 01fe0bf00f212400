//! `/healthz` and `/readyz`, open to every client that reaches the port, and `/metrics`, for callers who may see the
//! page. None of them contains a message.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use super::Site;
use crate::status::Role;
use service::http::problem::Problem;

/// Checks that the whole process works, not only this thread.
pub(super) async fn healthz(State(site): State<Arc<Site>>) -> Result<&'static str, Problem> {
    site.shared.status.alive().map(|()| "ok\n").map_err(Problem::unavailable)
}

/// Checks that NATS and the streams work, for a leading relay and one that stands by. Independent of the rooms' states.
pub(super) async fn readyz(State(site): State<Arc<Site>>) -> Result<&'static str, Problem> {
    match site.shared.status.ready() {
        Ok(Role::Leading) => Ok("leading\n"),
        Ok(_) => Ok("standing by\n"),
        Err(reason) => Err(Problem::unavailable(reason)),
    }
}

pub(super) async fn metrics(State(site): State<Arc<Site>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, service::metrics::CONTENT_TYPE)], site.shared.metrics.encode())
}
