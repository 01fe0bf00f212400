//! The addresses of the intakes: `POST /in/NAME`, `POST /in/TAG` for texts, and Slack's. A request is answered with success only
//! when the log or the spool has all its messages.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request as AnyRequest, State};
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, RETRY_AFTER};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::json;
use service::http::problem::Problem;
use service::http::serve::PATIENCE;
use service::platform::Limiter;
use tellhal::{Message, Tag, Timestamp};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::intake::{Config, Intake};
use super::kind::{Read, sns};
use super::request::{Refusal, Request};
use super::sns::Sns;
use super::verify::is_same;
use crate::bus::Bus;
use crate::metrics::{Metrics, WebhookRequest};
use crate::once::Once;
use crate::outbox::{Outbox, Outcome};

/// The source of these messages in the metrics.
const SOURCE: &str = "webhook";
/// The bodies that are in memory at once, in KiB. Further requests wait.
const BODIES: u32 = 8 << 10;
/// Further refused requests of a second are counted, but not in the log.
const REFUSALS: u32 = 5;

/// The open intakes.
#[derive(Default)]
pub(crate) struct Intakes {
    named: BTreeMap<String, Arc<Intake>>,
    /// That of the listener for what publishes to ntfy.
    ntfy: Option<Arc<Intake>>,
}

/// Opens the intakes of a configuration; the error is the first whose secret cannot be read.
pub(crate) fn open(configs: &BTreeMap<String, Config>, ntfy: Option<&Config>) -> anyhow::Result<Intakes> {
    let opened = |(name, config): (&String, &Config)| {
        let intake = Intake::open(name, config).with_context(|| format!("webhooks.{name}"))?;
        Ok((name.clone(), Arc::new(intake)))
    };
    let named = configs.iter().map(opened).collect::<anyhow::Result<_>>()?;
    let ntfy = ntfy.map(|config| Intake::open("ntfy", config).context("ntfy")).transpose()?;
    Ok(Intakes { named, ntfy: ntfy.map(Arc::new) })
}

/// The way from a request to its messages. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Hooks(Arc<Inner>);

struct Inner {
    open: Mutex<Arc<Intakes>>,
    outbox: Outbox,
    once: Once,
    metrics: Arc<Metrics>,
    bodies: Semaphore,
    refusals: Limiter,
    sns: Sns,
}

/// A request whose intake is known.
struct Addressed<'a> {
    intake: Arc<Intake>,
    /// The tag in the address of a text.
    tag: Option<Tag>,
    token: Option<&'a str>,
}

impl Hooks {
    pub(crate) fn new(outbox: Outbox, bus: &Bus, metrics: Arc<Metrics>) -> Hooks {
        Hooks(Arc::new(Inner {
            open: Mutex::default(),
            outbox,
            once: Once::new(bus, SOURCE),
            metrics,
            bodies: Semaphore::new(BODIES as usize),
            refusals: Limiter::new(Duration::from_secs(1), REFUSALS),
            sns: Sns::new(),
        }))
    }

    /// Takes requests for these intakes from now on, and no others.
    pub(crate) fn change(&self, intakes: Intakes) {
        *self.0.open.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(intakes);
    }

    fn intakes(&self) -> Arc<Intakes> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The addresses, for the bridge's port. Mattermost and Rocket.Chat have Slack's format at an address of their own.
    pub(crate) fn routes(self) -> Router {
        Router::new()
            .route("/in/{name}", post(named))
            .route("/in/{name}/{token}", post(with_token))
            .route("/services/{team}/{app}/{token}", post(slack))
            .route("/hooks/{token}", post(mattermost))
            .with_state(self)
    }

    async fn named(&self, name: &str, token: Option<&str>, request: AnyRequest) -> Response {
        let (parts, body) = request.into_parts();
        let (kind, response) = match self.addressed(name, token, &parts) {
            Ok(addressed) => {
                let kind = addressed.intake.config.kind.name;
                let answer = self.deliver(&addressed, &parts, body).await;
                (kind, answer.map_or_else(|bad| bad.into_response(), |messages| ids(&messages)))
            }
            Err(problem) => ("none", problem.into_response()),
        };
        self.count(kind, response)
    }

