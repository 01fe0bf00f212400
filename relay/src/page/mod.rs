//! The page, its API, health and metrics: a window on the log, served over HTTP. It reads the streams itself; it
//! posts, routes and decides nothing. What people do with it (tell, retry, drop) it writes on the log, like any
//! other client.
//!
//! ```text
//!  HAL_OPS ──▶ tail (the last messages, and what comes) ──▶ stream ──▶ open pages
//!          └─▶ index (on disk) ──▶ api ──▶ views' scripts, and whoever else asks
//! ```

mod access;
mod api;
mod assets;
mod event;
mod health;
mod params;
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
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tower_http::compression::CompressionLayer;

use self::access::Access;
use self::tail::Tail;
use crate::bus::Bus;
use crate::config::page::{Page, Role};
use crate::engine::Rules;
use crate::index::{Index, Origin};
use crate::lead::workers::Rooms;
use crate::status::Status;
use crate::status::metrics::Metrics;

/// How many pages may be open at once.
const READERS: usize = 256;
/// Every one has a connection, and whoever asks for something else needs one too.
const LIMITS: Limits = Limits { connections: 2 * READERS, patience: serve::PATIENCE };
/// How long open requests may take to end once the relay stops.
const GRACE: Duration = Duration::from_secs(2);
/// How often the index's progress is told as a metric.
const MEASURE: Duration = Duration::from_secs(5);

/// What the page needs of the relay.
pub struct Shared {
    pub config: Page,
    pub bus: Bus,
    pub status: Arc<Status>,
    pub metrics: Arc<Metrics>,
    /// The rules and rooms of this relay's configuration.
    pub rules: watch::Receiver<Arc<Rules>>,
    pub rooms: watch::Receiver<Arc<Rooms>>,
    /// The index, or why there is none.
    pub index: Result<Arc<Index>, String>,
}

/// What every request reaches.
struct Site {
    shared: Shared,
    access: Access,
    tail: Tail,
    readers: Arc<Semaphore>,
    shutdown: CancellationToken,
}

impl Site {
    fn index(&self) -> Result<&Arc<Index>, Problem> {
        let none = |reason: &String| Problem::unavailable(format!("there is no index: {reason}"));
        self.shared.index.as_ref().map_err(none)
    }
}

/// Takes the port, so that a port in use is known before anything else starts.
pub fn bind(listen: SocketAddr) -> anyhow::Result<std::net::TcpListener> {
    let bound = std::net::TcpListener::bind(listen);
    let listener = bound.with_context(|| {
        format!("page.listen: cannot listen on {listen}; stop what uses it or choose another address there")
    })?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves the page, and keeps the index in step, until `shutdown`.
pub async fn serve(
    listener: std::net::TcpListener,
    shared: Shared,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let access = Access::open(&shared.config).context("page.tokens")?;
    let readers = Arc::new(Semaphore::new(READERS));
    let site = Arc::new(Site { shared, access, tail: Tail::new(), readers, shutdown: shutdown.clone() });
    let overdue = async {
        shutdown.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    let work = async {
        tokio::join!(
            site.tail.run(&site.shared, shutdown.clone()),
            keep_index(&site.shared, shutdown.clone()),
            serve::serve(listener, routes(&site), LIMITS, shutdown.clone())
        )
    };
    tokio::select! {
        ((), (), ()) = work => {}
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
        () = index.clone().run(shared.bus.clone(), shutdown) => {}
        () = measure => {}
    }
}

fn routes(site: &Arc<Site>) -> Router {
    let guard = from_fn_with_state((site.clone(), Role::Viewer), access::guard);
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
        .fallback(views::nothing_here)
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this address does not take that method")
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

/// Nothing is loaded from elsewhere, nothing inline runs, nobody may frame the page.
async fn hardened(request: Request, next: Next) -> Response {
    const HEADERS: [(HeaderName, &str); 4] = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
             base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // With "no-referrer" browsers would not say either that our own forms are from here (`Origin: null`).
        (header::REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
