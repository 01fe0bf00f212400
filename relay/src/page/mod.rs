//! The page, health and metrics: a window on the log, served over HTTP. It reads the log itself and is
//! told only what is not there; it never posts, routes or decides anything.

mod event;
mod health;
mod problem;
mod stream;
mod tail;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use tellhal::subject::Names;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, broadcast};
use tokio_util::sync::CancellationToken;

use self::problem::Problem;
use self::tail::Tail;
use crate::delivery::Delivery;
use crate::metrics::Metrics;
use crate::status::Status;

/// How many pages may be open at once.
const READERS: usize = 256;
/// How long open requests may take to end once the relay stops.
const GRACE: Duration = Duration::from_secs(2);

/// What the page needs of the relay.
pub struct Shared {
    pub status: Arc<Status>,
    pub metrics: Arc<Metrics>,
    pub jetstream: async_nats::jetstream::Context,
    pub names: Names,
    /// Deliveries to the room `page`, of which those are shown that are not in the log.
    pub feed: broadcast::Receiver<Arc<Delivery>>,
}

/// What every request reaches.
struct Site {
    shared: Shared,
    tail: Tail,
    readers: Arc<Semaphore>,
    shutdown: CancellationToken,
}

/// Takes the port, so that a port in use is known before anything else starts.
pub async fn bind(listen: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(listen).await.with_context(|| {
        format!("page.listen: cannot listen on {listen}; stop what uses it or choose another address there")
    })
}

/// Serves the page until `shutdown`.
pub async fn serve(listener: TcpListener, shared: Shared, shutdown: CancellationToken) -> anyhow::Result<()> {
    let readers = Arc::new(Semaphore::new(READERS));
    let site = Arc::new(Site { shared, tail: Tail::new(), readers, shutdown: shutdown.clone() });
    let service = routes(site.clone()).into_make_service_with_connect_info::<SocketAddr>();
    let server = axum::serve(listener, service).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    let overdue = async {
        shutdown.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        ((), served) = async { tokio::join!(site.tail.run(&site.shared, shutdown.clone()), server.into_future()) } => {
            served.context("page")
        }
        () = overdue => Ok(()),
    }
}

fn routes(site: Arc<Site>) -> Router {
    Router::new()
        .route("/", asset("text/html; charset=utf-8", include_str!("assets/index.html")))
        .route("/page.css", asset("text/css; charset=utf-8", include_str!("assets/page.css")))
        .route("/page.js", asset("text/javascript; charset=utf-8", include_str!("assets/page.js")))
        .route("/icon.svg", asset("image/svg+xml", include_str!("assets/icon.svg")))
        .route("/api/stream", get(stream::stream))
        .layer(from_fn(only_here))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "there is nothing here; the page is at /"))
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this can only be read: use GET")
        })
        .layer(from_fn(hardened))
        .with_state(site)
}

/// A file that is built in.
fn asset(kind: &'static str, body: &'static str) -> MethodRouter<Arc<Site>> {
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")];
    get(move || async move { (headers, body) })
}

/// Messages are shown to this machine only, until there are tokens to ask for: whatever address the port
/// is bound to. A name in `Host` is refused as well, since a web page elsewhere can make its own name
/// point here (DNS rebinding); addresses and `localhost` it cannot.
async fn only_here(ConnectInfo(peer): ConnectInfo<SocketAddr>, request: Request, next: Next) -> Response {
    let what = if !peer.ip().to_canonical().is_loopback() {
        "messages are shown on the relay's own machine only; use a tunnel, such as ssh -L 8480:127.0.0.1:8480"
    } else if !request.headers().get(header::HOST).is_none_or(is_address) {
        "open the page by its address or as localhost, not by another name"
    } else {
        return next.run(request).await;
    };
    Problem::new(StatusCode::FORBIDDEN, what).into_response()
}

fn is_address(host: &HeaderValue) -> bool {
    let Ok(host) = host.to_str() else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

/// Nothing is loaded from elsewhere, nothing inline runs, nobody may frame the page.
async fn hardened(request: Request, next: Next) -> Response {
    const HEADERS: [(HeaderName, &str); 3] = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_others_control_are_refused() {
        let hosts = [
            ("127.0.0.1:8480", true),
            ("127.0.0.1", true),
            ("[::1]:8480", true),
            ("LocalHost:80", true),
            ("10.0.0.5:8480", true),
            ("evil.example:8480", false),
            ("127.0.0.1.evil.example", false),
            ("localhost.evil.example:8480", false),
            ("", false),
        ];
        for (host, fine) in hosts {
            assert_eq!(is_address(&HeaderValue::from_static(host)), fine, "{host}");
        }
    }
}
