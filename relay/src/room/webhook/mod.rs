//! A webhook: JSON posted to any address, signed as Standard Webhooks says when there is a secret.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::header::{HeaderMap, HeaderValue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use service::config::{KeyProblem, PATH};
use service::text;
use sha2::Sha256;
use tellhal::{Message, Timestamp};

use super::{self as room, Counted, Part, Post, Room, Shared};
use crate::delivery::{Content, Delivery, Summary};
use crate::render;
use service::http::{Endpoint, Reach, address_problem, public_problem};
use service::platform::{Failure, Sent};
use service::secret::{Pair, Secret};

/// The number of messages that one post lists.
const LISTED: usize = 500;
/// The size from which a post of several messages has its long texts shortened: common receivers stop at 1 MiB.
const LARGE: usize = 512 * 1024;
/// The length of a shortened text, in bytes.
const KEPT: usize = 512;

/// `[rooms.NAME.webhook]`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The address to post to. It is a secret, since many have a token in it.
    #[serde(default)]
    pub url: Option<Secret>,
    /// A file with the address.
    #[serde(default)]
    #[schemars(extend("format" = PATH))]
    pub url_file: Option<PathBuf>,
    /// Signs each post (<https://www.standardwebhooks.com>): base64, with or without `whsec_` before it.
    #[serde(default)]
    pub secret: Option<Secret>,
    /// A file with the signing secret.
    #[serde(default)]
    #[schemars(extend("format" = PATH))]
    pub secret_file: Option<PathBuf>,
    /// More headers, such as `Authorization`; their values are secrets and may be `${NAME}`.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// Let the address be plain http, and this machine's or a private network's. Only then is a proxy of the
    /// environment used, since the relay cannot see which addresses it connects to.
    #[serde(default)]
    pub allow_private: bool,
    /// A CA certificate to trust instead of the system's.
    #[serde(default)]
    #[schemars(extend("format" = PATH))]
    pub tls_ca: Option<PathBuf>,
    /// The largest number of messages in one post, from 1 to 500; with it, every message is listed. When absent, a backlog is
    /// one post with up to 500 messages, and further ones are counted.
    #[serde(default)]
    #[schemars(range(min = 1, max = LISTED))]
    pub batch: Option<usize>,
}

impl Config {
    fn url(&self) -> Pair<'_> {
        Pair::new("url", "url_file", &self.url, &self.url_file)
    }

    fn secret(&self) -> Pair<'_> {
        Pair::new("secret", "secret_file", &self.secret, &self.secret_file)
    }

    fn header<'a>(&self, value: &'a Secret) -> Pair<'a> {
        Pair { key: "headers", file_key: "headers", inline: Some(value), file: None }
    }
}

impl room::Settings for Config {
    fn problems(&self) -> Vec<KeyProblem> {
        let mut problems: Vec<KeyProblem> = self.url().required().into_iter().collect();
        problems.extend(self.secrets().iter().skip(1).filter_map(Pair::problem));
        let inline = |secret: &Secret| !secret.reveal().contains("${");
        if let Some(url) = self.url.as_ref().filter(|url| inline(url)) {
            problems.extend(match self.allow_private {
                true => address_problem("url", url.reveal(), true),
                false => public_problem("url", url.reveal()),
            });
        }
        if let Some(secret) = self.secret.as_ref().filter(|secret| inline(secret)) {
            problems.extend(key(secret).err());
        }
        for name in self.headers.keys() {
            problems.extend(header_problem(name));
        }
        if let Some(batch) = self.batch.filter(|batch| !(1..=LISTED).contains(batch)) {
            let hint = format!("a number from 1 to {LISTED}");
            problems.push(KeyProblem::new("batch", format!("{batch} messages cannot be in one post"), hint));
        }
        problems
    }

    fn secrets(&self) -> Vec<Pair<'_>> {
        let headers = self.headers.values().map(|value| self.header(value));
        [self.url(), self.secret()].into_iter().chain(headers).collect()
    }

    fn tls_ca(&self) -> Option<&Path> {
        self.tls_ca.as_deref()
    }

    fn open(&self, _shared: &Shared) -> anyhow::Result<Box<dyn Room>> {
        Ok(Box::new(Webhook::open(self)?))
    }
}

/// The headers that the relay sets itself.
const OURS: [&str; 5] = ["host", "content-length", "content-type", "transfer-encoding", "connection"];

fn header_problem(name: &str) -> Option<KeyProblem> {
    let lower = name.to_ascii_lowercase();
    if OURS.contains(&lower.as_str()) || lower.starts_with("webhook-") {
        return Some(KeyProblem::new("headers", format!("{name} is set by the relay"), "remove it"));
    }
    let bad = reqwest::header::HeaderName::try_from(name).is_err();
    bad.then(|| {
        KeyProblem::new("headers", format!("{name:?} is not a header name"), "use letters, digits and -")
    })
}

