//! The steps of a message in each room, made from its traces. Pure.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use tellhal::timestamp::Timestamp;

use crate::admin::trace::{Fate, Retried};
use crate::delivery::fate::{self, FateState};
use crate::delivery::id::{is_summary, retry_of};
use crate::delivery::{Attempts, Delivery, Outcome, Receipt};
use crate::engine::NOWHERE;
use crate::status::RoomState;

/// The deliveries of a message to one room.
#[derive(Serialize, JsonSchema)]
pub(super) struct RoomFate {
    pub(super) room: String,
    /// Such as `irc`; absent for a room that no longer exists.
    pub(super) kind: Option<&'static str>,
    state: FateState,
    /// The state in a character, and in words.
    sign: &'static str,
    words: &'static str,
    /// Oldest first.
    steps: Vec<Step>,
}

/// A pending step outranks a finished one, independent of their times: some are by the server's clock, others by a relay's.
fn weight(state: FateState) -> u8 {
    match state {
        FateState::Waiting | FateState::Retrying => 3,
        FateState::Expected => 2,
        FateState::Retried => 0,
        _ => 1,
    }
}

/// One step of a message on its way to a room.
#[derive(Serialize, JsonSchema)]
pub(super) struct Step {
    at: Timestamp,
    state: FateState,
    /// The state in a character, and in words.
    sign: &'static str,
    words: &'static str,
    /// The reason in words, such as the route that held the message.
    reason: Option<String>,
    /// The delivery's id.
    delivery: Option<String>,
    /// True if it is about the summary of the message's repeats, and not about the message itself.
    is_summary: bool,
    /// The number of repeats in the summary, if it is known.
    repeats: Option<u64>,
    /// The text of a summary that is a dead letter.
    text: Option<String>,
    /// The room that the delivery waits for; absent unless it waits.
    waits: Option<Waits>,
    /// The number of messages in the post.
    together: usize,
    /// The number of attempts.
    tries: u32,
    attempts: Attempts,
    /// The platform's own id of the post.
    post: Option<String>,
    /// The post's address.
    link: Option<String>,
    /// True if the room may have taken an earlier attempt too.
    possible_duplicate: bool,
    /// The dead letter's sequence, to retry or drop it.
    letter: Option<u64>,
}

/// The reason why a delivery waits.
#[derive(Serialize, JsonSchema)]
struct Waits {
    /// The number of deliveries that wait for the room.
    pending: u64,
    /// The room's first failure since its last success; absent for a room that does not fail.
    failing_since: Option<Timestamp>,
    /// The room's last answer, if it fails.
    answer: Option<String>,
    answered_at: Option<Timestamp>,
    /// The time of the next try.
    next_try: Option<Timestamp>,
}

impl Waits {
    fn of(room: &RoomState) -> Waits {
        let is_failing = room.failing_since.is_some();
        Waits {
            pending: room.pending,
            failing_since: room.failing_since,
            answer: room.last_error.clone().filter(|_| is_failing),
            answered_at: room.last_error_at.filter(|_| is_failing),
            next_try: room.retry_at,
        }
    }
}

/// The history of a message in all rooms.
pub(super) struct History {
    pub(super) rooms: Vec<RoomFate>,
    /// Steps that concern no room.
    pub(super) notes: Vec<Step>,
    /// True if no further steps are expected, unless a person acts.
    pub(super) settled: bool,
}

/// `expected` are the rooms by the rules, `now` the present states of the rooms; `fresh` is true while traces may still come.
pub(super) fn history(
    fate: &Fate,
    expected: &[Delivery],
    now: &BTreeMap<String, RoomState>,
    fresh: bool,
) -> History {
    let mut rooms: BTreeMap<String, Vec<Step>> = BTreeMap::new();
    let mut notes = Vec::new();
    for (room, step) in steps(fate, now) {
        match room == NOWHERE {
            true => notes.push(step),
            false => rooms.entry(room).or_default().push(step),
        }
    }
    // A message that the log had already is not delivered again.
    let here = fate.located.sequence;
    let is_again =
        |receipt: &Receipt| receipt.outcome == Outcome::Duplicate && receipt.place.sequence == here;
    let again = fate.receipts.iter().any(is_again);
    for delivery in expected.iter().filter(|_| !again) {
        rooms.entry(delivery.room.clone()).or_default();
    }
    let rooms = rooms.into_iter().map(|(room, mut steps)| {
        steps.sort_by_key(|step| step.at);
        let untraced = if fresh { FateState::Expected } else { FateState::Forgotten };
        // A summary's state is not the message's, unless there is nothing else.
        let state = steps.iter().max_by_key(|step| (!step.is_summary, weight(step.state), step.at));
        let state = state.map_or(untraced, |step| step.state);
        RoomFate { room, kind: None, state, sign: state.sign(), words: state.words(), steps }
    });
    let rooms: Vec<RoomFate> = rooms.collect();
    let open = [FateState::Expected, FateState::Waiting, FateState::Retrying];
    let open = rooms.iter().any(|room| open.contains(&room.state));
    let too_early = fresh && rooms.is_empty() && notes.is_empty();
    History { rooms, notes, settled: !open && !too_early }
}

