//! `hal-bridge acl explain`: whether a person may give a command, and which line of the configuration decides.

use std::path::Path;

use anyhow::{anyhow, bail};
use serde::Serialize;
use service::config::Configuration as _;
use service::process::{print, print_json};
use tellhal::command::is_name;
use tellhal::nearest;
use tellhal::paint::Paint;

use crate::command::policy::{Approval, Policy, Request, Step, Verdict};
use crate::command::words::words;
use crate::config::Config;

/// The room of the command box, which belongs to no chat of the configuration.
const PAGE: &str = "page";

/// A command that somebody might give.
#[derive(clap::Args)]
pub(crate) struct Asked {
    /// The person's name in [[people]]; - stands for an account of nobody
    person: String,
    /// Chat and room, such as main/#ops
    room: String,
    /// The line as it would be typed, in quotes; or its words, if none begins with a dash
    #[arg(required = true, value_name = "LINE")]
    command: Vec<String>,
}

#[derive(Serialize)]
struct Explained {
    allowed: bool,
    /// The reason why it is not.
    reason: Option<String>,
    approve: Option<Approval>,
    /// The arguments, with secret ones masked.
    arguments: Vec<(String, String)>,
    /// The rules that were looked at; the last one decides.
    rules: Vec<Step>,
}

pub(crate) fn explain(path: &Path, asked: &Asked, json: bool) -> anyhow::Result<()> {
    let config = Config::load(path)?;
    let (chat, _) = asked.room.split_once('/').unwrap_or((&asked.room, ""));
    let sign = match config.chats.get(chat) {
        Some(chat) => chat.settings().trigger(),
        None if config.chats.is_empty() || chat == PAGE => "",
        None => {
            bail!("there is no chat {chat}: {}", nearest::hint(chat, config.chats.keys().map(String::as_str)))
        }
    };
    let explained = explained(&config.policy, asked, sign)?;
    if json { print_json(&explained) } else { Ok(print(&lines(&explained, Paint::of(&std::io::stdout())))?) }
}

/// `sign` stands before a command in that chat.
fn explained(policy: &Policy, asked: &Asked, sign: &str) -> anyhow::Result<Explained> {
    let Asked { person: name, room, command } = asked;
    let person = policy.people.named(name);
    if person.is_none() && name != "-" {
        let names = policy.people.by_name.keys().map(String::as_str);
        bail!("there is no person {name}: {}", nearest::hint(name, names));
    }
    let typed = match command.as_slice() {
        [line] => words(line).map_err(|unclear| anyhow!("{unclear}"))?,
        words => words.to_vec(),
    };
    let [command, words @ ..] = typed.as_slice() else { bail!("there is no command in the line") };
    let command = &command.strip_prefix(sign).unwrap_or(command).to_lowercase();
    if !is_name(command) {
        bail!("{command:?} is not the name of a command, which is one word of a-z 0-9 _ -");
    }
    let (verdict, rules) = policy.decide(&Request { person, room, command, words });
    let no = |reason: String, rules| Explained {
        allowed: false,
        reason: Some(reason),
        approve: None,
        arguments: Vec::new(),
        rules,
    };
    Ok(match verdict {
        Verdict::Denied(reason) | Verdict::Wrong(reason) => no(reason, rules),
        Verdict::Allowed { approval, values, .. } => Explained {
            allowed: true,
            reason: None,
            approve: Some(approval),
            arguments: values.iter().map(|value| (value.name.clone(), value.shown().to_owned())).collect(),
            rules,
        },
    })
}

fn lines(explained: &Explained, paint: Paint) -> String {
    let mut text = String::new();
    for Step { at, decides, words } in &explained.rules {
        let mark = match (decides, explained.allowed) {
            (false, _) => paint.faint("–"),
            (true, true) => paint.good("✓"),
            (true, false) => paint.bad("✗"),
        };
        text += &format!("{mark} {at}: {words}\n");
    }
    text + &match (&explained.reason, explained.approve) {
        (Some(reason), _) => format!("{}: {reason}\n", paint.bad("not allowed")),
        (None, approval) => format!("{}, {}\n", paint.good("allowed"), approval.unwrap_or_default()),
    }
}
