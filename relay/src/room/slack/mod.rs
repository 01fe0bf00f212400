//! Slack: the Web API with a bot's token, or an incoming webhook. Only posts; commands are the bridge's.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::HeaderMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use service::config::{KeyProblem, PATH};
use service::text;
use tellhal::Severity;

use super::{self as room, Part, Post, Room, Shared};
use crate::render::budget::Budget;
use crate::render::{self, View};
use service::http::{Answer, Endpoint, Reach, address_problem};
use service::platform::{Failure, Limiter, Sent};
use service::secret::{Pair, Secret};

/// About one message a second and channel, with short bursts.
const EVERY: Duration = Duration::from_secs(1);
const BURST: u32 = 3;
/// The first line has at most five bytes for each of its own when it is escaped. With what is below it that stays below the
/// 40,000 characters at which Slack cuts without a word.
const BUDGET: Budget = Budget { line: 2000, below: 28_000, tail: 8_000, cost: |line| escape(line).len() + 1 };

/// `[rooms.NAME.slack]`: `token` and `channel`, or `webhook_url`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The bot's token (`xoxb-…`), which needs the scope `chat:write`.
    #[serde(default)]
    pub token: Option<Secret>,
    /// A file with the bot's token.
    #[serde(default)]
    #[schemars(extend("format" = PATH))]
    pub token_file: Option<PathBuf>,
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
    /// The address of the Web API.
    #[serde(default = "api_url")]
    pub api_url: String,
    /// The workspace's address, such as `https://example.slack.com`, to link to what was posted.
    #[serde(default)]
    pub workspace_url: Option<String>,
    /// A CA certificate to trust instead of the system's.
    #[serde(default)]
    #[schemars(extend("format" = PATH))]
    pub tls_ca: Option<PathBuf>,
    /// Let addresses be plain http elsewhere than on this machine.
    #[serde(default)]
    pub allow_private: bool,
}

fn api_url() -> String {
    "https://slack.com/api".into()
}

impl Config {
    fn token(&self) -> Pair<'_> {
        Pair::new("token", "token_file", &self.token, &self.token_file)
    }

    fn webhook_url(&self) -> Pair<'_> {
        Pair::new("webhook_url", "webhook_url_file", &self.webhook_url, &self.webhook_url_file)
    }

    fn channel_problem(&self) -> Option<KeyProblem> {
        let hint = "the id is at the end of the channel's details in Slack, such as C0123456789";
        match &self.channel {
            None => Some(KeyProblem::new("channel", "the channel is missing", hint)),
            Some(id) if id.len() > 1 && id.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()) => {
                None
            }
            Some(id) => Some(KeyProblem::new("channel", format!("{id:?} is not a channel's id"), hint)),
        }
    }

    fn webhook_problem(&self) -> Option<KeyProblem> {
        if self.channel.is_some() {
            let hint = "remove it: the webhook's own channel is fixed";
            return Some(KeyProblem::new("channel", "a webhook cannot choose its channel", hint));
        }
        let inline = self.webhook_url.as_ref().filter(|url| !url.reveal().contains("${"))?;
        address_problem("webhook_url", inline.reveal(), self.allow_private)
    }
}

impl room::Settings for Config {
    fn problems(&self) -> Vec<KeyProblem> {
        let mut problems: Vec<KeyProblem> = self.secrets().iter().filter_map(Pair::problem).collect();
        problems.extend(address_problem("api_url", &self.api_url, self.allow_private));
        if let Some(url) = &self.workspace_url {
            problems.extend(address_problem("workspace_url", url, false));
        }
        match (self.token().is_set(), self.webhook_url().is_set()) {
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
        vec![self.token(), self.webhook_url()]
    }

    fn tls_ca(&self) -> Option<&Path> {
        self.tls_ca.as_deref()
    }

    fn open(&self, _shared: &Shared) -> anyhow::Result<Box<dyn Room>> {
        Ok(Box::new(Slack::open(self)?))
    }
}

/// `chat.postMessage`'s and the webhook's request. No text of a message is read as markup: `<`, `>` and `&` are escaped, and
/// everything else that formats is switched off or without effect in a code block, so that no text can ping, link elsewhere
/// than it says or break out of a quotation.
#[derive(Serialize)]
struct Request<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'a str>,
    text: String,
    mrkdwn: bool,
    link_names: bool,
    unfurl_links: bool,
    unfurl_media: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    attachments: Option<Vec<Attachment>>,
}

