//! `/healthz`, `/readyz` and `/metrics`, for supervisors and Prometheus.

use std::future::IntoFuture;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::metrics::Metrics;
use crate::outbox::Outbox;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves until the process ends: while it drains, `/healthz` still answers.
pub(crate) async fn serve(
    listener: TcpListener,
    outbox: Outbox,
    metrics: Arc<Metrics>,
) -> std::io::Result<()> {
    let routes = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz).with_state(outbox))
        .route("/metrics", get(render).with_state(metrics));
    axum::serve(listener, routes).into_future().await
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
