//! Matrix rooms that are not encrypted. The post's key is the transaction id, so a post that is sent again is one event.
//! Only posts; commands are the bridge's.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use service::config::KeyProblem;
use service::platform::matrix::content::{block, coloured, escape};
use service::platform::matrix::{Client, Clients, Content, Server, Target, room_problem};
use service::platform::{Failure, Limiter, Sent};
use service::secret::Pair;
use service::text;
use tellhal::Severity;

use super::{self as room, Part, Post, Room, Shared};
use crate::render::budget::Budget;
use crate::render::{self, View};

/// A line is sent twice, as text and as HTML. The first one has at most eight bytes for each of its own; with what is below
/// it the content stays below `content::LARGEST`.
const BUDGET: Budget = Budget { line: 2000, below: 40_000, tail: 8_000, cost };

/// The bytes of a line as text and as HTML, each in JSON and with what ends it.
fn cost(line: &str) -> usize {
    let json = |text: &str| text.len() + text.matches(['"', '\\', '\t']).count();
    json(line) + json(&escape(line)) + "\\n<br>".len()
}

/// `[rooms.NAME.matrix]`. The room must not be encrypted: posts are sent in the clear.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(extend("additionalProperties" = false))]
pub struct Config {
    #[serde(flatten)]
    pub server: Server,
    /// The room's alias, such as `#ops:example.com`, or its id, which begins with `!`. It is joined when that is needed; a
    /// room that is not public has to invite the account first.
    pub room: String,
    /// Post notices, which other robots must not answer and for which no bell rings, instead of texts.
    #[serde(default)]
    pub notice: bool,
}

impl room::Settings for Config {
    fn problems(&self) -> Vec<KeyProblem> {
        self.server.problems().into_iter().chain(room_problem("room", &self.room)).collect()
    }

    fn secrets(&self) -> Vec<Pair<'_>> {
        vec![self.server.token()]
    }

    fn tls_ca(&self) -> Option<&Path> {
        self.server.tls_ca.as_deref()
    }

    fn open(&self, shared: &Shared) -> anyhow::Result<Box<dyn Room>> {
        Ok(Box::new(Matrix::open(self, shared)?))
    }
}

pub(super) struct Matrix {
    client: Arc<Client>,
    target: Target,
    notice: bool,
}

impl Matrix {
    pub(super) fn open(config: &Config, shared: &Shared) -> anyhow::Result<Self> {
        let client = shared.of::<Clients>().get(config.server.settings()?)?;
        Ok(Matrix { client, target: Target::new(&config.room), notice: config.notice })
    }

    fn part(&self, post: &Post, shown: &[String], html: Option<&str>) -> Vec<Part> {
        let shown = shown.join("\n");
        let content = if self.notice { Content::notice(&shown, html) } else { Content::text(&shown, html) };
        vec![Part { shown, wire: content.to_string(), plain: None, id: post.key() }]
    }
}

/// The message as HTML, if that adds something: the colour of its marker, or the fixed width of a table. A plain text is
/// shown as it is by every client.
fn html(view: &View, head: &str, body: &[String], tail: &[String]) -> Option<String> {
    let marker = view.marker();
    if marker.is_none() && !view.table {
        return None;
    }
    let mut html = match marker {
        Some(marker) => {
            format!("{}{}", coloured(marker, colour(view)), escape(head.trim_start_matches(marker)))
        }
        None => escape(head),
    };
    // HTML shows several spaces as one.
    let is_spaced =
        body.iter().any(|line| line.starts_with(' ') || line.contains("  ") || line.contains('\t'));
    if is_spaced {
        html += &block(body);
    }
    let lines = if is_spaced { tail.to_vec() } else { [body, tail].concat() };
    let lines: Vec<String> = lines.iter().map(|line| escape(line)).collect();
    if !lines.is_empty() {
        // A block ends its own line.
        html += if is_spaced { "" } else { "<br>" };
        html += &lines.join("<br>");
    }
    Some(html)
}

fn colour(view: &View) -> &'static str {
    match view.severity {
        Severity::Error | Severity::Critical => "#d00000",
        _ => "#b06000",
    }
}

#[async_trait]
impl Room for Matrix {
    fn limiter(&self) -> Arc<Limiter> {
        self.client.limiter.clone()
    }

    fn render(&self, post: &Post) -> Vec<Part> {
        let (false, [delivery]) = (post.is_batch(), &post.listed[..]) else {
            return self.part(post, &render::lines(post), None);
        };
        let view = View::of(delivery, &post.zone);
        let marker = view.marker().map(|marker| format!("{marker} ")).unwrap_or_default();
        let mut head = text::wrap(&format!("{marker}{}", view.head()), BUDGET.line);
        let (body, tail) = BUDGET.below(&view, head.split_off(1));
        let html = html(&view, &head[0], &body, &tail);
        self.part(post, &[head, body, tail].concat(), html.as_deref())
    }

    async fn send(&self, part: &Part) -> Result<Sent, Failure> {
        self.target.send(&self.client, &part.id, &part.wire).await
    }
}

#[cfg(test)]
mod tests;
