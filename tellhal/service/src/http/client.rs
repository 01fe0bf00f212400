//! The client of all rooms over HTTP: one POST, or one call of an API below the endpoint's address, bounded in time and
//! size, and the meaning of its answer. Follows no redirect, retries nothing, and shows no address beyond its host.

use std::error::Error as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reqwest::header::{
    CONNECTION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use reqwest::{Method, StatusCode, Upgraded, Url, dns};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::address::{is_private, is_private_literal};
use crate::hidden::Hidden;
use crate::platform::{Failure, Sent, TIMEOUT};
use crate::secret::Secret;
use crate::text::{cut, one_line};
use crate::tls;

/// Shorter than [`TIMEOUT`], so that this client can say whether the request was sent.
const DEADLINE: Duration = TIMEOUT.saturating_sub(Duration::from_millis(300));
const CONNECT: Duration = Duration::from_secs(2);
/// The longest time that the rest of an answer may take after its status.
const BODY: Duration = Duration::from_secs(1);
/// The most that is read of an answer, in bytes.
const BODY_LIMIT: usize = 64 * 1024;
/// The largest message of a WebSocket, in bytes.
const MESSAGE_LIMIT: usize = 1024 * 1024;
/// The longest wait a room may ask for.
pub const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// The most that an error shows of an answer, in bytes.
const EXCERPT: usize = 200;

/// A WebSocket that was opened with [`Endpoint::websocket`].
pub type WebSocket = WebSocketStream<Upgraded>;

/// The address that a room posts to.
pub struct Endpoint {
    client: reqwest::Client,
    url: Url,
    headers: HeaderMap,
    /// Secrets that no error may show, even if the server repeats them.
    hidden: Hidden,
    public_only: bool,
}

/// The way to reach an endpoint.
#[derive(Default)]
pub struct Reach<'a> {
    /// Refuse addresses of this machine and of private networks, and use no proxy of the environment.
    pub public_only: bool,
    /// A CA certificate to trust instead of the system's.
    pub tls_ca: Option<&'a Path>,
    /// A new connection for each request, so that each sees the server's certificate of that moment.
    pub connects_anew: bool,
}

/// An answer of any status.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub body: String,
    /// The body ended within the limits.
    pub complete: bool,
    /// The platform's own wish, at most [`LONGEST_WAIT`].
    pub wait: Option<Duration>,
    /// The server's certificate, in DER, of a connection over TLS.
    pub certificate: Option<Vec<u8>>,
}

/// An answer of any status, with its body as it came.
#[derive(Debug)]
pub struct Fetched {
    pub status: StatusCode,
    pub body: Vec<u8>,
    /// The body ended within the limits.
    pub complete: bool,
    wait: Option<Duration>,
    certificate: Option<Vec<u8>>,
}

impl Fetched {
    /// The answer as text.
    pub fn into_text(self) -> Answer {
        let Fetched { status, body, complete, wait, certificate } = self;
        Answer { status, body: String::from_utf8_lossy(&body).into_owned(), complete, wait, certificate }
    }
}

/// The bounds of one exchange.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The end of the whole exchange.
    pub deadline: Instant,
    /// The longest time that the rest of an answer may take after its status.
    pub rest: Duration,
    /// The most that is read of an answer, in bytes.
    pub limit: usize,
}

impl Bounds {
    /// The bounds of a post, which begins now.
    pub fn of_post() -> Self {
        Bounds { deadline: Instant::now() + DEADLINE, rest: BODY, limit: BODY_LIMIT }
    }
}

/// A call of an API below an endpoint's address.
#[derive(Debug)]
pub struct Call<'a> {
    pub method: Method,
    /// Segments behind the address' own path; each is escaped, so that none can name another call.
    pub path: Vec<&'a str>,
    pub query: Vec<(&'a str, &'a str)>,
    /// The body and its media type; JSON when there is no type.
    pub body: Vec<u8>,
    pub media_type: Option<HeaderValue>,
    pub bounds: Bounds,
}

