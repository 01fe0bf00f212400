//! A listener for what publishes to ntfy, with topics that are mapped to tags. There is nothing to subscribe to: messages are read in
//! the rooms where they are posted.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use service::http::serve::{self, Limits};
use tellhal::Message;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::door::Hooks;
use super::intake::Config as Intake;

const LIMITS: Limits = Limits { requests: 64, patience: serve::PATIENCE, always: &[] };

/// The listener's settings, checked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    pub(crate) listen: SocketAddr,
    pub(crate) intake: Intake,
}

/// Serves until `stop`.
pub(crate) async fn serve(listener: TcpListener, hooks: Hooks, stop: CancellationToken) {
    let publish = post(publish).put(publish);
    let routes =
        Router::new().route("/", publish.clone()).route("/{topic}", publish).with_state(Arc::new(hooks));
    serve::serve(listener, routes, LIMITS, stop).await;
}

async fn publish(State(hooks): State<Arc<Hooks>>, request: axum::extract::Request) -> Response {
    match hooks.ntfy(request).await {
        Ok(message) => Json(published(&message)).into_response(),
        Err((status, what)) => {
            let body = Json(json!({ "code": code(status), "http": status.as_u16(), "error": what }));
            (status, body).into_response()
        }
    }
}

/// A message as ntfy answers with it.
fn published(message: &Message) -> Value {
    let mut answer = json!({
        "id": message.id,
        "time": message.time.0 / 1000,
        "event": "message",
        "topic": message.fields.get("topic"),
        "message": message.text,
    });
    if let Some(title) = &message.title {
        answer["title"] = title.as_str().into();
    }
    if let Some(link) = message.links.first() {
        answer["click"] = link.url.as_str().into();
    }
    answer
}

/// ntfy's number for a mistake.
fn code(status: StatusCode) -> u32 {
    match status {
        StatusCode::UNAUTHORIZED => 40101,
        StatusCode::NOT_FOUND => 40401,
        StatusCode::PAYLOAD_TOO_LARGE => 41301,
        StatusCode::SERVICE_UNAVAILABLE => 50301,
        _ => 40001,
    }
}
