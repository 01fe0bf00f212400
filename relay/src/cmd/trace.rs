//! `hal-relay trace`: the deliveries of a message as a timeline.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::bail;
use relay::admin::trace::{Fate, Located, Search};
use relay::admin::{Operator, one_line};
use relay::config::Config;
use relay::delivery::fate::{self, FateState, delivery_of};
use relay::delivery::id::is_summary;
use relay::delivery::{Outcome, Receipt};
use relay::engine::NOWHERE;
use relay::lead::report;
use relay::status::RoomState;
use service::config::Configuration as _;
use service::zone::Zone;
use tellhal::paint::Paint;
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
                let paint = Paint::of(&std::io::stdout());
                candidates.iter().try_for_each(|each| print(&(headline(each, paint) + "\n")))?;
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
        if self.json {
            return print_json(&fate);
        }
        // Without a leader there is no state of the rooms; the traces are shown all the same.
        let rooms = report::read(&operator.jetstream, &operator.names).await.unwrap_or_default();
        Ok(print(&timeline(&fate, &rooms, &config.zone, Paint::of(&std::io::stdout())))?)
    }
}

fn headline(Located { message, .. }: &Located, paint: Paint) -> String {
    let (id, tag, source) = (&message.id, &message.tag, &message.source);
    let severity = paint.severity(message.severity, message.severity.as_str());
    let user = message.user.as_deref().map_or_else(String::new, |user| format!(" (by {})", one_line(user)));
    format!("{id}  {tag} {severity} from {source}{user}: {}", one_line(message.headline()))
}

/// The words for a state, in its colour.
fn painted(state: FateState, paint: Paint) -> String {
    match state {
        FateState::Posted => paint.good(state.words()),
        FateState::Dead => paint.bad(state.words()),
        FateState::Waiting | FateState::Retrying => paint.caution(state.words()),
        _ => state.words().to_owned(),
    }
}

/// The room of a delivery, and what is delivered if it is not the message itself.
fn place(room: &str, id: &str, repeats: Option<u64>) -> String {
    match (repeats, is_summary(id)) {
        (Some(repeats), _) => format!("{room}: the summary of {repeats} repeats"),
        (None, true) => format!("{room}: the summary of its repeats"),
        (None, false) => room.to_owned(),
    }
}

/// A message's headline and the events after it, a line each, with times in `zone`.
fn timeline(fate: &Fate, rooms: &BTreeMap<String, RoomState>, zone: &Zone, paint: Paint) -> String {
    let located = &fate.located;
    let mut lines: Vec<(Timestamp, String)> =
        vec![(located.at, format!("in the log at sequence {}", located.sequence))];
    let id = &located.message.id;
    lines.extend(fate.receipts.iter().map(|receipt| (receipt.at, sentence(receipt, id, paint))));
    for letter in &fate.dead {
        let (tries, reason) = (letter.tries, one_line(&letter.reason));
        let (place, dead) =
            (place(&letter.room, &letter.id, letter.repeats), painted(FateState::Dead, paint));
        lines.push((letter.at, format!("{place}: {dead}, tries {tries}: {reason}")));
    }
    for retry in &fate.retries {
        lines.push((retry.at, format!("{}: {}", retry.room, one_line(&retry.reason))));
    }
    for delivery in &fate.waiting {
        let why = rooms.get(&delivery.room).and_then(|room| room.why(zone));
        let why = why.map_or_else(String::new, |why| format!("; {}", one_line(&why)));
        let waiting = painted(FateState::Waiting, paint);
        lines.push((delivery.at, format!("{}: {waiting} since then{why}", delivery.room)));
    }
    lines.sort_by_key(|(at, _)| *at);
    let mut text = headline(located, paint) + "\n";
    for (at, line) in &lines {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {:24}  {line}", zone.moment(*at));
    }
    if lines.len() == 1 {
        text += "  no deliveries: the relay has not processed it yet, or its receipts have expired\n";
    }
    text
}

/// The receipt's words about the message `id`.
fn sentence(receipt: &Receipt, id: &str, paint: Paint) -> String {
    let mut what = painted(FateState::of(receipt.outcome_of(id)), paint);
    if receipt.outcome == Outcome::Listed {
        let _ = write!(what, " ({} messages in one post)", receipt.ids.len());
    }
    // A message that is dropped before a room is chosen has no room.
    let delivery = delivery_of(id, receipt).unwrap_or_default();
    let place = place(&receipt.room, delivery, None);
    let mut line = if receipt.room == NOWHERE { what } else { format!("{place}: {what}") };
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
