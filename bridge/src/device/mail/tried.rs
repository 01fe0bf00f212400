//! `hal-bridge mail test`: shows the message that a mail becomes. Nothing is published, and no network is asked for.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::Context as _;

use super::config::{Config, Unknown};
use super::letter::{Letter, READ, content, message};
use crate::device::listeners::Listen as _;
use crate::device::tried;

/// A mail as it is given on the command line.
#[derive(clap::Args)]
pub(crate) struct Mail {
    /// The name of the listener in the configuration
    name: String,
    /// A file with the mail: headers, an empty line, text
    file: PathBuf,
    /// The recipient; the first one in the mail's header To when absent
    #[arg(long, value_name = "ADDRESS")]
    to: Option<String>,
}

pub(crate) fn test(listeners: &BTreeMap<String, Config>, given: &Mail, json: bool) -> anyhow::Result<()> {
    let config = tried::named(Config::SECTION, listeners, &given.name)?;
    let mail = std::fs::read(&given.file).with_context(|| given.file.display().to_string())?;
    let bytes = &mail[..mail.len().min(READ)];
    let content = content(bytes);
    let to = given.to.clone().unwrap_or_else(|| content.to.clone());
    let tag = config.tag(&to).map_err(|why| match why {
        Unknown::Address => {
            anyhow::anyhow!("a mail to {to:?} is refused: the address has no tag that this listener may use")
        }
        Unknown::Domain => {
            anyhow::anyhow!("a mail to {to:?} is refused: nothing is relayed to other domains")
        }
    })?;
    let (peer, client, sender) = (Ipv4Addr::LOCALHOST.into(), "", "");
    let letter = Letter { peer, client, sender, bytes, size: mail.len() };
    let (_, message) = message(config, &format!("in-{}", given.name), &letter, &content, &(to, tag));
    tried::show(&[message], "", json)
}
