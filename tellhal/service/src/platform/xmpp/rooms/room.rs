//! One room: whether we are in it, who else is, and when it is entered again.

use std::time::Duration;

use tokio::time::Instant;

use super::super::Muc;
use super::super::members::Members;
use super::super::pending::Say;

/// The shortest and the longest pause before a room that a listener wants is asked again.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Our place.
#[derive(Debug)]
pub(super) enum State {
    Outside,
    /// The time of the request.
    Entering(Instant),
    Inside,
}

#[derive(Debug)]
pub(super) struct Room {
    pub(super) muc: Muc,
    /// Our nick there: as we ask for it, then as the room states it.
    pub(super) nick: String,
    pub(super) state: State,
    /// A listener wants to be in it.
    pub(super) is_wanted: bool,
    /// Messages that wait until we are in.
    pub(super) waiting: Vec<Say>,
    pub(super) members: Members,
    /// The room gives each message an id, and removes forged ones.
    pub(super) has_stable_ids: bool,
    /// The room keeps what was said, and vouches for the people who said it.
    pub(super) has_archive: bool,
    /// The last stanza from it.
    pub(super) seen: Instant,
    /// When a wanted room is entered again, and after how many failures.
    pub(super) again: (Instant, u32),
}

impl Room {
    pub(super) fn new(muc: &Muc, nick: &str, now: Instant) -> Room {
        Room {
            muc: muc.clone(),
            nick: nick.to_owned(),
            state: State::Outside,
            is_wanted: false,
            waiting: Vec::new(),
            members: Members::default(),
            has_stable_ids: false,
            has_archive: false,
            seen: now,
            again: (now, 0),
        }
    }

    pub(super) fn is_inside(&self) -> bool {
        matches!(self.state, State::Inside)
    }

    pub(super) fn leave(&mut self, now: Instant) {
        self.state = State::Outside;
        self.members.clear();
        (self.has_stable_ids, self.has_archive) = (false, false);
        let pause = AGAIN.0.saturating_mul(1 << self.again.1.min(6)).min(AGAIN.1);
        self.again = (now + pause, self.again.1.saturating_add(1));
    }
}
