//! A server with limits on the number of connections and on the time a client may take, so that clients cannot use up
//! the resources that the rest of the service needs.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, FromRequest};
use axum::http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::problem::Problem;

/// The pause after a connection could not be accepted for lack of files or memory.
const PAUSE: Duration = Duration::from_secs(1);

/// The time a client may take to send a request's head, then its body, and the time a connection may be idle.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The largest body, in bytes: a text of 64 KiB in which every character is escaped. A longer text is shortened.
pub const BODY: usize = 512 * 1024;

/// The limits of connections.
#[derive(Clone, Copy)]
pub struct Limits {
    /// Connections at once; further ones wait until one ends.
    pub connections: usize,
    pub patience: Duration,
}

/// A request's whole body.
pub struct Body(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Problem;

    async fn from_request(request: axum::extract::Request, state: &S) -> Result<Self, Problem> {
        match tokio::time::timeout(PATIENCE, Bytes::from_request(request, state)).await {
            Ok(Ok(body)) => Ok(Body(body)),
            Ok(Err(error)) => Err(Problem::new(
                error.status(),
                format!("{}; at most {BODY} bytes are allowed", error.body_text()),
            )),
            Err(_) => Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time")),
        }
    }
}

/// Accepts connections until `shutdown`, then finishes open requests.
pub async fn serve(listener: TcpListener, routes: Router, limits: Limits, shutdown: CancellationToken) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.patience);
    let places = Arc::new(Semaphore::new(limits.connections));
    let under_way = GracefulShutdown::new();
    let accepting = async {
        while let Ok(place) = places.clone().acquire_owned().await {
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(%error, "cannot accept a connection; trying again");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            // A single event shall be sent at once and not wait for the next.
            if let Err(error) = stream.set_nodelay(true) {
                debug!(%error, "cannot set TCP_NODELAY on an HTTP connection");
            }
            let routes = TowerToHyperService::new(routes.clone());
            let service = service_fn(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(ConnectInfo(peer));
                routes.call(request)
            });
            let connection = under_way.watch(http.serve_connection(TokioIo::new(stream), service));
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    debug!(%error, "an HTTP connection failed");
                }
                drop(place);
            });
        }
    };
    shutdown.run_until_cancelled(accepting).await;
    drop(listener);
    under_way.shutdown().await;
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    async fn serving(limits: Limits) -> (std::net::SocketAddr, CancellationToken) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let routes = Router::new().route("/", get(async || "here"));
        tokio::spawn(serve(listener, routes, limits, stop.clone()));
        (address, stop)
    }

    async fn ask(address: std::net::SocketAddr) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn a_connection_over_the_limit_waits_for_a_free_place() {
        let (address, stop) = serving(Limits { connections: 2, patience: Duration::from_secs(600) }).await;
        let idle = [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];
        let third = tokio::spawn(ask(address));
        // A waiting client leaves no trace to wait for.
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!third.is_finished());
        drop(idle);
        assert!(third.await.unwrap().ends_with("here"));
        stop.cancel();
    }

    #[tokio::test]
    async fn a_silent_or_slow_client_is_disconnected() {
        let (address, stop) = serving(Limits { connections: 2, patience: Duration::from_millis(50) }).await;
        let mut idle = TcpStream::connect(address).await.unwrap();
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nx-slow: ").await.unwrap();
        let mut rest = Vec::new();
        idle.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"");
        // The client may get an answer, or only be disconnected.
        let _ = slow.read_to_end(&mut rest).await;
        assert!(ask(address).await.ends_with("here"));
        stop.cancel();
    }
}
