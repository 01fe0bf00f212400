//! `hal-bridge jobs`: the schedules of a configuration, with their next due times and how they went last.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use nkeys::KeyPair;
use serde::Serialize;
use service::config::Configuration as _;
use service::process::{print, print_json};
use tellhal::{Publisher, Timestamp, nearest};
use tokio::time::timeout;

use crate::bus::Bus;
use crate::config::Config;
use crate::memory::Memory;
use crate::schedule::job::Job;
use crate::schedule::jobs::RECORDS;
use crate::schedule::listed::{Listed, table};
use crate::schedule::record::Record;

/// The longest wait for how they went.
const PATIENCE: Duration = Duration::from_secs(3);

/// The schedules that are wanted.
#[derive(clap::Args)]
pub(crate) struct Asked {
    /// Only this schedule
    name: Option<String>,
    /// Print so many of the due times to come
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=10_000))]
    next: u16,
    /// The time from which on due times are printed, instead of now
    #[arg(long, value_name = "TIME", requires = "next")]
    from: Option<Timestamp>,
}

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    listed: Listed,
    /// The next due times.
    due: Vec<Timestamp>,
}

pub(crate) async fn list(path: &Path, asked: &Asked, json: bool) -> anyhow::Result<()> {
    let config = Config::load(path)?;
    let jobs: Vec<&Job> = config
        .schedules
        .iter()
        .filter(|job| asked.name.as_ref().is_none_or(|name| job.name == *name))
        .collect();
    if let (Some(name), []) = (&asked.name, jobs.as_slice()) {
        let names = config.schedules.iter().map(|job| job.name.as_str());
        bail!("there is no schedule {name}: {}", nearest::hint(name, names));
    }
    // Due times to come are the configuration's alone.
    let records = match asked.next {
        0 => timeout(PATIENCE, records(&config, &jobs))
            .await
            .context("no answer of NATS")
            .and_then(|records| records),
        _ => Ok(vec![None; jobs.len()]),
    };
    let records = records.unwrap_or_else(|error| {
        eprintln!("hal-bridge: how they went last is not known: {error:#}");
        vec![None; jobs.len()]
    });
    let now = asked.from.unwrap_or_else(Timestamp::now);
    let shown = jobs.iter().zip(&records).map(|(job, record)| Shown {
        listed: Listed::new(job, record.as_ref(), now),
        due: due(job, now, asked.next),
    });
    let shown: Vec<Shown> = shown.collect();
    if json {
        return print_json(&shown);
    }
    if shown.is_empty() {
        return Ok(print("there are no schedules\n")?);
    }
    Ok(print(&text(&shown, &config, asked.next > 0))?)
}

/// The due times to come: a line each behind a name, or all schedules in a table.
fn text(shown: &[Shown], config: &Config, is_due_wanted: bool) -> String {
    if !is_due_wanted {
        return table(shown.iter().map(|one| &one.listed), &config.zone) + "\n";
    }
    let line = |name: &str, due: &Timestamp| format!("{name}  {}\n", config.zone.date_and_clock(*due));
    shown.iter().flat_map(|one| one.due.iter().map(|due| line(one.listed.name(), due))).collect()
}

fn due(job: &Job, from: Timestamp, most: u16) -> Vec<Timestamp> {
    let next = |due: &Timestamp| job.when.next_after(*due);
    std::iter::successors(job.when.next_after(from), next).take(most.into()).collect()
}

async fn records(config: &Config, jobs: &[&Job]) -> anyhow::Result<Vec<Option<Record>>> {
    let publisher = Publisher::service(&config.nats, "hal-bridge jobs").await?;
    // No request is signed here.
    let bus = Bus::new(&publisher, publisher.client().clone(), KeyPair::new_user(), &config.streams);
    let memory = Memory::new(&bus, RECORDS);
    let mut records = Vec::new();
    for job in jobs {
        records.push(memory.get::<Record>(&job.name).await?.map(|entry| entry.value));
    }
    Ok(records)
}
