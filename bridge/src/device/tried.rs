//! The parts of `hal-bridge syslog test` and `hal-bridge mail test` that are the same.

use std::collections::BTreeMap;

use anyhow::Context as _;
use service::process::{print, print_json};
use tellhal::{Message, nearest};

use crate::webhook::tried::shown;

/// The listener of a name.
pub(crate) fn named<'a, C>(section: &str, all: &'a BTreeMap<String, C>, name: &str) -> anyhow::Result<&'a C> {
    all.get(name).with_context(|| {
        format!("there is no [{section}.{name}]: {}", nearest::hint(name, all.keys().map(String::as_str)))
    })
}

/// Prints messages, and a note on them.
pub(crate) fn show(messages: &[Message], note: &str, json: bool) -> anyhow::Result<()> {
    if json {
        return print_json(&messages);
    }
    let shown = messages.iter().map(shown).collect::<Vec<_>>().join("\n");
    Ok(print(&(shown + note))?)
}
