//! The picture of a monitor's graph, in the messages of a change to wrong: drawn at that time, once for all of them. A picture that does
//! not come in a few seconds is a line in its stead, and keeps no message.

use std::time::Duration;

use tellhal::Message;
use tellhal::attached::{File, PREFIX};
use tokio::time::timeout;

use crate::graph::Graph;
use crate::graph::words::Look;
use crate::means::Means;

/// The longest time that messages wait for their picture: to be drawn, and to be kept.
const PICTURE: Duration = Duration::from_secs(5);

/// Gives `messages` the picture of `graph`, or the reason why it is missing.
///
/// The messages are not stored yet. A bridge that is killed meanwhile has told nothing, and the next one looks again; a picture that it
/// has kept is in no message, and goes with the old ones.
pub(super) async fn illustrate(means: &Means, graph: &Graph, mut messages: Vec<&mut Message>) {
    let Some(first) = messages.first() else { return };
    let drawn = timeout(PICTURE, draw(means, graph, &first.id)).await;
    let late = || Err(format!("it did not come within {}", humantime::format_duration(PICTURE)));
    match drawn.unwrap_or_else(|_| late()) {
        Ok(file) => {
            let files = [file];
            messages.iter_mut().for_each(|message| means.commands.attach(message, &files));
        }
        Err(why) => {
            tracing::warn!(graph = graph.name, why, "a monitor's messages have no picture");
            let line = format!("\nthe picture of the graph {} is missing: {why}", graph.name);
            messages.iter_mut().for_each(|message| message.text += &line);
        }
    }
}

/// The picture as it is kept for the message `id`.
async fn draw(means: &Means, graph: &Graph, id: &str) -> Result<File, String> {
    let mut file = means.easel.draw(graph, &Look::default(), PICTURE).await?;
    let object = format!("{PREFIX}{id}-0");
    means.commands.keep_file(object, &mut file).await.map_err(|error| {
        tracing::error!(error = format!("{error:#}"), "a picture is not kept");
        "NATS does not keep it".to_owned()
    })?;
    Ok(file)
}