/// The lines below the first, beside a bar in the severity's colour.
#[derive(Serialize)]
struct Attachment {
    #[serde(skip_serializing_if = "Option::is_none")]
    color: Option<&'static str>,
    text: String,
    /// `text` for a table in a code block: fixed width is had only by markup.
    mrkdwn_in: &'static [&'static str],
}

#[derive(Deserialize)]
struct Reply {
    ok: bool,
    #[serde(default)]
    error: String,
    ts: Option<String>,
}

pub(super) struct Slack {
    endpoint: Endpoint,
    /// With a token; an incoming webhook has its own.
    channel: Option<String>,
    workspace_url: Option<String>,
    limiter: Arc<Limiter>,
}

impl Slack {
    pub(super) fn open(config: &Config) -> anyhow::Result<Self> {
        let reach = Reach { public_only: false, tls_ca: config.tls_ca.as_deref() };
        let endpoint = match config.webhook_url().read()? {
            Some(url) => {
                if let Some(problem) = address_problem("webhook_url", url.reveal(), config.allow_private) {
                    return Err(problem.into());
                }
                Endpoint::new(url.reveal(), &reach)?
            }
            None => {
                let missing = || anyhow::anyhow!("token: the token is missing");
                let token = config.token().read()?.ok_or_else(missing)?;
                let url = format!("{}/chat.postMessage", config.api_url.trim_end_matches('/'));
                let mut endpoint = Endpoint::new(&url, &reach)?;
                endpoint.header("authorization", &Secret::new(format!("Bearer {}", token.reveal())))?;
                endpoint
            }
        };
        let channel = config.channel.clone().filter(|_| config.token().is_set());
        let limiter = Arc::new(Limiter::new(EVERY, BURST));
        Ok(Slack { endpoint, channel, workspace_url: config.workspace_url.clone(), limiter })
    }

    fn request(&self, text: &str, attachments: Vec<Attachment>) -> String {
        let request = Request {
            channel: self.channel.as_deref(),
            text: escape(text),
            mrkdwn: false,
            link_names: false,
            unfurl_links: false,
            unfurl_media: false,
            attachments: Some(attachments).filter(|attachments| !attachments.is_empty()),
        };
        serde_json::to_string(&request).unwrap_or_default()
    }

    fn sent(&self, answer: &Answer, ts: Option<String>) -> Sent {
        let link = || {
            let (workspace, channel) = (self.workspace_url.as_deref()?, self.channel.as_deref()?);
            let at = ts.as_deref()?.replace('.', "");
            Some(format!("{}/archives/{channel}/p{at}", workspace.trim_end_matches('/')))
        };
        Sent { link: link(), post: ts, ..self.endpoint.taken(answer) }
    }

    /// Reads an answer of the Web API, in which errors also have status 200.
    fn api_answer(&self, answer: &Answer) -> Result<Sent, Failure> {
        self.endpoint.by_status(answer)?;
        let Some(reply) = reply(answer) else { return Ok(self.unknown(answer)) };
        match reply.ok {
            true => Ok(self.sent(answer, reply.ts.filter(|ts| is_ts(ts)))),
            false => Err(self.by_name(&reply.error, answer)),
        }
    }

