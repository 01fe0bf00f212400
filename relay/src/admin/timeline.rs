//! The deliveries of a message as a timeline in words, for the command line and for chats.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use service::zone::Zone;
use tellhal::paint::Paint;
use tellhal::timestamp::Timestamp;

use super::one_line;
use super::trace::{Fate, Located};
use crate::delivery::fate::{self, FateState, delivery_of};
use crate::delivery::id::is_summary;
use crate::delivery::{Outcome, Receipt};
use crate::engine::NOWHERE;
use crate::status::RoomState;

/// A message in one line.
pub fn headline(Located { message, .. }: &Located, paint: Paint) -> String {
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
pub fn timeline(fate: &Fate, rooms: &BTreeMap<String, RoomState>, zone: &Zone, paint: Paint) -> String {
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
