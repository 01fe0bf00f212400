//! `hal-bridge mqtt test`: shows the message that a payload on a topic becomes. Connects to nothing and publishes nothing.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use service::platform::mqtt::{Arrived, topic_problem};
use service::process::{print, print_json};
use tellhal::nearest;

use super::intake::{Config, Ignored};
use crate::webhook::tried::shown;

/// A message as it is given on the command line.
#[derive(clap::Args)]
pub(crate) struct Given {
    /// The name of the intake in the configuration
    name: String,
    /// The topic
    topic: String,
    /// A file with the payload; standard input when absent
    file: Option<PathBuf>,
    /// The broker had it before the topic was subscribed to
    #[arg(long)]
    retained: bool,
}

pub(crate) fn test(intakes: &BTreeMap<String, Config>, given: Given, json: bool) -> anyhow::Result<()> {
    let config = intakes.get(&given.name).with_context(|| {
        let hint = nearest::hint(&given.name, intakes.keys().map(String::as_str));
        format!("there is no intake {} of MQTT: {hint}", given.name)
    })?;
    if let Some(what) = topic_problem(&given.topic).filter(|_| !given.topic.starts_with('$')) {
        bail!("{:?} is no topic: {what}", given.topic);
    }
    let mut payload = Vec::new();
    match &given.file {
        Some(file) => payload = std::fs::read(file).with_context(|| file.display().to_string())?,
        None => drop(std::io::stdin().read_to_end(&mut payload)?),
    }
    let arrived = Arrived {
        topic: given.topic,
        payload: payload.into(),
        is_retained: given.retained,
        is_repeated: false,
        packet: None,
    };
    match config.read(&arrived) {
        Ok(message) if json => print_json(&message),
        Ok(message) => Ok(print(&shown(&message))?),
        Err(Ignored::Retained) => bail!("it is not told: retained = \"ignore\""),
        Err(Ignored::Unmatched) => {
            bail!(
                "it is not told: no topic of {} matches; there are {}",
                given.name,
                config.topics.join(", ")
            )
        }
    }
}
