//! `/healthz` and `/readyz`, open to whoever reaches the port, and `/metrics`, for whoever may look at the page. There is
//! no message in any of them.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use super::Site;
use crate::status::Role;
use service::http::problem::Problem;

/// The process is alive, and not this thread of it alone.
pub(super) async fn healthz(State(site): State<Arc<Site>>) -> Result<&'static str, Problem> {
    site.shared.status.alive().map(|()| "ok\n").map_err(Problem::unavailable)
}

/// NATS and the streams are good, leading or standing by. Never a room's state.
pub(super) async fn readyz(State(site): State<Arc<Site>>) -> Result<&'static str, Problem> {
    match site.shared.status.ready() {
        Ok(Role::Leading) => Ok("leading\n"),
        Ok(_) => Ok("standing by\n"),
        Err(reason) => Err(Problem::unavailable(reason)),
    }
}

pub(super) async fn metrics(State(site): State<Arc<Site>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, crate::status::metrics::CONTENT_TYPE)], site.shared.metrics.encode())
}