    /// A request at one of Slack's addresses, answered as Slack does.
    pub(crate) async fn slack(&self, token: &str, request: AnyRequest) -> Response {
        const KIND: &str = "slack";
        let (parts, body) = request.into_parts();
        let intakes = self.intakes();
        let ours =
            |intake: &&Arc<Intake>| intake.config.kind.name == KIND && is_same(intake.secret.reveal(), token);
        let response = match intakes.named.values().find(ours) {
            None => (StatusCode::NOT_FOUND, "no_service").into_response(),
            Some(intake) => {
                let addressed = Addressed { intake: intake.clone(), tag: None, token: Some(token) };
                match self.deliver(&addressed, &parts, body).await {
                    Ok(_) => "ok".into_response(),
                    Err(Answer { status: StatusCode::BAD_REQUEST, what }) => {
                        (StatusCode::BAD_REQUEST, what).into_response()
                    }
                    Err(Answer { status: StatusCode::SERVICE_UNAVAILABLE, .. }) => {
                        (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "2")], "service_unavailable")
                            .into_response()
                    }
                    Err(Answer { status, .. }) => (status, "invalid_payload").into_response(),
                }
            }
        };
        self.count(KIND, response)
    }

    /// Keeps what is published to the listener for ntfy's clients.
    pub(crate) async fn ntfy(&self, request: AnyRequest) -> Result<Message, (StatusCode, String)> {
        let (parts, body) = request.into_parts();
        let Some(intake) = self.intakes().ntfy.clone() else {
            return Err((StatusCode::NOT_FOUND, "page not found".into()));
        };
        let kind = intake.config.kind.name;
        let kept = self.deliver(&Addressed { intake, tag: None, token: None }, &parts, body).await;
        let status = kept.as_ref().map_or_else(|answer| answer.status, |_| StatusCode::OK);
        self.0
            .metrics
            .webhook_requests
            .get_or_create(&WebhookRequest { kind, status: status.as_u16() })
            .inc();
        let mut kept = kept.map_err(|answer| (answer.status, answer.what))?;
        kept.pop().ok_or_else(|| (StatusCode::BAD_REQUEST, "there is no message".into()))
    }

    fn count(&self, kind: &'static str, response: Response) -> Response {
        let label = WebhookRequest { kind, status: response.status().as_u16() };
        self.0.metrics.webhook_requests.get_or_create(&label).inc();
        response
    }

    /// The intake that a request is for: the one of its name, else one for texts, whose token it shows and whose tags have that name.
    fn addressed<'a>(
        &self,
        name: &str,
        token: Option<&'a str>,
        parts: &Parts,
    ) -> Result<Addressed<'a>, Answer> {
        let intakes = self.intakes();
        if let Some(intake) = intakes.named.get(name).filter(|intake| !is_text(intake)) {
            return Ok(Addressed { intake: intake.clone(), tag: None, token });
        }
        let texts = || intakes.named.values().filter(|intake| is_text(intake));
        let tag = name.parse::<Tag>().ok().filter(|_| texts().next().is_some());
        let Some(tag) = tag else {
            return Err(Answer::new(StatusCode::NOT_FOUND, "there is no such intake"));
        };
        let head = request(parts, &[], token);
        let Some(intake) = texts().find(|intake| intake.is_shown(&head)) else {
            self.refuse("a text", "its token is missing or wrong");
            return Err(Answer::new(StatusCode::UNAUTHORIZED, "the token is missing or wrong"));
        };
        if !intake.config.tags.iter().any(|pattern| pattern.matches(&tag)) {
            return Err(Answer::new(StatusCode::FORBIDDEN, "this token is not for this tag"));
        }
        Ok(Addressed { intake: intake.clone(), tag: Some(tag), token })
    }

    /// Keeps the messages of a request, and returns them.
    async fn deliver(
        &self,
        addressed: &Addressed<'_>,
        parts: &Parts,
        body: Body,
    ) -> Result<Vec<Message>, Answer> {
        let Addressed { intake, tag, token } = addressed;
        let refused = |refusal| self.refused(intake, refusal);
        intake.admits(&request(parts, &[], *token)).map_err(refused)?;
        let (body, permit) = self.body(intake, parts, body).await?;
        let whole = request(parts, &body, *token);
        if *intake.config.kind == sns::KIND {
            let message = whole.json().map_err(refused)?;
            self.0.sns.prove(&message, &intake.config.arns, whole.now).await.map_err(refused)?;
        }
        let messages = intake.read(&whole, tag.as_ref()).map_err(refused)?;
        drop(body);
        let mut kept = Vec::with_capacity(messages.len());
        for (event, mut message) in messages {
            if !self.keep(intake, event, &mut message).await.is_kept() {
                return Err(Answer::new(StatusCode::SERVICE_UNAVAILABLE, "it cannot be kept now"));
            }
            kept.push(message);
        }
        // The messages take about as much memory as the body that they came in.
        drop(permit);
        Ok(kept)
    }

    /// The body, as long as it may be, while there is memory for it. A compressed one is not taken: its size could not be told.
    async fn body(
        &self,
        intake: &Intake,
        parts: &Parts,
        body: Body,
    ) -> Result<(Bytes, SemaphorePermit<'_>), Answer> {
        let encoding = parts.headers.get(CONTENT_ENCODING);
        if encoding.is_some_and(|encoding| encoding != "identity") {
            return Err(Answer::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "the body is compressed; send it as it is",
            ));
        }
        let largest = intake.largest();
        let too_large =
            || Answer::new(StatusCode::PAYLOAD_TOO_LARGE, format!("at most {largest} bytes are taken"));
        let length = parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let length = length.unwrap_or(largest);
        if length > largest {
            return Err(too_large());
        }
        let read = async {
            let kib = u32::try_from(length / 1024 + 1).unwrap_or(BODIES).min(BODIES);
            let permit = self.0.bodies.acquire_many(kib).await.map_err(|_| too_large())?;
            let body = axum::body::to_bytes(body, largest).await.map_err(|_| too_large())?;
            Ok((body, permit))
        };
        let late = || Answer::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time");
        timeout(PATIENCE, read).await.map_err(|_| late())?
    }

    /// Puts a message into the log or the spool, the same one however often its event is delivered.
    async fn keep(&self, intake: &Intake, event: Option<String>, message: &mut Message) -> Outcome {
        let event = event.map(|event| format!("{}/{event}", intake.name));
        self.0.once.keep(&self.0.outbox, SOURCE, event.as_deref(), message).await
    }

    fn refused(&self, intake: &Intake, refusal: Refusal) -> Answer {
        let (status, what) = match refusal {
            Refusal::Unproven(why) => (StatusCode::UNAUTHORIZED, why.to_owned()),
            Refusal::Type => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "the body is not of a type that this intake takes".to_owned(),
            ),
            Refusal::Unknown(why) => (StatusCode::NOT_FOUND, why.to_owned()),
            Refusal::Later(what) => {
                (StatusCode::SERVICE_UNAVAILABLE, format!("{what} cannot be had now; try again"))
            }
            Refusal::Malformed(why) => (StatusCode::BAD_REQUEST, why),
        };
        self.refuse(&intake.name, &what);
        Answer { status, what }
    }

    fn refuse(&self, intake: &str, why: &str) {
        if self.0.refusals.take().is_ok() {
            tracing::warn!(intake, why, "a request is refused");
        }
    }
}

