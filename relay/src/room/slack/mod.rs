//! Slack: the Web API with a bot's token, or an incoming webhook. Only posts; commands are the bridge's.
//!
//! Files are shown by the Web API, each once, after their message. Slack has no idempotency key: a relay that ends between a share and
//! its receipt leaves message and file to be posted again, as any post. A share whose answer is lost is not repeated; its receipt says
//! that nobody knows. Bytes that were uploaded and not shared are seen by nobody.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use service::config::{KeyProblem, PATH};
use service::http::{Reach, address_problem};
use service::platform::slack::{
    Api, Attachment, Client, Message, NotUploaded, Uploads, Webhook, channel_problem, escape,
};
use service::platform::{Failure, Limiter, Sent};
use service::secret::{Pair, Secret};
use service::text;
use tellhal::Severity;
use tellhal::attached::File;
use tokio::time::timeout;

use super::{self as room, Part, Post, Room, Shared};
use crate::render::budget::Budget;
use crate::render::{self, View};

/// About one message a second and channel, with short bursts.
const EVERY: Duration = Duration::from_secs(1);
const BURST: u32 = 3;
/// The longest time for the bytes of a file, and for its share: together less than a part may take.
const UPLOAD: Duration = Duration::from_millis(2000);
const SHARE: Duration = Duration::from_millis(1200);
/// The first line has at most five bytes for each of its own when it is escaped. With what is below it that stays below the
/// 40,000 characters at which Slack cuts without a word.
const BUDGET: Budget = Budget { line: 2000, below: 28_000, tail: 8_000, cost: |line| escape(line).len() + 1 };

/// `[rooms.NAME.slack]`: `token` and `channel`, or `webhook_url`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[schemars(extend("additionalProperties" = false))]
pub struct Config {
    #[serde(flatten)]
    pub api: Api,
    /// The channel's id, such as `C0123456789`; the bot must be in it.
    #[serde(default)]
    pub channel: Option<String>,
    /// An incoming webhook's address, which is a secret, instead of token and channel.
    #[serde(default)]
    pub webhook_url: Option<Secret>,
    /// A file with the incoming webhook's address.
    #[serde(default)]
    #[schemars(extend("format" = PATH))]
    pub webhook_url_file: Option<PathBuf>,
    /// The workspace's address, such as `https://example.slack.com`, to link to what was posted.
    #[serde(default)]
    pub workspace_url: Option<String>,
}

impl Config {
    fn webhook_url(&self) -> Pair<'_> {
        Pair::new("webhook_url", "webhook_url_file", &self.webhook_url, &self.webhook_url_file)
    }

    fn channel_problem(&self) -> Option<KeyProblem> {
        let hint = "the id is at the end of the channel's details in Slack, such as C0123456789";
        match &self.channel {
            None => Some(KeyProblem::new("channel", "the channel is missing", hint)),
            Some(channel) => channel_problem("channel", channel),
        }
    }

    fn webhook_problem(&self) -> Option<KeyProblem> {
        if self.channel.is_some() {
            let hint = "remove it: the webhook's own channel is fixed";
            return Some(KeyProblem::new("channel", "a webhook cannot choose its channel", hint));
        }
        let inline = self.webhook_url.as_ref().filter(|url| !url.reveal().contains("${"))?;
        address_problem("webhook_url", inline.reveal(), self.api.allow_private)
    }
}

impl room::Settings for Config {
    fn problems(&self) -> Vec<KeyProblem> {
        let mut problems: Vec<KeyProblem> = self.secrets().iter().filter_map(Pair::problem).collect();
        problems.extend(self.api.address_problem());
        if let Some(url) = &self.workspace_url {
            problems.extend(address_problem("workspace_url", url, false));
        }
        match (self.api.token().is_set(), self.webhook_url().is_set()) {
            (true, true) => problems.push(KeyProblem::new(
                "webhook_url",
                "a room posts with a token or through a webhook, not both",
                "keep token and channel, or webhook_url",
            )),
            (false, false) => problems.push(KeyProblem::new(
                "token",
                "neither a token nor a webhook is set",
                "write token_file and channel, or webhook_url_file",
            )),
            (true, false) => problems.extend(self.channel_problem()),
            (false, true) => problems.extend(self.webhook_problem()),
        }
        problems
    }

    fn secrets(&self) -> Vec<Pair<'_>> {
        vec![self.api.token(), self.webhook_url()]
    }

    fn tls_ca(&self) -> Option<&Path> {
        self.api.tls_ca.as_deref()
    }

    fn open(&self, _shared: &Shared) -> anyhow::Result<Box<dyn Room>> {
        Ok(Box::new(Slack::open(self)?))
    }
}

/// The way that posts take.
enum Way {
    Api { client: Client, channel: String },
    Webhook(Webhook),
}

pub(super) struct Slack {
    way: Way,
    workspace_url: Option<String>,
    limiter: Arc<Limiter>,
    uploads: Uploads,
}

impl Slack {
    pub(super) fn open(config: &Config) -> anyhow::Result<Self> {
        let way = match config.webhook_url().read()? {
            Some(url) => {
                if let Some(problem) = address_problem("webhook_url", url.reveal(), config.api.allow_private)
                {
                    return Err(problem.into());
                }
                let reach = Reach { tls_ca: config.api.tls_ca.as_deref(), ..Reach::default() };
                Way::Webhook(Webhook::open(&url, &reach)?)
            }
            None => Way::Api {
                client: Client::open(&config.api)?,
                channel: config.channel.clone().unwrap_or_default(),
            },
        };
        let limiter = Arc::new(Limiter::new(EVERY, BURST));
        Ok(Slack { way, workspace_url: config.workspace_url.clone(), limiter, uploads: Uploads::default() })
    }

