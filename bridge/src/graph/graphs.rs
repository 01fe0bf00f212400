//! The graphs of the configuration in force, and the chat command about them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tellhal::attached::File;
use tellhal::command::Answer;
use tellhal::nearest;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::question::title;
use super::render::{Picture, render};
use super::words::Look;
use super::{Graph, words};
use crate::command::own::{Call, Own};
use crate::means::Means;

const COMMANDS: [(&str, &str); 1] = [(
    "graph [NAME] [WORDS]",
    "draws a graph: small, medium, big, 8 hours, nolegend, nodeploy, white; alone, lists the graphs",
)];
/// The pictures that are drawn at the same time, so that a chat is no burden to the server.
const AT_ONCE: usize = 4;
/// The longest wait for a turn.
const TURN: Duration = Duration::from_secs(30);

/// The graphs on this bridge. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Graphs {
    graphs: Arc<Mutex<BTreeMap<String, Graph>>>,
    turns: Arc<Semaphore>,
}

impl Graphs {
    /// No graphs yet; the command is answered once there are some.
    pub(crate) fn new(means: &Means) -> Graphs {
        let graphs = Graphs { graphs: Arc::default(), turns: Arc::new(Semaphore::new(AT_ONCE)) };
        means.commands.owners.add(Arc::new(graphs.clone()));
        graphs
    }

    pub(crate) fn change(&self, graphs: &BTreeMap<String, Graph>) {
        self.lock().clone_from(graphs);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Graph>> {
        self.graphs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The error is one line for the person.
    async fn drawn(&self, name: &str, words: &[String]) -> Result<Answer, String> {
        let graph = named(&self.lock(), name)?.clone();
        let look = Look::read(words)?;
        let busy = || "too many graphs are being drawn; try again later".to_owned();
        let Ok(Ok(_turn)) = timeout(TURN, self.turns.acquire()).await else { return Err(busy()) };
        let endpoint = graph.api.endpoint().map_err(|error| {
            tracing::error!(graph = name, error = format!("{error:#}"), "a graph's server cannot be asked");
            format!("{name}: its server cannot be asked, as the bridge's log says")
        })?;
        match render(&endpoint, &graph, &look).await {
            Ok(Picture { png, .. }) => {
                let file = File { name: format!("{name}.png"), data: png, object: String::new() };
                Ok(Answer { files: vec![file], ..Answer::done(title(&graph, &look)) })
            }
            Err(why) => {
                tracing::warn!(graph = name, why, "a graph is not drawn");
                Err(format!("{name}: {why}"))
            }
        }
    }
}

#[async_trait]
impl Own for Graphs {
    fn commands(&self) -> &'static [(&'static str, &'static str)] {
        // Without graphs the name is free for a program.
        if self.lock().is_empty() { &[] } else { &COMMANDS }
    }

    async fn answer(&self, call: &Call<'_>) -> Answer {
        match call.words {
            [] => Answer { fixed_width: true, ..Answer::done(list(&self.lock())) },
            [name, words @ ..] => self.drawn(name, words).await.unwrap_or_else(Answer::failed),
        }
    }
}

/// The graph of a name. The error names those that there are.
pub(super) fn named<'a>(graphs: &'a BTreeMap<String, Graph>, name: &str) -> Result<&'a Graph, String> {
    let hint = || nearest::hint(name, graphs.keys().map(String::as_str));
    graphs.get(name).ok_or_else(|| format!("there is no graph {name}; {}", hint()))
}

/// A line a graph: its name, its time, and its title.
pub(super) fn list(graphs: &BTreeMap<String, Graph>) -> String {
    let rows = graphs.values().map(|graph| (graph.name.as_str(), words::written(graph.duration), graph));
    let rows: Vec<_> = rows.collect();
    let width = |cell: fn(&(&str, String, &Graph)) -> usize| rows.iter().map(cell).max().unwrap_or(0);
    let (name, time) = (width(|row| row.0.chars().count()), width(|row| row.1.chars().count()));
    let line = |row: &(&str, String, &Graph)| {
        let title = row.2.title.as_deref().unwrap_or_default();
        format!("{:name$}  {:time$}  {title}", row.0, row.1).trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}
