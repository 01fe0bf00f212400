//! A server with limits on requests, connections and the time a client may take, so that clients cannot use up the
//! resources that the rest of the service needs, nor keep others from asking for its health.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body as AnyBody, Bytes};
use axum::extract::{ConnectInfo, FromRequest};
use axum::http::{HeaderValue, Request, Response, StatusCode, header};
use axum::response::IntoResponse as _;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::problem::Problem;

/// The pause after a connection could not be accepted for lack of files or memory.
const PAUSE: Duration = Duration::from_secs(1);

/// The time a client may take to send a request's head, then its body, and to take the next bytes of an answer, and the
/// time a connection may be idle.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The largest body, in bytes: a text of 64 KiB in which every character is escaped. A longer text is shortened.
pub const BODY: usize = 512 * 1024;

/// Connections beside those with a request: idle ones, and those that ask for the health.
const SPARE: usize = 64;

/// The limits of a server.
#[derive(Clone, Copy)]
pub struct Limits {
    /// Requests at once; further ones are refused.
    pub requests: usize,
    pub patience: Duration,
    /// Addresses that are answered however many requests there are, such as that of the health.
    pub always: &'static [&'static str],
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

/// Accepts connections until `shutdown`, then finishes open requests. When there are too many connections, the one that
/// has been idle longest is closed for a new one.
pub async fn serve(listener: TcpListener, routes: Router, limits: Limits, shutdown: CancellationToken) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.patience);
    let open = Arc::new(Connections::new(limits));
    let under_way = GracefulShutdown::new();
    let accepting = async {
        loop {
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(%error, "cannot accept a connection; trying again");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let Some(connection) = open.admit().await else { return };
            // A single event shall be sent at once and not wait for the next.
            if let Err(error) = stream.set_nodelay(true) {
                debug!(%error, "cannot set TCP_NODELAY on an HTTP connection");
            }
            let mut stream = TimeoutStream::new(stream);
            stream.set_write_timeout(Some(limits.patience));
            let (routes, evicted) = (TowerToHyperService::new(routes.clone()), connection.evicted.clone());
            let service = service_fn(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(ConnectInfo(peer));
                let (held, is_allowed) = connection.begin(request.uri().path());
                let answer = is_allowed.then(|| routes.call(request));
                async move {
                    let response = match answer {
                        Some(answer) => answer.await?,
                        None => busy("there are too many requests at once"),
                    };
                    Ok::<_, Infallible>(response.map(|body| Held { body, _held: held }))
                }
            });
            let served = under_way.watch(http.serve_connection(TokioIo::new(Box::pin(stream)), service));
            tokio::spawn(async move {
                tokio::select! {
                    ended = served => if let Err(error) = ended {
                        debug!(%error, "an HTTP connection failed");
                    },
                    () = evicted.cancelled() => debug!("an idle HTTP connection was closed for a new one"),
                }
            });
        }
    };
    shutdown.run_until_cancelled(accepting).await;
    drop(listener);
    under_way.shutdown().await;
}

/// The answer of a server that has too much to do for this request now.
pub fn busy(what: &str) -> Response<AnyBody> {
    let mut response = Problem::unavailable(format!("{what}; try again in a moment")).into_response();
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
    response
}

/// The open connections.
struct Connections {
    always: &'static [&'static str],
    places: Arc<Semaphore>,
    requests: Arc<Semaphore>,
    idle: Mutex<Idle>,
}

/// The connections without a request, the longest idle first.
#[derive(Default)]
struct Idle {
    by_age: BTreeMap<u64, CancellationToken>,
    next: u64,
}

/// One connection; it is closed by the token.
struct Connection {
    all: Arc<Connections>,
    /// Its key among the idle ones.
    since: Mutex<u64>,
    evicted: CancellationToken,
    _place: OwnedSemaphorePermit,
}