impl Endpoint {
    pub fn new(url: &str, reach: &Reach) -> anyhow::Result<Self> {
        // The parser's error is fine, the address is not to be shown.
        let url = Url::parse(url).map_err(|error| anyhow::anyhow!("the address: {error}"))?;
        let mut client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::client(reach.tls_ca)?)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .tls_info(true)
            .user_agent(concat!("tellhal/", env!("CARGO_PKG_VERSION")));
        if reach.public_only {
            client = client.no_proxy().dns_resolver(Arc::new(PublicOnly));
        }
        if reach.connects_anew {
            client = client.pool_max_idle_per_host(0);
        }
        let mut hidden = Hidden::default();
        hidden.address(&url);
        Ok(Endpoint {
            client: client.build().map_err(reqwest::Error::without_url)?,
            hidden,
            url,
            headers: HeaderMap::from_iter([(
                CONTENT_TYPE,
                HeaderValue::from_static("application/json; charset=utf-8"),
            )]),
            public_only: reach.public_only,
        })
    }

    /// A header of every request whose value is a secret.
    pub fn header(&mut self, name: &str, value: &Secret) -> anyhow::Result<()> {
        let name = reqwest::header::HeaderName::try_from(name)?;
        let mut header = HeaderValue::from_str(value.reveal())
            .map_err(|_| anyhow::anyhow!("header {name}: its value cannot be sent"))?;
        header.set_sensitive(true);
        self.headers.insert(name, header);
        self.hidden.header(value.reveal());
        Ok(())
    }

    /// One POST of JSON.
    pub async fn post(&self, body: String, headers: HeaderMap) -> Result<Answer, Failure> {
        let request = self.client.post(self.url.clone()).headers(self.headers.clone()).headers(headers);
        Ok(self.exchange(request.body(body), Bounds::of_post()).await?.into_text())
    }

    /// One call.
    pub async fn call(&self, call: Call<'_>) -> Result<Answer, Failure> {
        Ok(self.fetch(call).await?.into_text())
    }

    /// One call whose answer may be no text, such as a picture.
    pub async fn fetch(&self, call: Call<'_>) -> Result<Fetched, Failure> {
        let mut url = self.url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(call.path);
        }
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(call.query);
        }
        let mut headers = self.headers.clone();
        if let Some(media_type) = call.media_type {
            headers.insert(CONTENT_TYPE, media_type);
        }
        let request = self.client.request(call.method, url).headers(headers).body(call.body);
        self.exchange(request, call.bounds).await
    }

    /// Opens a WebSocket at the address, whose scheme is `http` or `https` here too. It takes the way that calls take: the same
    /// TLS, the same proxy of the environment.
    pub async fn websocket(&self) -> Result<WebSocket, Failure> {
        let key = generate_key();
        let request = self.client.get(self.url.clone()).headers(self.headers.clone());
        let request = request.header(CONNECTION, "Upgrade").header(UPGRADE, "websocket");
        let request = request.header(SEC_WEBSOCKET_VERSION, "13").header(SEC_WEBSOCKET_KEY, &key);
        let bounds = Bounds::of_post();
        let opened = tokio::time::timeout_at(bounds.deadline, async {
            let response = request.send().await.map_err(|error| self.unsent(error))?;
            let accepted = response.headers().get(SEC_WEBSOCKET_ACCEPT).map(HeaderValue::as_bytes);
            let is_open = response.status() == StatusCode::SWITCHING_PROTOCOLS
                && accepted == Some(derive_accept_key(key.as_bytes()).as_bytes());
            if !is_open {
                let answer = read(response, bounds).await.into_text();
                self.by_status(&answer)?;
                return Err(self.later(&answer, "the answer is not WebSocket's", false));
            }
            response.upgrade().await.map_err(|error| self.unsent(error))
        });
        let no_answer = || Err(Failure::transient(self.reason("no answer in time")));
        let stream = opened.await.unwrap_or_else(|_| no_answer())?;
        let limits = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_LIMIT))
            .max_frame_size(Some(MESSAGE_LIMIT))
            .read_buffer_size(16 * 1024);
        Ok(WebSocketStream::from_raw_socket(stream, Role::Client, Some(limits)).await)
    }

    async fn exchange(&self, request: reqwest::RequestBuilder, bounds: Bounds) -> Result<Fetched, Failure> {
        if self.public_only && is_private_literal(&self.url) {
            return Err(self.private());
        }
        match tokio::time::timeout_at(bounds.deadline, request.send()).await {
            Ok(Ok(response)) => Ok(read(response, bounds).await),
            Ok(Err(error)) => Err(self.unsent(error)),
            Err(_) => Err(self.no_answer("no answer in time")),
        }
    }

    /// The failure that the status means; `Ok` for 2xx.
    pub fn by_status(&self, answer: &Answer) -> Result<(), Failure> {
        if answer.status.is_success() {
            return Ok(());
        }
        let reason = self.reason(&format!("answered {}: {}", answer.status, one_line(&answer.body)));
        let reason = reason.trim_end_matches([' ', ':']).to_owned();
        match answer.status.as_u16() {
            300..=399 => Err(Failure::Auth { reason: format!("{reason}; redirects are not followed") }),
            401 | 403 | 404 | 407 | 410 => Err(Failure::Auth { reason }),
            408 | 425 | 429 => Err(Failure::Transient { reason, wait: answer.wait, ambiguous: false }),
            400..=499 => Err(Failure::Permanent { reason }),
            // A gateway that lost its answer may have passed the post on.
            code => {
                Err(Failure::Transient { reason, wait: answer.wait, ambiguous: code == 502 || code == 504 })
            }
        }
    }

    /// The result of a post that was taken.
    pub fn taken(&self, answer: &Answer) -> Sent {
        Sent { answer: self.reason(&format!("answered {}", answer.status)), ..Sent::default() }
    }

    /// The result of a post that was taken, though the body of the answer is not one that the platform gives: a compatible
    /// server has its own. The post is not sent again, since the server would show it twice.
    pub fn taken_without_proof(&self, answer: &Answer, what: &str) -> Sent {
        let body = one_line(&answer.body);
        let doubt =
            self.reason(format!("answered {}, {what}: {body}", answer.status).trim_end_matches([' ', ':']));
        Sent { doubt: Some(doubt), ..self.taken(answer) }
    }

    /// A failure to be tried again after the time that the answer asks for.
    pub fn later(&self, answer: &Answer, what: &str, ambiguous: bool) -> Failure {
        Failure::Transient { reason: self.reason(what), wait: answer.wait, ambiguous }
    }

    /// `host: what`, without any secret.
    pub fn reason(&self, what: &str) -> String {
        format!("{}: {}", self.url.host_str().unwrap_or_default(), cut(&self.hidden.hide(what), EXCERPT))
    }

    /// The request was sent and its fate is unknown.
    fn no_answer(&self, what: &str) -> Failure {
        Failure::Transient { reason: self.reason(what), wait: None, ambiguous: true }
    }

    fn private(&self) -> Failure {
        let what = "is an address of this machine or of a private network; allow_private = true allows it";
        Failure::Auth { reason: self.reason(what) }
    }

    fn unsent(&self, error: reqwest::Error) -> Failure {
        if chain(&error).any(|cause| cause.is::<Private>()) {
            return self.private();
        }
        let what = tls::refusal(&error).unwrap_or_else(|| match error.is_timeout() {
            true => "no connection in time".into(),
            false => chain(&error).last().map(ToString::to_string).unwrap_or_default(),
        });
        match error.is_connect() {
            true => Failure::transient(self.reason(&what)),
            false if error.is_builder() => Failure::Permanent { reason: self.reason(&what) },
            false => self.no_answer(&what),
        }
    }
}

