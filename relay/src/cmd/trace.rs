//! `hal-relay trace`: the deliveries of a message as a timeline.

use std::fmt::Write as _;

use anyhow::bail;
use relay::admin::trace::{Fate, Located, Search};
use relay::admin::{Operator, one_line};
use relay::config::Config;
use relay::delivery::fate::{self, FateState};
use relay::delivery::{Outcome, Receipt};
use relay::engine::NOWHERE;
use service::config::Configuration as _;
use tellhal::timestamp::Timestamp;

use super::config_path::ConfigPath;
use super::{print, print_json};

#[derive(clap::Args)]
pub(crate) struct Trace {
    /// The message's id, or at least its first 8 characters; or seq-N for its sequence N in the log
    id: String,
    #[command(flatten)]
    path: ConfigPath,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Trace {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let config = Config::load(&self.path.config)?;
        let operator = Operator::connect(&config.nats).await?;
        let located = match operator.find(&self.id).await? {
            Search::One(located) => *located,
            Search::Several(candidates) => {
                candidates.iter().try_for_each(|each| print(&(headline(each) + "\n")))?;
                bail!("several ids begin with {}; give more characters", one_line(&self.id));
            }
            Search::Nothing => bail!(
                "no message {} in {}: it may still be in its host's spool (tellhal status), or be older than the log",
                one_line(&self.id),
                operator.names.ops_stream()
            ),
        };
        let rules = operator.rules_at(located.sequence).await?;
        let fate = operator.fate(located, rules.as_ref()).await?;
        if self.json { print_json(&fate) } else { Ok(print(&timeline(&fate))?) }
    }
}

fn headline(Located { message, .. }: &Located) -> String {
    let (id, tag, severity, source) = (&message.id, &message.tag, message.severity, &message.source);
    format!("{id}  {tag} {severity} from {source}: {}", one_line(message.headline()))
}

fn timeline(fate: &Fate) -> String {
    let located = &fate.located;
    let mut lines: Vec<(Timestamp, String)> =
        vec![(located.at, format!("in the log at sequence {}", located.sequence))];
    lines.extend(fate.receipts.iter().map(|receipt| (receipt.at, sentence(receipt))));
    for letter in &fate.dead {
        let (room, tries, reason) = (&letter.room, letter.tries, one_line(&letter.reason));
        lines.push((letter.at, format!("{room}: {}, tries {tries}: {reason}", FateState::Dead.words())));
    }
    for retry in &fate.retries {
        lines.push((retry.at, format!("{}: {}", retry.room, one_line(&retry.reason))));
    }
    for delivery in &fate.waiting {
        lines.push((delivery.at, format!("{}: {} since then", delivery.room, FateState::Waiting.words())));
    }
    lines.sort_by_key(|(at, _)| *at);
    let mut text = headline(located) + "\n";
    for (at, line) in &lines {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {:24}  {line}", at.to_string());
    }
    if lines.len() == 1 {
        text += "  no deliveries: the relay has not processed it yet, or its receipts have expired\n";
    }
    text
}

fn sentence(receipt: &Receipt) -> String {
    let mut what = FateState::of(receipt.outcome).words().to_owned();
    if receipt.outcome == Outcome::Counted {
        let _ = write!(what, " ({} messages in one post)", receipt.ids.len());
    }
    // A message that is dropped before a room is chosen has no room.
    let mut line = if receipt.room == NOWHERE { what } else { format!("{}: {what}", receipt.room) };
    if receipt.tries > 1 {
        let _ = write!(line, " at try {}", receipt.tries);
    }
    let (reason, post, link) = (fate::reason(receipt), receipt.post.clone(), receipt.link.clone());
    for more in [reason, post, link].into_iter().flatten() {
        let _ = write!(line, "; {}", one_line(&more));
    }
    if receipt.possible_duplicate {
        line += "; possibly posted twice: an earlier attempt may have arrived";
    }
    line
}