/// The signing key's bytes.
fn key(secret: &Secret) -> Result<Vec<u8>, KeyProblem> {
    let text = secret.reveal().strip_prefix("whsec_").unwrap_or(secret.reveal());
    let hint = "24 to 64 bytes in base64, such as `openssl rand -base64 32` gives";
    let bytes = BASE64.decode(text);
    let bytes = bytes.map_err(|_| KeyProblem::new("secret", "the signing secret is not base64", hint))?;
    match bytes.len() {
        16..=128 => Ok(bytes),
        _ => Err(KeyProblem::new("secret", "the signing secret is too short or too long", hint)),
    }
}

/// The body of a post.
#[derive(Serialize)]
struct Body<'a> {
    v: u64,
    room: &'a str,
    messages: Vec<Entry<'a>>,
    /// The deliveries of a backlog that are not listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    counted: Option<&'a Counted>,
}

/// One delivery as JSON.
#[derive(Serialize)]
pub(super) struct Entry<'a> {
    /// The delivery's id: the same whenever it is posted again.
    delivery: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    routes: &'a [String],
    /// Notes of the relay as texts, such as a rewritten tag.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    marks: Vec<String>,
    /// The message's own members, as on the bus.
    #[serde(flatten)]
    message: Option<Arc<Message>>,
    /// Or the summary of messages that a throttle held back.
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<&'a Summary>,
}

impl<'a> Entry<'a> {
    pub(super) fn of(delivery: &'a Delivery, shorten: bool) -> Self {
        let mut entry = Entry {
            delivery: &delivery.id,
            routes: &delivery.routes,
            marks: delivery.marks.iter().map(ToString::to_string).collect(),
            message: None,
            summary: None,
        };
        match &delivery.content {
            Content::Summary(summary) => entry.summary = Some(summary),
            Content::Message(message) => {
                let mut message = message.clone();
                if shorten && message.text.len() > KEPT {
                    entry.marks.push(format!("text shortened from {} bytes", message.text.len()));
                    Arc::make_mut(&mut message).text = text::cut(&message.text, KEPT);
                }
                entry.message = Some(message);
            }
        }
        entry
    }
}

pub(super) struct Webhook {
    endpoint: Endpoint,
    key: Option<Vec<u8>>,
    batch: Option<usize>,
}

impl Webhook {
    pub(super) fn open(config: &Config) -> anyhow::Result<Self> {
        let url = config.url().read()?.ok_or_else(|| anyhow::anyhow!("url: the address is missing"))?;
        if let Some(problem) = address_problem("url", url.reveal(), config.allow_private) {
            return Err(problem.into());
        }
        let reach = Reach {
            public_only: !config.allow_private,
            tls_ca: config.tls_ca.as_deref(),
            ..Reach::default()
        };
        let mut endpoint = Endpoint::new(url.reveal(), &reach)?;
        for (name, value) in &config.headers {
            if let Some(value) = config.header(value).read()? {
                endpoint.header(name, &value)?;
            }
        }
        let key = config.secret().read()?.map(|secret| key(&secret)).transpose()?;
        Ok(Webhook { endpoint, key, batch: config.batch })
    }

    fn signed(&self, id: &str, at: i64, body: &str) -> Result<HeaderMap, Failure> {
        let mut headers = HeaderMap::new();
        let mut set = |name: &'static str, value: &str| match HeaderValue::from_str(value) {
            Ok(value) => {
                headers.insert(name, value);
                Ok(())
            }
            Err(_) => Err(Failure::Permanent { reason: format!("{name} cannot be sent as a header") }),
        };
        set("webhook-id", id)?;
        set("webhook-timestamp", &at.to_string())?;
        if let Some(key) = &self.key {
            set("webhook-signature", &format!("v1,{}", sign(key, id, at, body)))?;
        }
        Ok(headers)
    }
}

/// A Standard Webhooks signature, version 1, without its prefix.
fn sign(key: &[u8], id: &str, at: i64, body: &str) -> String {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return String::new() };
    mac.update(format!("{id}.{at}.").as_bytes());
    mac.update(body.as_bytes());
    BASE64.encode(mac.finalize().into_bytes())
}

#[async_trait]
impl Room for Webhook {
    fn listed(&self) -> usize {
        // One more is listed if it is the only one that would be counted.
        self.batch.unwrap_or(LISTED - 1)
    }

    fn most(&self) -> usize {
        self.batch.unwrap_or(room::MOST)
    }

    fn render(&self, post: &Post) -> Vec<Part> {
        let body = |shorten| {
            let messages = post.listed.iter().map(|delivery| Entry::of(delivery, shorten)).collect();
            let body = Body { v: 1, room: &post.room, messages, counted: post.counted.as_ref() };
            serde_json::to_string(&body).unwrap_or_default()
        };
        let mut wire = body(false);
        if post.listed.len() > 1 && wire.len() > LARGE {
            wire = body(true);
        }
        vec![Part { shown: render::lines(post).join("\n"), wire, plain: None, id: post.key(), file: None }]
    }

    async fn send(&self, part: &Part) -> Result<Sent, Failure> {
        let headers = self.signed(&part.id, Timestamp::now().0 / 1000, &part.wire)?;
        let answer = self.endpoint.post(part.wire.clone(), headers).await?;
        self.endpoint.by_status(&answer)?;
        Ok(self.endpoint.taken(&answer))
    }
}

#[cfg(test)]
mod tests;
