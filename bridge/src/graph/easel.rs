//! The turns in which pictures are drawn on this bridge: a few at once, for chats and monitors together, so that neither is a burden to
//! the servers that draw.

use std::sync::Arc;
use std::time::Duration;

use tellhal::attached::File;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::Graph;
use super::render::{Picture, render};
use super::words::Look;

/// The pictures that are drawn at the same time.
const AT_ONCE: usize = 4;

/// The turns. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Easel(Arc<Semaphore>);

impl Default for Easel {
    fn default() -> Easel {
        Easel(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl Easel {
    /// Waits at most `turn` for its turn, and lets a server draw. The error is one line for people, without a secret.
    pub(crate) async fn draw(&self, graph: &Graph, look: &Look, turn: Duration) -> Result<File, String> {
        let Ok(Ok(_turn)) = timeout(turn, self.0.acquire()).await else {
            return Err("too many graphs are being drawn; try again later".into());
        };
        let name = graph.name.as_str();
        let endpoint = graph.api.endpoint().map_err(|error| {
            tracing::error!(graph = name, error = format!("{error:#}"), "a graph's server cannot be asked");
            format!("{name}: its server cannot be asked, as the bridge's log says")
        })?;
        match render(&endpoint, graph, look).await {
            Ok(Picture { png, .. }) => {
                Ok(File { name: format!("{name}.png"), data: png, object: String::new() })
            }
            Err(why) => {
                tracing::warn!(graph = name, why, "a graph is not drawn");
                Err(format!("{name}: {why}"))
            }
        }
    }
}