/// The steps, each with its room.
fn steps(fate: &Fate, now: &BTreeMap<String, RoomState>) -> Vec<(String, Step)> {
    let own = &fate.located.message.id;
    let mut steps: Vec<(String, Step)> =
        fate.receipts.iter().map(|receipt| of_receipt(receipt, own)).collect();
    for letter in &fate.dead {
        let step = Step {
            reason: Some(letter.reason.clone()),
            delivery: Some(letter.id.clone()),
            tries: letter.tries,
            attempts: letter.attempts.clone(),
            letter: Some(letter.sequence),
            is_summary: letter.repeats.is_some(),
            repeats: letter.repeats,
            text: letter.text.clone(),
            ..Step::new(letter.at, FateState::Dead)
        };
        steps.push((letter.room.clone(), step));
    }
    // A delivery may be posted while its traces are gathered.
    let done = |id: &str| {
        fate.receipts.iter().any(|receipt| receipt.ids.iter().any(|done| done == id))
            || fate.dead.iter().any(|letter| letter.id == id)
    };
    for delivery in fate.waiting.iter().filter(|delivery| !done(&delivery.id)) {
        let room = now.get(&delivery.room);
        let retrying = room.and_then(|room| room.retrying.as_ref());
        let retrying = retrying.filter(|retrying| retrying.ids.iter().any(|id| *id == *delivery.id));
        let state = if retrying.is_some() { FateState::Retrying } else { FateState::Waiting };
        let step = Step {
            delivery: Some(delivery.id.to_string()),
            tries: retrying.and(room).map_or(0, |room| room.tries),
            attempts: retrying.map(|retrying| retrying.attempts.clone()).unwrap_or_default(),
            waits: room.map(Waits::of),
            ..Step::new(delivery.at, state)
        };
        steps.push((delivery.room.clone(), step));
    }
    for retry in &fate.retries {
        let state = match room_of_retry(fate, retry) {
            None => FateState::Expected,
            Some(room) if room == retry.room || room == NOWHERE => FateState::Retried,
            Some(_) => FateState::Moved,
        };
        let step = Step {
            reason: Some(retry.reason.clone()),
            delivery: Some(retry.id.clone()),
            ..Step::new(retry.at, state)
        };
        steps.push((retry.room.clone(), step));
    }
    steps
}

/// The room of a retry, once there is a trace of it.
fn room_of_retry<'a>(fate: &'a Fate, retry: &Retried) -> Option<&'a str> {
    let is_its = |id: &str| retry_of(id) == Some(retry.sequence);
    let is_spent =
        |receipt: &Receipt| receipt.outcome == Outcome::Duplicate && receipt.place.sequence == retry.sequence;
    let receipt =
        fate.receipts.iter().find(|receipt| is_spent(receipt) || receipt.ids.iter().any(|id| is_its(id)));
    let letter = fate.dead.iter().find(|letter| is_its(&letter.id));
    let waiting = fate.waiting.iter().find(|delivery| is_its(&delivery.id));
    let room = receipt.map(|receipt| &receipt.room).or(letter.map(|letter| &letter.room));
    room.or(waiting.map(|delivery| &delivery.room)).map(String::as_str)
}

fn of_receipt(receipt: &Receipt, own: &str) -> (String, Step) {
    let delivery = fate::delivery_of(own, receipt);
    let step = Step {
        reason: fate::reason(receipt),
        is_summary: delivery.is_some_and(is_summary),
        delivery: delivery.map(str::to_owned),
        together: receipt.ids.len(),
        tries: receipt.tries,
        attempts: receipt.attempts.clone(),
        post: receipt.post.clone(),
        link: receipt.link.clone(),
        possible_duplicate: receipt.possible_duplicate,
        ..Step::new(receipt.at, FateState::of(receipt.outcome_of(own)))
    };
    (receipt.room.clone(), step)
}

