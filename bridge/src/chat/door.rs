//! Chats whose platform tells over HTTP what was said: `POST /KIND/NAME` goes to the open chat of that name. The chat itself finds
//! out whether a request is its platform's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{FromRequest as _, Request};
use axum::response::{IntoResponse as _, Response};
use service::http::serve::Body;

use super::Chat;
use crate::metrics::{ChatRequest, Metrics};

/// The largest request, in bytes. Slack's have at most some ten thousand.
pub(crate) const LARGEST: usize = 256 * 1024;

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

    /// The open chat of a kind and a name.
    pub(crate) fn chat(&self, kind: &str, name: &str) -> Option<Arc<dyn Chat>> {
        self.lock().get(&format!("{kind}/{name}")).cloned()
    }

    /// Passes a request on to a chat of a `kind`.
    pub(crate) async fn deliver(
        &self,
        kind: &'static str,
        chat: Arc<dyn Chat>,
        request: Request,
    ) -> Response {
        let headers = request.headers().clone();
        let response = match Body::from_request(request, &()).await {
            Ok(Body(body)) => chat.deliver(&headers, body).await,
            Err(problem) => problem.into_response(),
        };
        let label = ChatRequest { chat: kind, status: response.status().as_u16() };
        self.metrics.chat_requests.get_or_create(&label).inc();
        response
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<dyn Chat>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
