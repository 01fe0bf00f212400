//! Matrix rooms that are not encrypted. The post's key is the transaction id, so a post that is sent again is one event.
//! Only posts; commands are the bridge's.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use service::config::KeyProblem;
use service::platform::matrix::content::{block, coloured, escape};
use service::platform::matrix::{Client, Clients, Content, File as Upload, Server, Target, room_problem};
use service::platform::{Failure, Limiter, Sent};
use service::secret::Pair;
use service::text;
use tellhal::Severity;
use tellhal::attached::File;
use tokio::time::timeout;

use super::{self as room, Part, Post, Room, Shared};
use crate::render::budget::Budget;
use crate::render::{self, View};

/// A line is sent twice, as text and as HTML. The first one has at most eight bytes for each of its own; with what is below
/// it the content stays below `content::LARGEST`.
const BUDGET: Budget = Budget { line: 2000, below: 40_000, tail: 8_000, cost };

/// The longest time for an upload: together with the event that shows it, it must fit into the time of one part.
const UPLOAD: Duration = Duration::from_secs(2);

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

    fn content(&self, shown: &str, html: Option<&str>) -> Content {
        if self.notice { Content::notice(shown, html) } else { Content::text(shown, html) }
    }

    fn part(&self, post: &Post, shown: &[String], html: Option<&str>) -> Vec<Part> {
        let shown = shown.join("\n");
        let content = self.content(&shown, html);
        vec![Part { shown, wire: content.to_string(), plain: None, id: post.key(), file: None }]
    }

    /// A file, and the words for one that the homeserver does not take.
    fn file(&self, key: &str, number: usize, file: &File) -> Part {
        let shown = text::one_line(&file.name);
        let plain = Some(self.content(&format!("{shown}: not taken by this homeserver"), None).to_string());
        let (id, file) = (format!("{key}/{number}"), Some(Arc::new(file.clone())));
        Part { shown, wire: String::new(), plain, id, file }
    }

    /// Uploads a file, once: the message is posted already, and must not come again and again for a picture's sake.
    async fn upload(&self, file: &File) -> Result<String, Failure> {
        let file = Upload::new(&file.name, file.media_type(), file.data.clone());
        let refused = |reason| Failure::Permanent { reason: format!("a file is not uploaded: {reason}") };
        let uploaded = timeout(UPLOAD, self.client.upload(&file)).await;
        let address = uploaded.map_err(|_| refused("no answer in time".into()))?;
        let address = address.map_err(|failure| refused(failure.to_string()))?;
        Ok(Content::file(&file, &address).to_string())
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
        let mut parts = self.part(post, &[head, body, tail].concat(), html.as_deref());
        let files = post.files.iter().enumerate();
        parts.extend(files.map(|(number, file)| self.file(&post.key(), number, file)));
        parts
    }

    fn takes_files(&self) -> bool {
        true
    }

    async fn send(&self, part: &Part) -> Result<Sent, Failure> {
        match &part.file {
            Some(file) if part.wire.is_empty() => {
                let content = self.upload(file).await?;
                self.target.send(&self.client, &part.id, &content).await
            }
            _ => self.target.send(&self.client, &part.id, &part.wire).await,
        }
    }
}

#[cfg(test)]
mod tests;
