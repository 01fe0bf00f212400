//! The page, its API, health and metrics: a view of the log, served over HTTP. It reads the streams itself, and does
//! not route or post. Actions of its users (send, retry, give up) it writes to the streams, like any other client.
//!
//! ```text
//!  HAL_OPS ──▶ tail (the last messages, and new ones) ──▶ stream ──▶ open pages
//!          └─▶ index (on disk) ──▶ api ──▶ the pages' scripts, and other clients
//! ```

mod access;
mod answers;
mod api;
mod assets;
mod command;
mod event;
mod guard;
mod health;
mod params;
mod shared;
mod site;
mod tail;
mod views;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use service::http::problem::Problem;
use service::http::serve::{self, Limits};
use tellhal::command::Gate;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, Semaphore};
use tokio_util::sync::CancellationToken;
use tower_http::compression::CompressionLayer;

pub use self::shared::Shared;

use self::access::Access;
use self::answers::Answers;
use self::guard::guard;
use self::site::Site;
use self::tail::Tail;
use crate::config::page::Role;
use crate::index::{Origin, follow};

/// The number of pages that may be open at once.
const READERS: usize = 256;
/// The number of exports under way at once; each holds some megabytes.
const EXPORTS: usize = 4;
/// Each open page holds one request; the others are for questions.
const LIMITS: Limits =
    Limits { requests: 2 * READERS, patience: serve::PATIENCE, always: &["/healthz", "/readyz"] };
/// Time for open requests to end when the relay stops.
const GRACE: Duration = Duration::from_secs(2);
/// Interval at which the index's progress is measured for metrics.
const MEASURE: Duration = Duration::from_secs(5);

/// Binds the port, so that a port in use is reported before other parts start.
pub fn bind(listen: SocketAddr) -> anyhow::Result<std::net::TcpListener> {
    let bound = std::net::TcpListener::bind(listen);
    let listener = bound.with_context(|| {
        format!(
            "page.listen: cannot listen on {listen}; stop the process that uses it, or choose another address"
        )
    })?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves the page and keeps the index up to date until `shutdown`. Answers chat commands that `commands` takes, if it is given.
pub async fn serve(
    listener: std::net::TcpListener,
    shared: Shared,
    commands: Option<Gate>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let access = Access::open(&shared.config).context("page.tokens")?;
    let readers = Arc::new(Semaphore::new(READERS));
    let exports = Arc::new(Semaphore::new(EXPORTS));
    let (tail, answers) = (Tail::new(), Answers::new());
    let (told, headlines, stop) = (Mutex::default(), Mutex::default(), shutdown.clone());
    let site =
        Arc::new(Site { shared, access, tail, readers, exports, answers, told, headlines, shutdown: stop });
    let overdue = async {
        shutdown.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    let work = async {
        tokio::join!(
            site.tail.run(&site.shared, shutdown.clone()),
            keep_index(&site.shared, shutdown.clone()),
            command::serve(&site, commands, shutdown.clone()),
            serve::serve(listener, routes(&site), LIMITS, shutdown.clone())
        )
    };
    tokio::select! {
        ((), (), (), ()) = work => {}
        () = overdue => {}
    }
    Ok(())
}

async fn keep_index(shared: &Shared, shutdown: CancellationToken) {
    let Ok(index) = &shared.index else { return };
    let measure = async {
        loop {
            tokio::time::sleep(MEASURE).await;
            shared
                .metrics
                .index_behind
                .set(i64::try_from(index.progress(Origin::Log).behind).unwrap_or(i64::MAX));
        }
    };
    tokio::select! {
        () = follow::run(index.clone(), shared.bus.clone(), shutdown) => {}
        () = measure => {}
    }
}

fn routes(site: &Arc<Site>) -> Router {
    let guard = from_fn_with_state((site.clone(), Role::Viewer), guard);
    let document = api::document().to_string();
    let document = get(async move || ([(header::CONTENT_TYPE, "application/json")], document));
    Router::new()
        .route("/metrics", get(health::metrics))
        .route_layer(guard)
        .merge(views::router(site))
        .merge(api::router(site))
        .merge(assets::router())
        .route("/api/openapi.json", document)
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .fallback(views::not_found)
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this address does not support the method")
                .into_response()
        })
        .layer(DefaultBodyLimit::max(serve::BODY))
        .layer(CompressionLayer::new())
        .layer(from_fn(hardened))
        .with_state(site.clone())
}

/// The OpenAPI document of the API.
pub fn openapi() -> serde_json::Value {
    api::document()
}

/// Headers for browsers: load files from this site only, run no inline script, allow no frame around the page.
async fn hardened(request: Request, next: Next) -> Response {
    const HEADERS: [(HeaderName, &str); 4] = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
             base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // With "no-referrer", browsers would hide the origin of our own forms too (`Origin: null`).
        (header::REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
