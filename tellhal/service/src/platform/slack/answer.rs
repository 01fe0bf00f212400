//! The meaning of Slack's answers: those of the Web API, in which errors also have status 200, and those of an incoming webhook, a
//! bare word.

use reqwest::header::HeaderMap;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::config::is_id;
use crate::http::{Answer, Endpoint, Reach};
use crate::platform::{Failure, Sent};
use crate::secret::Secret;
use crate::text::one_line;

/// An incoming webhook: it posts into one channel, and cannot edit.
pub struct Webhook(Endpoint);

impl Webhook {
    pub fn open(url: &Secret, reach: &Reach<'_>) -> anyhow::Result<Webhook> {
        Ok(Webhook(Endpoint::new(url.reveal(), reach)?))
    }

    /// Posts the body of a message.
    pub async fn post(&self, body: &str) -> Result<Sent, Failure> {
        let answer = self.0.post(body.to_owned(), HeaderMap::new()).await?;
        let word = answer.body.trim();
        let is_refusal =
            answer.status.is_client_error() && !matches!(answer.status.as_u16(), 408 | 425 | 429);
        if is_refusal && is_name(word) {
            return Err(by_name(&self.0, word, &answer));
        }
        self.0.by_status(&answer)?;
        match reply(&answer) {
            Some(reply) if !reply.ok => Err(by_name(&self.0, &reply.error, &answer)),
            None if !answer.complete || word != "ok" => Ok(unknown(&self.0, &answer)),
            _ => Ok(self.0.taken(&answer)),
        }
    }
}

/// A post that was taken, and its channel: a person's id becomes that of the conversation with that person.
pub struct Posted {
    pub sent: Sent,
    pub channel: Option<String>,
}

#[derive(Deserialize)]
struct Reply {
    ok: bool,
    #[serde(default)]
    error: String,
    ts: Option<String>,
    channel: Option<String>,
}

/// Reads the answer to a post.
pub(super) fn posted(endpoint: &Endpoint, answer: &Answer) -> Result<Posted, Failure> {
    endpoint.by_status(answer)?;
    match reply(answer) {
        None => Ok(Posted { sent: unknown(endpoint, answer), channel: None }),
        Some(reply) if reply.ok => Ok(Posted {
            sent: Sent { post: reply.ts.filter(|ts| is_ts(ts)), ..endpoint.taken(answer) },
            channel: reply.channel.filter(|channel| is_id(channel)),
        }),
        Some(reply) => Err(by_name(endpoint, &reply.error, answer)),
    }
}

/// Reads the answer to a question.
pub(super) fn told<T: DeserializeOwned>(endpoint: &Endpoint, answer: &Answer) -> Result<T, Failure> {
    endpoint.by_status(answer)?;
    if let Some(reply) = reply(answer).filter(|reply| !reply.ok) {
        return Err(by_name(endpoint, &reply.error, answer));
    }
    let value = serde_json::from_str(&answer.body).ok().filter(|_| answer.complete);
    value.ok_or_else(|| {
        let what = format!("answered {}, {}: {}", answer.status, not_slacks(answer), one_line(&answer.body));
        endpoint.later(answer, &what, false)
    })
}

/// The body of an answer, if it is whole and Slack's.
fn reply(answer: &Answer) -> Option<Reply> {
    serde_json::from_str(&answer.body).ok().filter(|_| answer.complete)
}

/// True if the bot has not the permission for what was asked.
pub(super) fn is_missing_scope(answer: &Answer) -> bool {
    reply(answer).is_some_and(|reply| !reply.ok && reply.error == "missing_scope")
}

fn not_slacks(answer: &Answer) -> &'static str {
    if answer.complete { "which is not Slack's answer" } else { "and the answer broke off" }
}

fn unknown(endpoint: &Endpoint, answer: &Answer) -> Sent {
    endpoint.taken_without_proof(answer, not_slacks(answer))
}

fn by_name(endpoint: &Endpoint, error: &str, answer: &Answer) -> Failure {
    let name = if is_name(error) { error } else { "an error without a name" };
    let what = format!("slack says {name}");
    match name {
        "ratelimited"
        | "rate_limited"
        | "service_unavailable"
        | "internal_error"
        | "request_timeout"
        | "team_added_to_org"
        | "org_login_required" => endpoint.later(answer, &what, false),
        // "It is possible some aspect of the operation succeeded before the error was raised."
        "fatal_error" => endpoint.later(answer, &what, true),
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
        | "posting_to_general_channel_denied" => Failure::Auth { reason: endpoint.reason(&what) },
        name if name.starts_with("restricted_action") => Failure::Auth { reason: endpoint.reason(&what) },
        _ => Failure::Permanent { reason: endpoint.reason(&what) },
    }
}

/// True if a text is the id of a post, which is a time, and not, for example, a repetition of our token.
pub(super) fn is_ts(ts: &str) -> bool {
    (1..=30).contains(&ts.len()) && ts.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

/// True if a text is the name of an error and not, for example, a page that repeats our token.
fn is_name(error: &str) -> bool {
    !error.is_empty() && error.len() <= 60 && error.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}
