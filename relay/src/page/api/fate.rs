//! What became of a message, told room by room from its traces. Pure.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use tellhal::timestamp::Timestamp;

use crate::admin::trace::Fate;
use crate::delivery::{Attempts, Delivery, Outcome, Receipt, message_id};
use crate::engine::NOWHERE;
use crate::status::RoomState;

/// What became of it in one room.
#[derive(Serialize, JsonSchema)]
pub(super) struct RoomFate {
    pub(super) room: String,
    /// Such as `irc`; absent for a room that is gone.
    pub(super) kind: Option<&'static str>,
    state: FateState,
    /// What happened, oldest first.
    steps: Vec<Step>,
}

/// Where a message stands in a room.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum FateState {
    /// It is to be delivered, and nothing is known of it yet.
    Expected,
    /// In the room's queue.
    Waiting,
    /// In the room's queue, and was tried.
    Retrying,
    /// In a post of its own.
    Posted,
    /// In a post with others, listed or counted.
    Counted,
    /// Held back by a throttle and counted in its summary.
    Held,
    /// Sent on to another room.
    Moved,
    /// The room can never take it: a dead letter on the list.
    Dead,
    /// A dead letter that somebody gave up.
    Dropped,
    /// It was to be delivered, and nothing is known of it: so old that its receipt is gone.
    Forgotten,
}

/// Something that happened to it.
#[derive(Serialize, JsonSchema)]
pub(super) struct Step {
    at: Timestamp,
    state: FateState,
    /// In words: the route that held it, why it is dead, who tried it again.
    reason: Option<String>,
    /// The delivery this is about.
    delivery: Option<String>,
    /// How many messages were in the post.
    together: usize,
    /// How often it was tried.
    tries: u32,
    attempts: Attempts,
    /// The platform's own id of the post.
    post: Option<String>,
    /// The post's address.
    link: Option<String>,
    /// An earlier try may have been taken, too.
    possible_duplicate: bool,
    /// The dead letter's place on the list, to retry or drop it.
    letter: Option<u64>,
}

/// All there is to tell.
pub(super) struct Told {
    pub(super) rooms: Vec<RoomFate>,
    /// What is about no room.
    pub(super) notes: Vec<Step>,
    /// Nothing more is going to happen by itself.
    pub(super) settled: bool,
}

/// `expected` is what the rules would deliver, `now` what the rooms are doing, `fresh` that traces may still come.
pub(super) fn told(
    fate: &Fate,
    expected: &[Delivery],
    now: &BTreeMap<String, RoomState>,
    fresh: bool,
) -> Told {
    let mut rooms: BTreeMap<String, Vec<Step>> = BTreeMap::new();
    let mut notes = Vec::new();
    for (room, step) in steps(fate, now) {
        match room == NOWHERE {
            true => notes.push(step),
            false => rooms.entry(room).or_default().push(step),
        }
    }
    // What was in the log before is delivered nowhere.
    let again = fate.receipts.iter().any(|receipt| receipt.outcome == Outcome::Duplicate);
    for delivery in expected.iter().filter(|_| !again) {
        rooms.entry(delivery.room.clone()).or_default();
    }
    let rooms = rooms.into_iter().map(|(room, mut steps)| {
        steps.sort_by_key(|step| step.at);
        let nothing = if fresh { FateState::Expected } else { FateState::Forgotten };
        let state = steps.last().map_or(nothing, |last| last.state);
        RoomFate { room, kind: None, state, steps }
    });
    let rooms: Vec<RoomFate> = rooms.collect();
    let open = [FateState::Expected, FateState::Waiting, FateState::Retrying];
    let open = rooms.iter().any(|room| open.contains(&room.state));
    let too_early = fresh && rooms.is_empty() && notes.is_empty();
    Told { rooms, notes, settled: !open && !too_early }
}

