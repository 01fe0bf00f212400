//! The graphs of the configuration in force, and the chat command about them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tellhal::command::Answer;
use tellhal::nearest;

use super::easel::Easel;
use super::question::title;
use super::words::Look;
use super::{Graph, words};
use crate::command::own::{Call, Own};
use crate::means::Means;

const COMMANDS: [(&str, &str); 1] = [(
    "graph [NAME] [WORDS]",
    "draws a graph: small, medium, big, 8 hours, nolegend, nodeploy, white; alone, lists the graphs",
)];
/// The longest wait for a turn.
const TURN: Duration = Duration::from_secs(30);

/// The graphs on this bridge. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Graphs {
    graphs: Arc<Mutex<BTreeMap<String, Graph>>>,
    easel: Easel,
}

impl Graphs {
    /// No graphs yet; the command is answered once there are some.
    pub(crate) fn new(means: &Means) -> Graphs {
        let graphs = Graphs { graphs: Arc::default(), easel: means.easel.clone() };
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
        let file = self.easel.draw(&graph, &look, TURN).await?;
        Ok(Answer { files: vec![file], ..Answer::done(title(&graph, &look)) })
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