    /// Reads an answer of an incoming webhook, a bare word.
    fn webhook_answer(&self, answer: &Answer) -> Result<Sent, Failure> {
        let word = answer.body.trim();
        if answer.status.is_client_error()
            && is_name(word)
            && !matches!(answer.status.as_u16(), 408 | 425 | 429)
        {
            return Err(self.by_name(word, answer));
        }
        self.endpoint.by_status(answer)?;
        match reply(answer) {
            Some(reply) if !reply.ok => Err(self.by_name(&reply.error, answer)),
            None if !answer.complete || word != "ok" => Ok(self.unknown(answer)),
            _ => Ok(self.endpoint.taken(answer)),
        }
    }

    fn unknown(&self, answer: &Answer) -> Sent {
        let what = if answer.complete { "which is not Slack's answer" } else { "and the answer broke off" };
        self.endpoint.taken_without_proof(answer, what)
    }

    fn by_name(&self, error: &str, answer: &Answer) -> Failure {
        let name = if is_name(error) { error } else { "an error without a name" };
        let what = format!("slack says {name}");
        match name {
            "ratelimited"
            | "rate_limited"
            | "service_unavailable"
            | "internal_error"
            | "request_timeout"
            | "team_added_to_org"
            | "org_login_required" => self.endpoint.later(answer, &what, false),
            // "It is possible some aspect of the operation succeeded before the error was raised."
            "fatal_error" => self.endpoint.later(answer, &what, true),
            "not_authed"
            | "invalid_auth"
            | "account_inactive"
            | "token_revoked"
            | "token_expired"
            | "missing_scope"
            | "no_permission"
            | "not_allowed_token_type"
            | "ekm_access_denied"
            | "access_denied"
            | "channel_not_found"
            | "not_in_channel"
            | "is_archived"
            | "channel_is_archived"
            | "action_prohibited"
            | "invalid_token"
            | "no_service"
            | "no_active_hooks"
            | "no_team"
            | "team_disabled"
            | "user_not_found"
            | "posting_to_general_channel_denied" => Failure::Auth { reason: self.endpoint.reason(&what) },
            name if name.starts_with("restricted_action") => {
                Failure::Auth { reason: self.endpoint.reason(&what) }
            }
            _ => Failure::Permanent { reason: self.endpoint.reason(&what) },
        }
    }
}

/// The body of an answer, if it is whole and Slack's.
fn reply(answer: &Answer) -> Option<Reply> {
    serde_json::from_str(&answer.body).ok().filter(|_| answer.complete)
}

/// True if a text is the id of a post, which is a time, and not, for example, a repetition of our token.
fn is_ts(ts: &str) -> bool {
    ts.len() <= 30 && ts.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

/// True if a text is the name of an error and not, for example, a page that repeats our token.
fn is_name(error: &str) -> bool {
    !error.is_empty() && error.len() <= 60 && error.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

/// Escapes the three characters that Slack unescapes; it would show others in their escaped form.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The attachments that show `body` and `tail`: one for both, unless the body is a table.
fn attachments(view: &View, body: &[String], tail: &[String]) -> Vec<Attachment> {
    let (color, joined) = (colour(view), |lines: &[String]| escape(&lines.join("\n")));
    let plain = |lines: &[String]| Attachment { color, text: joined(lines), mrkdwn_in: &[] };
    let mut attachments = Vec::new();
    if view.table && !body.is_empty() {
        // The only markup that could end the block.
        let rows = joined(body).replace("```", "'''");
        attachments.push(Attachment { color, text: format!("```\n{rows}\n```"), mrkdwn_in: &["text"] });
    }
    let rest = if view.table { tail.to_vec() } else { [body, tail].concat() };
    if !rest.is_empty() {
        attachments.push(plain(&rest));
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
            vec![Part { shown: shown.join("\n"), wire, plain: None, id: post.id.clone() }]
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
        part([head, body, tail].concat(), wire)
    }

    async fn send(&self, part: &Part) -> Result<Sent, Failure> {
        let answer = self.endpoint.post(part.wire.clone(), HeaderMap::new()).await?;
        match self.channel {
            Some(_) => self.api_answer(&answer),
            None => self.webhook_answer(&answer),
        }
    }
}

#[cfg(test)]
mod tests;
