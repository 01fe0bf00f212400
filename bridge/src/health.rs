//! The bridge's HTTP port: `/healthz`, `/readyz` and `/metrics` for supervisors and Prometheus, and the requests of chats' platforms and of webhooks.

use std::sync::{Arc, PoisonError};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, Request, State as Extract};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use service::http::serve::{self, Limits};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::chat::door::{self, Doors};
use crate::chat::session::State;
use crate::chat::sessions::States;
use crate::metrics::{Metrics, SessionLabel};
use crate::outbox::Outbox;
use crate::webhook::door::Hooks;

/// Supervisors and Prometheus ask a few times a second at most; a chat's platform waits seconds for a bridge that is slow.
const LIMITS: Limits = Limits { requests: 64, patience: serve::PATIENCE, always: &["/healthz", "/readyz"] };

/// Serves until `stop`, which comes last: while the process drains, `/healthz` still answers.
pub(crate) async fn serve(
    listener: TcpListener,
    health: Health,
    doors: Doors,
    hooks: Hooks,
    stop: CancellationToken,
) {
    let slack = Router::new().route("/slack/{name}", post(slack)).with_state((doors, hooks.clone()));
    let slack = slack.layer(DefaultBodyLimit::max(door::LARGEST));
    let routes = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(render))
        .with_state(health)
        .merge(slack)
        .merge(hooks.routes());
    serve::serve(listener, routes, LIMITS, stop).await;
}

/// A request to one of Slack's addresses: that of a chat by its name, or that of a webhook by its token.
async fn slack(
    Extract((doors, hooks)): Extract<(Doors, Hooks)>,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    match doors.chat("slack", &name) {
        Some(chat) => doors.deliver("slack", chat, request).await,
        None => hooks.slack(&name, request).await,
    }
}

/// The parts whose state is told. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Health {
    outbox: Outbox,
    metrics: Arc<Metrics>,
    pub(crate) chats: States,
    mqtt: States,
}

impl Health {
    pub(crate) fn new(outbox: Outbox, metrics: Arc<Metrics>, mqtt: States) -> Health {
        Health { outbox, metrics, chats: States::default(), mqtt }
    }

    /// Notes the present state of each chat and each intake of MQTT for the metrics.
    fn count(&self) {
        self.metrics.sessions.clear();
        for (kind, states) in [("chat", &self.chats), ("mqtt", &self.mqtt)] {
            for (name, state) in states.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                let is_up = *state.lock().unwrap_or_else(PoisonError::into_inner) == State::Held(None);
                let label = SessionLabel { kind, name: name.clone() };
                self.metrics.sessions.get_or_create(&label).set(is_up.into());
            }
        }
    }

    /// A line for each chat and each intake of MQTT, and whether the lease of one cannot be had.
    fn lines(&self) -> (String, bool) {
        let mut lacks_lease = false;
        let mut lines = String::new();
        for (kind, states) in [("chat", &self.chats), ("mqtt", &self.mqtt)] {
            for (name, state) in states.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                let state = match &*state.lock().unwrap_or_else(PoisonError::into_inner) {
                    State::StandingBy => "another bridge has it, or it is still to be won".to_owned(),
                    State::Held(None) => "heard".to_owned(),
                    State::Held(Some(trouble)) => format!("not heard: {trouble}"),
                    State::NoLease(trouble) => {
                        lacks_lease = true;
                        format!("no lease: {trouble}")
                    }
                };
                lines += &format!("{kind} {name}: {state}\n");
            }
        }
        (lines, lacks_lease)
    }
}

/// Ready means that a message would reach the log now, and that leases can be won; never that a chat's platform is there.
async fn readyz(Extract(health): Extract<Health>) -> Response {
    let (lines, lacks_lease) = health.lines();
    let trouble = health.outbox.trouble().await;
    match trouble.or_else(|| lacks_lease.then(|| "the lease of a chat cannot be had".into())) {
        None => format!("ready\n{lines}").into_response(),
        Some(trouble) => (StatusCode::SERVICE_UNAVAILABLE, format!("{trouble}\n{lines}")).into_response(),
    }
}

async fn render(Extract(health): Extract<Health>) -> Response {
    health.count();
    ([(CONTENT_TYPE, service::metrics::CONTENT_TYPE)], health.metrics.text()).into_response()
}