/// The causes of an error, without the error itself, which shows the address.
fn chain<'a>(error: &'a reqwest::Error) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    let mut next = error.source();
    std::iter::from_fn(move || {
        let error: &'a (dyn std::error::Error + 'static) = next?;
        next = error.source();
        Some(error)
    })
}

async fn read(mut response: reqwest::Response, bounds: Bounds) -> Fetched {
    let status = response.status();
    let wait =
        response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).and_then(retry_after);
    let tls = response.extensions().get::<reqwest::tls::TlsInfo>();
    let certificate = tls.and_then(|tls| tls.peer_certificate()).map(<[u8]>::to_vec);
    let Bounds { deadline, rest, limit } = bounds;
    let deadline = deadline.min(Instant::now() + rest);
    let mut body = Vec::new();
    let mut complete = false;
    while body.len() < limit {
        match tokio::time::timeout_at(deadline, response.chunk()).await {
            Ok(Ok(Some(chunk))) => body.extend_from_slice(&chunk[..chunk.len().min(limit - body.len())]),
            Ok(Ok(None)) => {
                complete = true;
                break;
            }
            Ok(Err(_)) | Err(_) => break,
        }
    }
    Fetched { status, wait, complete, body, certificate }
}

/// Reads seconds or a date, at most an hour; `None` for other texts.
fn retry_after(value: &str) -> Option<Duration> {
    let value = value.trim();
    let wait = match value.parse::<f64>() {
        Ok(seconds) if seconds >= 0.0 => Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST_WAIT),
        Ok(_) => return None,
        Err(_) => {
            let at = httpdate::parse_http_date(value).ok()?;
            at.duration_since(SystemTime::now()).unwrap_or_default()
        }
    };
    Some(wait.min(LONGEST_WAIT))
}

/// Resolves names, and refuses those with a private address. The checked addresses are those connected to.
struct PublicOnly;

#[derive(Debug, thiserror::Error)]
#[error("a private address")]
struct Private;

impl dns::Resolve for PublicOnly {
    fn resolve(&self, name: dns::Name) -> dns::Resolving {
        Box::pin(async move {
            let addresses: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            if addresses.iter().any(|address| is_private(address.ip())) {
                return Err(Private.into());
            }
            Ok(Box::new(addresses.into_iter()) as dns::Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_read_and_capped() {
        let seconds = |value| retry_after(value).map(|wait| wait.as_secs());
        assert_eq!(seconds("0"), Some(0));
        assert_eq!(seconds(" 30 "), Some(30));
        assert_eq!(retry_after("1.5"), Some(Duration::from_millis(1500)));
        assert_eq!(seconds("99999"), Some(3600));
        assert_eq!(seconds("1e400"), Some(3600));
        for garbage in ["", "soon", "-1", "NaN", "1s"] {
            assert_eq!(seconds(garbage), None, "{garbage}");
        }
        let soon = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(60));
        assert!((55..=60).contains(&seconds(&soon).unwrap()), "{soon}");
        assert_eq!(seconds("Wed, 21 Oct 2015 07:28:00 GMT"), Some(0));
        assert_eq!(seconds("Fri, 31 Dec 9999 23:59:59 GMT"), Some(3600));
    }
}