/// A request and its answer, until the answer is sent or given up.
struct UnderWay {
    connection: Arc<Connection>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Connections {
    fn new(limits: Limits) -> Self {
        Connections {
            always: limits.always,
            places: Arc::new(Semaphore::new(limits.requests + SPARE)),
            requests: Arc::new(Semaphore::new(limits.requests)),
            idle: Mutex::default(),
        }
    }

    /// A place for a new connection. If there is none, the connection that has been idle longest is closed.
    async fn admit(self: &Arc<Self>) -> Option<Arc<Connection>> {
        if self.places.available_permits() == 0
            && let Some((_, oldest)) = self.idle().by_age.pop_first()
        {
            oldest.cancel();
        }
        let place = self.places.clone().acquire_owned().await.ok()?;
        let (all, since, evicted) = (self.clone(), Mutex::default(), CancellationToken::new());
        let connection = Arc::new(Connection { all, since, evicted, _place: place });
        connection.rest();
        Some(connection)
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// Begins a request; false if there are too many.
    fn begin(self: &Arc<Self>, path: &str) -> (UnderWay, bool) {
        self.leave();
        let permit = self.all.requests.clone().try_acquire_owned().ok();
        let is_allowed = permit.is_some() || self.all.always.contains(&path);
        (UnderWay { connection: self.clone(), _permit: permit }, is_allowed)
    }

    /// Joins the idle connections, as their youngest.
    fn rest(&self) {
        let mut idle = self.all.idle();
        let since = idle.next;
        idle.next += 1;
        idle.by_age.insert(since, self.evicted.clone());
        *self.since() = since;
    }

    fn leave(&self) {
        let since = *self.since();
        self.all.idle().by_age.remove(&since);
    }

    fn since(&self) -> MutexGuard<'_, u64> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.connection.rest();
    }
}

/// An answer's body, with its request.
struct Held {
    body: AnyBody,
    _held: UnderWay,
}

impl hyper::body::Body for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    const PATIENT: Limits = Limits { requests: 2, patience: Duration::from_secs(600), always: &["/healthz"] };
    const SOON: Duration = Duration::from_secs(20);

    async fn serving(routes: Router, limits: Limits) -> (std::net::SocketAddr, CancellationToken) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let routes = routes.route("/", get(async || "here")).route("/healthz", get(async || "ok"));
        tokio::spawn(serve(listener, routes, limits, stop.clone()));
        (address, stop)
    }

    async fn send(address: std::net::SocketAddr, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    async fn ask(address: std::net::SocketAddr, path: &str) -> String {
        let mut answer = String::new();
        let mut stream = send(address, path).await;
        let reading = stream.read_to_string(&mut answer);
        tokio::time::timeout(SOON, reading).await.expect("an answer in time").unwrap();
        answer
    }

    #[tokio::test]
    async fn idle_connections_give_way_to_new_ones() {
        let (address, stop) = serving(Router::new(), PATIENT).await;
        let mut idle = Vec::new();
        for _ in 0..2 * (PATIENT.requests + SPARE) {
            idle.push(TcpStream::connect(address).await.unwrap());
        }
        assert!(ask(address, "/").await.ends_with("here"));
        let mut rest = Vec::new();
        idle[0].read_to_end(&mut rest).await.unwrap();
        stop.cancel();
    }

    #[tokio::test]
    async fn requests_over_the_limit_are_refused_and_the_health_is_answered() {
        let routes = Router::new().route("/slow", get(std::future::pending::<()>));
        let (address, stop) = serving(routes, PATIENT).await;
        let slow = [send(address, "/slow").await, send(address, "/slow").await];
        // A request leaves no trace on the client's side when it has begun.
        let refused = async {
            loop {
                let answer = ask(address, "/").await;
                if answer.starts_with("HTTP/1.1 503") {
                    return answer;
                }
            }
        };
        let answer = tokio::time::timeout(SOON, refused).await.expect("a refusal in time");
        assert!(answer.contains("retry-after: 2\r\n") && answer.contains("too many requests"), "{answer}");
        assert!(ask(address, "/healthz").await.ends_with("ok"));
        drop(slow);
        stop.cancel();
    }

    /// A body without an end, which drops its sender when it is given up.
    struct Endless(#[expect(dead_code, reason = "its end is waited for")] tokio::sync::oneshot::Sender<()>);

    impl hyper::body::Body for Endless {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 4096])))))
        }
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_is_disconnected() {
        let (given_up, end) = tokio::sync::oneshot::channel();
        let given_up = Arc::new(Mutex::new(Some(given_up)));
        let endless = async move || AnyBody::new(Endless(given_up.lock().unwrap().take().unwrap()));
        let limits = Limits { patience: Duration::from_millis(100), ..PATIENT };
        let (address, stop) = serving(Router::new().route("/endless", get(endless)), limits).await;
        let unread = send(address, "/endless").await;
        assert!(tokio::time::timeout(SOON, end).await.expect("the answer is given up in time").is_err());
        drop(unread);
        stop.cancel();
    }

    #[tokio::test]
    async fn a_silent_or_slow_client_is_disconnected() {
        let limits = Limits { patience: Duration::from_millis(50), ..PATIENT };
        let (address, stop) = serving(Router::new(), limits).await;
        let mut idle = TcpStream::connect(address).await.unwrap();
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nx-slow: ").await.unwrap();
        let mut rest = Vec::new();
        idle.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"");
        // The client may get an answer, or only be disconnected.
        let _ = slow.read_to_end(&mut rest).await;
        assert!(ask(address, "/").await.ends_with("here"));
        stop.cancel();
    }
}