/// What happened, each with the room it happened in.
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
            ..Step::new(letter.at, FateState::Dead)
        };
        steps.push((letter.room.clone(), step));
    }
    for delivery in &fate.waiting {
        let room = now.get(&delivery.room);
        let retrying = room.and_then(|room| room.retrying.as_ref());
        let retrying = retrying.filter(|retrying| retrying.ids.contains(&delivery.id));
        let state = if retrying.is_some() { FateState::Retrying } else { FateState::Waiting };
        let step = Step {
            delivery: Some(delivery.id.clone()),
            tries: retrying.and(room).map_or(0, |room| room.tries),
            attempts: retrying.map(|retrying| retrying.attempts.clone()).unwrap_or_default(),
            ..Step::new(delivery.at, state)
        };
        steps.push((delivery.room.clone(), step));
    }
    for retry in &fate.retries {
        let step = Step {
            reason: Some(retry.reason.clone()),
            delivery: Some(retry.id.clone()),
            ..Step::new(retry.at, FateState::Expected)
        };
        steps.push((retry.room.clone(), step));
    }
    steps
}

fn of_receipt(receipt: &Receipt, own: &str) -> (String, Step) {
    let state = match receipt.outcome {
        Outcome::Posted => FateState::Posted,
        Outcome::Counted => FateState::Counted,
        Outcome::Throttled => FateState::Held,
        Outcome::Dropped | Outcome::Duplicate => FateState::Dropped,
        Outcome::Moved => FateState::Moved,
    };
    let reason = match receipt.outcome {
        Outcome::Throttled => {
            receipt.reason.as_ref().map(|route| format!("by the throttle of route {route}"))
        }
        Outcome::Dropped if receipt.room == NOWHERE => {
            receipt.reason.as_ref().map(|route| format!("route {route} drops it"))
        }
        Outcome::Duplicate => Some("it was in the log before, and is not delivered again".into()),
        _ => receipt.reason.clone(),
    };
    let step = Step {
        reason,
        delivery: receipt.ids.iter().find(|id| message_id(id) == own).cloned(),
        together: receipt.ids.len(),
        tries: receipt.tries,
        attempts: receipt.attempts.clone(),
        post: receipt.post.clone(),
        link: receipt.link.clone(),
        possible_duplicate: receipt.possible_duplicate,
        ..Step::new(receipt.at, state)
    };
    (receipt.room.clone(), step)
}

impl Step {
    fn new(at: Timestamp, state: FateState) -> Self {
        Step {
            at,
            state,
            reason: None,
            delivery: None,
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
    use crate::delivery::{Content, Place};

    fn message() -> Message {
        let mut message = Message::new("db1", "backup".parse().unwrap(), "x");
        message.id = "m-1".into();
        message
    }

    fn delivery(room: &str) -> Delivery {
        let (id, room) = (format!("m-1/{room}"), room.to_owned());
        let (place, at) = (Place { sequence: 7, number: 0 }, Timestamp(1));
        Delivery {
            id,
            room,
            place,
            at,
            routes: vec![],
            marks: vec![],
            content: Content::Message(Box::new(message())),
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
        Fate { located, waiting: vec![], receipts, dead: vec![], retries: vec![] }
    }

    fn states(told: &Told) -> Vec<(&str, FateState)> {
        told.rooms.iter().map(|room| (room.room.as_str(), room.state)).collect()
    }

    #[test]
    fn it_is_settled_only_when_every_room_is() {
        let expected = [delivery("dba"), delivery("ops")];
        let posted = fate(vec![receipt("ops", Outcome::Counted, &["m-0/ops", "m-1/ops"])]);
        let now = BTreeMap::new();
        let young = told(&posted, &expected, &now, true);
        assert!(
            states(&young) == [("dba", FateState::Expected), ("ops", FateState::Counted)] && !young.settled
        );
        let step = &young.rooms[1].steps[0];
        assert_eq!((step.delivery.as_deref(), step.together), (Some("m-1/ops"), 2));
        let old = told(&posted, &expected, &now, false);
        assert!(states(&old) == [("dba", FateState::Forgotten), ("ops", FateState::Counted)] && old.settled);
        assert!(!told(&fate(vec![]), &[], &now, true).settled, "perhaps nothing is known yet");
    }

    #[test]
    fn what_is_delivered_nowhere_is_noted() {
        let now = BTreeMap::new();
        let dropped = told(&fate(vec![receipt(NOWHERE, Outcome::Dropped, &["m-1"])]), &[], &now, true);
        assert!(dropped.rooms.is_empty() && dropped.settled);
        assert_eq!(dropped.notes[0].reason.as_deref(), Some("route why drops it"));
        let again = fate(vec![receipt(NOWHERE, Outcome::Duplicate, &["m-1"])]);
        assert!(told(&again, &[delivery("ops")], &now, true).rooms.is_empty());
    }
}
