//! Chats whose platform tells over HTTP what was said: `POST /KIND/NAME` goes to the open chat of that name. The chat itself finds
//! out whether a request is its platform's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use service::http::serve::Body;

use super::Chat;
use crate::metrics::{ChatRequest, Metrics};

/// The largest request, in bytes. Slack's have at most some ten thousand.
const LARGEST: usize = 256 * 1024;

/// The open chats by their kinds and names. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Doors {
    open: Arc<Mutex<BTreeMap<String, Arc<dyn Chat>>>>,
    metrics: Arc<Metrics>,
}

impl Doors {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Doors {
        Doors { open: Arc::default(), metrics }
    }

    /// Passes requests on to a chat from now on.
    pub(super) fn open(&self, kind: &str, name: &str, chat: Arc<dyn Chat>) {
        self.lock().insert(format!("{kind}/{name}"), chat);
    }

    pub(super) fn close(&self, kind: &str, name: &str) {
        self.lock().remove(&format!("{kind}/{name}"));
    }

    /// The addresses, for the bridge's port.
    pub(crate) fn routes(self) -> Router {
        let limit = DefaultBodyLimit::max(LARGEST);
        Router::new().route("/slack/{name}", post(deliver)).layer(limit).with_state(self)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<dyn Chat>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn deliver(
    State(doors): State<Doors>,
    Path(name): Path<String>,
    headers: HeaderMap,
    Body(body): Body,
) -> Response {
    const KIND: &str = "slack";
    let chat = doors.lock().get(&format!("{KIND}/{name}")).cloned();
    let response = match chat {
        Some(chat) => chat.deliver(&headers, body).await,
        None => StatusCode::NOT_FOUND.into_response(),
    };
    let label = ChatRequest { chat: KIND, status: response.status().as_u16() };
    doors.metrics.chat_requests.get_or_create(&label).inc();
    response
}