impl Step {
    fn new(at: Timestamp, state: FateState) -> Self {
        Step {
            at,
            state,
            sign: state.sign(),
            words: state.words(),
            reason: None,
            delivery: None,
            is_summary: false,
            repeats: None,
            text: None,
            waits: None,
            together: 1,
            tries: 0,
            attempts: Attempts::default(),
            post: None,
            link: None,
            possible_duplicate: false,
            letter: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use tellhal::message::Message;

    use super::*;
    use crate::admin::trace::Located;
    use crate::delivery::{Content, Id, Place};

    fn message() -> Message {
        let mut message = Message::new("db1", "backup".parse().unwrap(), "x");
        message.id = "m-1".into();
        message
    }

    fn delivery(room: &str) -> Delivery {
        let (id, room) = (Id::of_message("m-1", room), room.to_owned());
        let (place, at) = (Place { sequence: 7, number: 0 }, Timestamp(1));
        Delivery {
            id,
            room,
            place,
            at,
            routes: vec![],
            marks: vec![],
            content: Content::Message(std::sync::Arc::new(message())),
        }
    }

    fn receipt(room: &str, outcome: Outcome, ids: &[&str]) -> Receipt {
        let place = Place { sequence: 7, number: 0 };
        let mut receipt = Receipt::unsent(room, outcome, "", place, Timestamp(2), "why".into());
        receipt.ids = ids.iter().map(|id| (*id).to_owned()).collect();
        receipt
    }

    fn fate(receipts: Vec<Receipt>) -> Fate {
        let located = Located { sequence: 7, at: Timestamp(1), message: message() };
        Fate { located, waiting: vec![], receipts, dead: vec![], retries: vec![], complete: true }
    }

    fn states(history: &History) -> Vec<(&str, FateState)> {
        history.rooms.iter().map(|room| (room.room.as_str(), room.state)).collect()
    }

    #[test]
    fn it_is_settled_only_when_every_room_is() {
        let expected = [delivery("dba"), delivery("ops")];
        let mut receipt = receipt("ops", Outcome::Listed, &["m-0/ops", "m-1/ops", "m-2/ops"]);
        receipt.listed = vec![0, 2];
        let posted = fate(vec![receipt]);
        let now = BTreeMap::new();
        let young = history(&posted, &expected, &now, true);
        assert!(
            states(&young) == [("dba", FateState::Expected), ("ops", FateState::Counted)] && !young.settled
        );
        let step = &young.rooms[1].steps[0];
        assert_eq!((step.delivery.as_deref(), step.together), (Some("m-1/ops"), 3));
        let old = history(&posted, &expected, &now, false);
        assert!(states(&old) == [("dba", FateState::Forgotten), ("ops", FateState::Counted)] && old.settled);
        assert!(!history(&fate(vec![]), &[], &now, true).settled, "a trace may still come");
    }

    #[test]
    fn a_message_without_a_room_leaves_a_note() {
        let now = BTreeMap::new();
        let dropped = history(&fate(vec![receipt(NOWHERE, Outcome::Dropped, &["m-1"])]), &[], &now, true);
        assert!(dropped.rooms.is_empty() && dropped.settled);
        assert_eq!(dropped.notes[0].reason.as_deref(), Some("route why drops it"));
        let again = fate(vec![receipt(NOWHERE, Outcome::Duplicate, &["m-1"])]);
        assert!(history(&again, &[delivery("ops")], &now, true).rooms.is_empty());
    }

    fn retried(room: &str, at: i64) -> Retried {
        let (room, id) = (room.to_owned(), format!("m-1/{room}"));
        Retried { sequence: 9, at: Timestamp(at), room, reason: "an operator retried it".into(), id }
    }

    #[test]
    fn a_retry_is_over_once_it_has_a_trace_by_any_clock() {
        let now = BTreeMap::new();
        let state = |fate: &Fate| {
            let history = history(fate, &[], &now, false);
            (history.rooms.iter().find(|room| room.room == "ops").unwrap().state, history.settled)
        };
        let mut tried = fate(vec![]);
        tried.retries = vec![retried("ops", 5)];
        assert_eq!(state(&tried), (FateState::Expected, false));
        let waiting = Delivery { id: "m-1/ops/r9".into(), at: Timestamp(5), ..delivery("ops") };
        tried.waiting = vec![waiting];
        assert_eq!(state(&tried), (FateState::Waiting, false));
        // The relay's clock is behind the server's.
        tried.receipts = vec![receipt("ops", Outcome::Posted, &["m-1/ops/r9"])];
        assert_eq!(state(&tried), (FateState::Posted, true));
        tried.receipts.clear();
        tried.waiting = vec![Delivery { id: "m-1/ops/r9".into(), ..delivery("rest") }];
        assert_eq!(state(&tried), (FateState::Moved, false));
        let spent = receipt(NOWHERE, Outcome::Duplicate, &["m-1/ops"]);
        let spent = Receipt { place: Place { sequence: 9, number: 0 }, ..spent };
        tried.receipts = vec![receipt("ops", Outcome::Posted, &["m-1/ops"]), spent];
        tried.waiting.clear();
        assert_eq!(state(&tried), (FateState::Posted, true));
    }
}
