//! Graphs by name: asked for in a chat with words about how they look, drawn by Graphite or by Grafana, and answered as a picture.
//!
//! ```text
//!  words ─▶ Look ─┬▶ question ─▶ Graphite, Grafana ─▶ picture (checked) ─▶ the answer's file
//!         Graph ──┘
//! ```
//!
//! `words`, `question` and `picture` are pure; `render` asks. Files of answers are kept and shown elsewhere, in `command`.

pub(crate) mod easel;
pub(crate) mod graphs;
mod picture;
pub(crate) mod question;
mod render;
pub(crate) mod test_command;
pub(crate) mod words;

use std::time::Duration;

use self::words::Size;
use crate::api::Api;

/// A graph of the configuration.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Graph {
    pub(crate) name: String,
    pub(crate) title: Option<String>,
    pub(crate) api: Api,
    pub(crate) drawing: Drawing,
    /// The time to look back.
    pub(crate) duration: Duration,
    pub(crate) size: Size,
    /// Further parameters of the server's render API.
    pub(crate) parameters: Vec<(String, String)>,
}

/// The content of a graph, by the server that draws it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Drawing {
    /// Graphite draws these.
    Targets(Vec<Target>),
    /// Grafana draws this panel of the dashboard with this UID.
    Panel { dashboard: String, panel: u32 },
}

/// A target of Graphite's.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Target {
    /// The whole expression, with its alias.
    pub(crate) expression: String,
    /// It marks deploys, and is left out by `nodeploy`.
    pub(crate) is_deploy: bool,
}

impl Graph {
    /// The name that people read.
    fn heading(&self) -> &str {
        self.title.as_deref().unwrap_or(&self.name)
    }
}
