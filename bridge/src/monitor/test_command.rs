//! `hal-bridge monitors test NAME`: looks once, and shows the data and the verdict. Tells and stores nothing.

use std::path::Path;

use anyhow::bail;
use nkeys::KeyPair;
use serde::Serialize;
use service::config::Configuration as _;
use service::process::{print, print_json};
use tellhal::paint::Paint;
use tellhal::{Publisher, nearest};

use super::Monitor;
use super::observation::{Level, Observation, Reading};
use super::plot::plot;
use super::session::KIND;
use super::source::Uses;
use super::store::Stored;
use crate::bus::Bus;
use crate::config::Config;
use crate::memory::Memory;

/// One series as it is shown.
#[derive(Serialize)]
struct Series {
    series: String,
    verdict: &'static str,
    words: String,
    value: Option<f64>,
    points: Vec<Option<f64>>,
}

#[derive(Serialize)]
struct Shown {
    monitor: String,
    kind: &'static str,
    /// The reason why nothing could be seen.
    error: Option<String>,
    series: Vec<Series>,
    /// The messages of events that it would send.
    events: Vec<String>,
}

/// An error if nothing can be seen.
pub(crate) async fn test(path: &Path, name: &str, json: bool) -> anyhow::Result<()> {
    let config = Config::load(path)?;
    let Some(monitor) = config.monitors.iter().find(|monitor| monitor.name == name) else {
        let names = config.monitors.iter().map(|monitor| monitor.name.as_str());
        bail!("there is no monitor {name}: {}", nearest::hint(name, names));
    };
    let bus = match monitor.source.settings().uses() {
        Uses::Nothing => None,
        Uses::Log => Some(connect(&config, KeyPair::new_user()).await?),
        Uses::Handlers => Some(connect(&config, config.signing_key.read()?).await?),
    };
    let memory = match &bus {
        Some(bus) => Memory::new(bus, KIND).get::<Stored>(name).await?.map(|entry| entry.value.source),
        None => None,
    };
    let observation = match monitor.open(bus.as_ref()) {
        Ok(source) => monitor.observe(source.as_ref(), &memory.unwrap_or_default()).await,
        Err(reason) => Err(reason),
    };
    let shown = shown(monitor, observation);
    if json {
        print_json(&shown)?;
    } else {
        print(&lines(&shown, Paint::of(&std::io::stdout())))?;
    }
    match shown.error {
        None => Ok(()),
        Some(_) => bail!("monitor {name} cannot be observed"),
    }
}

async fn connect(config: &Config, key: KeyPair) -> anyhow::Result<Bus> {
    let publisher = Publisher::service(&config.nats, "hal-bridge monitors test").await?;
    Bus::with_handlers(&publisher, config.handlers.as_ref(), key, &config.streams).await
}

fn shown(monitor: &Monitor, observation: Observation) -> Shown {
    let (observed, error) = match observation {
        Ok(observed) => (observed, None),
        Err(reason) => (Default::default(), Some(reason)),
    };
    let series = |reading: Reading| Series {
        verdict: match reading.level {
            Level::Good => "good",
            Level::Between => "stays as it is",
            Level::Wrong => "wrong",
            Level::Nothing => "no data",
        },
        series: if reading.series.is_empty() { monitor.label.clone() } else { reading.series },
        words: reading.words,
        value: reading.value.filter(|value| value.is_finite()),
        points: reading.points,
    };
    Shown {
        monitor: monitor.name.clone(),
        kind: monitor.source.kind(),
        error,
        series: observed.readings.into_iter().map(series).collect(),
        events: observed.events.into_iter().map(|event| event.text).collect(),
    }
}

fn lines(shown: &Shown, paint: Paint) -> String {
    let mut text = format!("{} ({})\n", shown.monitor, shown.kind);
    if let Some(error) = &shown.error {
        text += &format!("  {} {error}\n", paint.bad("cannot be observed:"));
    } else if shown.series.is_empty() {
        text += &format!("  {}\n", paint.caution("no data"));
    }
    for series in &shown.series {
        let verdict = match series.verdict {
            "wrong" => paint.bad("wrong"),
            "good" => paint.good("good"),
            other => paint.caution(other),
        };
        text += &format!("  {}: {verdict}: {}\n", series.series, series.words);
        let plot = plot(&series.points);
        if !plot.is_empty() {
            text += &format!("    {plot}\n");
        }
    }
    for event in &shown.events {
        text += &format!("  {event}\n");
    }
    text
}
