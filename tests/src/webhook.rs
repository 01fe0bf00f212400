//! The receiver of the `webhook` room: checks Standard Webhooks signatures and records the bodies it took.

use std::ops::Deref;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

use crate::http::{Reply, Request, Server};

const TOLERANCE_SECONDS: i64 = 300;

/// A body that the sink took.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// `webhook-id`: the same at every attempt of one delivery.
    pub id: String,
    /// The body.
    pub body: Value,
    /// The time of its arrival.
    pub at: Instant,
}

impl Delivery {
    /// The ids of the messages in the body, in order.
    pub fn message_ids(&self) -> Vec<String> {
        self.strings("id")
    }

    /// The texts of the messages in the body, in order.
    pub fn texts(&self) -> Vec<String> {
        self.strings("text")
    }

    fn strings(&self, name: &str) -> Vec<String> {
        let messages = self.body["messages"].as_array().into_iter().flatten();
        messages.map(|message| message[name].as_str().unwrap_or_default().to_owned()).collect()
    }
}

/// A running sink; its answers are scripted with [`Server::next`] and [`Server::always`].
#[derive(Debug)]
pub struct WebhookSink {
    server: Server,
    taken: Arc<Mutex<Vec<Delivery>>>,
}

impl Deref for WebhookSink {
    type Target = Server;
    fn deref(&self) -> &Server {
        &self.server
    }
}

impl WebhookSink {
    /// A sink that takes any JSON.
    pub async fn start() -> WebhookSink {
        WebhookSink::with(None).await
    }

    /// A sink that answers 401 unless the request is signed with `secret` (`whsec_…` or bare base64).
    pub async fn signed(secret: &str) -> WebhookSink {
        WebhookSink::with(Some(secret.to_owned())).await
    }

    async fn with(secret: Option<String>) -> WebhookSink {
        let taken = Arc::new(Mutex::new(Vec::new()));
        let shared = taken.clone();
        let handler = move |request: &Request| {
            if let Some(secret) = &secret
                && let Err(why) = verify(secret, request, now())
            {
                return Reply::text(401, why);
            }
            let Ok(body) = serde_json::from_slice(&request.body) else { return Reply::text(400, "not json") };
            let id = request.header("webhook-id").unwrap_or_default().to_owned();
            shared.lock().expect("no panic here").push(Delivery { id, body, at: Instant::now() });
            Reply::text(200, "ok")
        };
        WebhookSink { server: Server::start(Arc::new(handler)).await, taken }
    }

    /// The address for posts.
    pub fn url(&self) -> String {
        format!("http://{}/in", self.addr())
    }

    /// All bodies taken so far, in order.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.taken.lock().expect("no panic here").clone()
    }

    /// The texts of all messages taken so far, in order.
    pub fn texts(&self) -> Vec<String> {
        self.deliveries().iter().flat_map(Delivery::texts).collect()
    }
}

fn now() -> i64 {
    time::OffsetDateTime::now_utc().unix_timestamp()
}

/// Checks that `request` has a signature of `secret` whose time differs from `now` by at most five minutes.
pub fn verify(secret: &str, request: &Request, now: i64) -> Result<(), String> {
    let header = |name: &str| request.header(name).ok_or(format!("no {name}"));
    let (id, timestamp) = (header("webhook-id")?, header("webhook-timestamp")?);
    let sent: i64 = timestamp.parse().map_err(|_| "webhook-timestamp is not seconds".to_owned())?;
    if (now - sent).abs() > TOLERANCE_SECONDS {
        return Err(format!("webhook-timestamp is off by {} s", now - sent));
    }
    let key = STANDARD
        .decode(secret.strip_prefix("whsec_").unwrap_or(secret))
        .map_err(|e| format!("secret: {e}"))?;
    let signed = |signature: &str| {
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("HMAC takes a key of any length");
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(&request.body);
        let bytes = signature.strip_prefix("v1,").and_then(|text| STANDARD.decode(text).ok());
        bytes.is_some_and(|bytes| mac.verify_slice(&bytes).is_ok())
    };
    if header("webhook-signature")?.split(' ').any(signed) {
        Ok(())
    } else {
        Err("no signature matches".into())
    }
}