    fn request(&self, text: &str, attachments: Vec<Attachment>) -> String {
        let mut message = Message::plain(text);
        if let Way::Api { channel, .. } = &self.way {
            message.channel = Some(channel);
        }
        message.attachments = attachments;
        message.json()
    }

    /// A file, and the words for one that Slack does not take: the message has its link.
    fn file(&self, id: &str, number: usize, file: &File) -> Part {
        let shown = text::one_line(&file.name);
        let plain = Some(self.request(&format!("{shown}: not taken by Slack"), Vec::new()));
        let (id, file) = (format!("{id}/{number}"), Some(Arc::new(file.clone())));
        Part { shown, wire: String::new(), plain, id, file }
    }

    /// Shows a file, once: the message is posted already, and must neither wait nor come again for a picture's sake.
    async fn show(&self, client: &Client, channel: &str, file: &File) -> Result<Sent, Failure> {
        let late = |what: &str| Failure::transient(format!("{what}: no answer in time"));
        let refused = |why: &NotUploaded| {
            self.uploads.close(channel, why);
            Failure::Permanent { reason: format!("a file is not uploaded: {}", why.failure) }
        };
        let uploaded = timeout(UPLOAD, client.upload(&file.name, &file.data)).await;
        let uploaded =
            uploaded.unwrap_or_else(|_| Err(late("the upload").into())).map_err(|why| refused(&why))?;
        match timeout(SHARE, client.share(&uploaded, channel, None)).await {
            Ok(Ok(())) => Ok(Sent { answer: "the file is shared".into(), ..Sent::default() }),
            Ok(Err(Failure::Transient { reason, ambiguous: true, .. })) => Ok(doubtful(&reason)),
            Ok(Err(failure)) => Err(refused(&failure.into())),
            Err(_) => Ok(doubtful("no answer in time")),
        }
    }

    /// The address of a post in `channel`.
    fn link(&self, channel: &str, ts: &str) -> Option<String> {
        let workspace = self.workspace_url.as_deref()?.trim_end_matches('/');
        Some(format!("{workspace}/archives/{channel}/p{}", ts.replace('.', "")))
    }
}

/// A share that may have been made.
fn doubtful(reason: &str) -> Sent {
    let doubt = Some(format!("nobody knows that the file is shown: {reason}"));
    Sent { answer: reason.to_owned(), doubt, ..Sent::default() }
}

/// The attachments that show `body` and `tail`: one for both, unless the body is a table.
fn attachments(view: &View, body: &[String], tail: &[String]) -> Vec<Attachment> {
    let color = colour(view);
    let mut attachments = Vec::new();
    if view.table && !body.is_empty() {
        attachments.push(Attachment::table(color, body));
    }
    let rest = if view.table { tail.to_vec() } else { [body, tail].concat() };
    if !rest.is_empty() {
        attachments.push(Attachment::plain(color, &rest));
    }
    attachments
}

fn colour(view: &View) -> Option<&'static str> {
    match view.severity {
        Severity::Error | Severity::Critical => Some("danger"),
        Severity::Warning => Some("warning"),
        Severity::Debug | Severity::Info | Severity::Notice => None,
    }
}

#[async_trait]
impl Room for Slack {
    fn limiter(&self) -> Arc<Limiter> {
        self.limiter.clone()
    }

    fn render(&self, post: &Post) -> Vec<Part> {
        let part = |shown: Vec<String>, wire| {
            vec![Part { shown: shown.join("\n"), wire, plain: None, id: post.id.clone(), file: None }]
        };
        let (false, [delivery]) = (post.is_batch(), &post.listed[..]) else {
            let shown = render::lines(post);
            let wire = self.request(&shown.join("\n"), Vec::new());
            return part(shown, wire);
        };
        let view = View::of(delivery, &post.zone);
        let marker = view.marker().map(|marker| format!("{marker} ")).unwrap_or_default();
        let mut head = text::wrap(&format!("{marker}{}", view.head()), BUDGET.line);
        let (body, tail) = BUDGET.below(&view, head.split_off(1));
        let wire = self.request(&head[0], attachments(&view, &body, &tail));
        let mut parts = part([head, body, tail].concat(), wire);
        let files = post.files.iter().enumerate();
        parts.extend(files.map(|(number, file)| self.file(&post.id, number, file)));
        parts
    }

    fn takes_files(&self) -> bool {
        matches!(self.way, Way::Api { .. }) && self.uploads.are_open()
    }

    async fn send(&self, part: &Part) -> Result<Sent, Failure> {
        match &self.way {
            Way::Webhook(webhook) => webhook.post(&part.wire).await,
            Way::Api { client, channel } => {
                if let Some(file) = part.file.as_ref().filter(|_| part.wire.is_empty()) {
                    return self.show(client, channel, file).await;
                }
                let sent = client.post(&part.wire).await?.sent;
                Ok(Sent { link: sent.post.as_ref().and_then(|ts| self.link(channel, ts)), ..sent })
            }
        }
    }
}

#[cfg(test)]
mod tests;
