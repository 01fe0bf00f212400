//! `hal-bridge graphs`: lists the graphs of a configuration, or lets one be drawn and says what came.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use serde::Serialize;
use service::config::Configuration as _;
use service::process::{print, print_json};

use super::Drawing;
use super::graphs::{list as table, named};
use super::render::render;
use super::words::{Look, written};
use crate::config::Config;

/// The graph that is wanted.
#[derive(clap::Args)]
pub(crate) struct Asked {
    /// The graph's name
    name: String,
    /// Words as in a chat: small, medium, big, 8 hours, nolegend, nodeploy, white
    words: Vec<String>,
    /// Write the picture into this file
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Serialize)]
struct Listed<'a> {
    name: &'a str,
    title: Option<&'a str>,
    /// Seconds.
    duration: u64,
    drawn_by: &'static str,
}

#[derive(Serialize)]
struct Drawn<'a> {
    name: &'a str,
    bytes: usize,
    width: u32,
    height: u32,
    /// The series with data; null if the server does not say.
    series: Option<usize>,
}

pub(crate) fn list(path: &Path, json: bool) -> anyhow::Result<()> {
    let graphs = Config::load(path)?.graphs;
    if json {
        let listed = graphs.values().map(|graph| Listed {
            name: &graph.name,
            title: graph.title.as_deref(),
            duration: graph.duration.as_secs(),
            drawn_by: match graph.drawing {
                Drawing::Targets(_) => "graphite",
                Drawing::Panel { .. } => "grafana",
            },
        });
        return print_json(&listed.collect::<Vec<_>>());
    }
    match graphs.is_empty() {
        true => Ok(print("there are no graphs\n")?),
        false => Ok(print(&(table(&graphs) + "\n"))?),
    }
}

/// An error if there is no picture.
pub(crate) async fn test(path: &Path, asked: &Asked, json: bool) -> anyhow::Result<()> {
    let graphs = Config::load(path)?.graphs;
    let graph = named(&graphs, &asked.name).map_err(|why| anyhow!(why))?;
    let look = Look::read(&asked.words).map_err(|why| anyhow!(why))?;
    let endpoint = graph.api.endpoint()?;
    let picture = render(&endpoint, graph, &look).await.map_err(|why| anyhow!("{}: {why}", graph.name))?;
    if let Some(file) = &asked.output {
        std::fs::write(file, &picture.png).with_context(|| file.display().to_string())?;
    }
    let (width, height, bytes) = (picture.width, picture.height, picture.png.len());
    if json {
        return print_json(&Drawn { name: &graph.name, bytes, width, height, series: picture.series });
    }
    let series = match picture.series {
        Some(1) => ", 1 series with data".into(),
        Some(count) => format!(", {count} series with data"),
        None => String::new(),
    };
    let time = written(look.duration.unwrap_or(graph.duration));
    let text = format!(
        "{}: a PNG picture of {width} × {height} pixels, {bytes} bytes, the last {time}{series}\n",
        graph.name
    );
    Ok(print(&text)?)
}
