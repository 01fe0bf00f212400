//! `/healthz`, `/readyz` and `/metrics`, for supervisors and Prometheus.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use service::http::serve::{self, Limits};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::outbox::Outbox;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Supervisors and Prometheus ask a few times a second at most.
const LIMITS: Limits = Limits { requests: 64, patience: serve::PATIENCE, always: &["/healthz", "/readyz"] };

/// Serves until `stop`, which comes last: while the process drains, `/healthz` still answers.
pub(crate) async fn serve(
    listener: TcpListener,
    outbox: Outbox,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) {
    let routes = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz).with_state(outbox))
        .route("/metrics", get(render).with_state(metrics));
    serve::serve(listener, routes, LIMITS, stop).await;
}

/// Ready means that a message would reach the log now.
async fn readyz(State(outbox): State<Outbox>) -> Response {
    match outbox.trouble().await {
        None => "ready\n".into_response(),
        Some(trouble) => (StatusCode::SERVICE_UNAVAILABLE, format!("{trouble}\n")).into_response(),
    }
}

async fn render(State(metrics): State<Arc<Metrics>>) -> Response {
    match metrics.text() {
        Ok(text) => ([(CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