async fn named(State(hooks): State<Hooks>, Path(name): Path<String>, request: AnyRequest) -> Response {
    hooks.named(&name, None, request).await
}

async fn with_token(
    State(hooks): State<Hooks>,
    Path((name, token)): Path<(String, String)>,
    request: AnyRequest,
) -> Response {
    hooks.named(&name, Some(&token), request).await
}

async fn slack(
    State(hooks): State<Hooks>,
    Path((_, _, token)): Path<(String, String, String)>,
    request: AnyRequest,
) -> Response {
    hooks.slack(&token, request).await
}

async fn mattermost(State(hooks): State<Hooks>, Path(token): Path<String>, request: AnyRequest) -> Response {
    hooks.slack(&token, request).await
}

/// The answer to a request that was taken: the ids of its messages.
fn ids(messages: &[Message]) -> Response {
    let ids: Vec<&str> = messages.iter().map(|message| message.id.as_str()).collect();
    Json(json!({ "messages": ids })).into_response()
}

fn is_text(intake: &Intake) -> bool {
    matches!(intake.config.kind.read, Read::Text)
}

fn request<'a>(parts: &'a Parts, body: &'a [u8], token: Option<&'a str>) -> Request<'a> {
    let now = u64::try_from(Timestamp::now().0 / 1000).unwrap_or_default();
    Request {
        headers: &parts.headers,
        body,
        token,
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or_default(),
        now,
    }
}

/// The answer to a request that was not taken. It repeats nothing of the request.
struct Answer {
    status: StatusCode,
    what: String,
}

impl Answer {
    fn new(status: StatusCode, what: impl Into<String>) -> Answer {
        Answer { status, what: what.into() }
    }

    fn into_response(self) -> Response {
        let mut response = Problem::new(self.status, self.what).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("2"));
        }
        response
    }
}
