//! How long a room has taken no post, and whether that is told. Pure: every method is told the time.

use std::time::{Duration, Instant};

use tellhal::Severity;

use crate::delivery::{Answered, Place};

/// Messages below critical may wait this many times as long.
const PATIENT: u32 = 5;

/// The failures of a room since it took a post.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trouble {
    since: Option<Instant>,
    /// True if the last answer was about the room, not about one post.
    is_failing: bool,
    /// The number of posts that the room refused.
    refused: u32,
    /// The room has taken a post since this relay leads.
    has_taken: bool,
    head: Option<Head>,
}

/// The oldest delivery that waits.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Head {
    place: Place,
    since: Instant,
}

/// The state of a room that is worth a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ailment {
    /// It has taken no post for this long.
    Fails(Duration),
    /// The oldest delivery has waited for this long.
    Waits(Duration),
}

impl Trouble {
    pub fn took(&mut self) {
        *self = Trouble { has_taken: true, head: self.head, ..Trouble::default() };
    }

    pub fn failed(&mut self, now: Instant, answered: Answered) {
        self.since.get_or_insert(now);
        self.is_failing = answered != Answered::Permanent;
        self.refused += u32::from(answered == Answered::Permanent);
    }

    /// True if the room has taken a post since this relay leads, and none has failed since.
    pub fn is_over(&self) -> bool {
        self.has_taken && self.since.is_none()
    }

    /// Notes the oldest delivery that waits.
    pub fn waits(&mut self, now: Instant, oldest: Option<Place>) {
        let is_same = self.head.map(|head| head.place) == oldest;
        if !is_same {
            self.head = oldest.map(|place| Head { place, since: now });
        }
    }

    /// The ailment to tell, if the room has had it for `patience`. One refused post is none. `worst` gives the highest severity of
    /// what waits: critical messages may wait for `patience`, others longer.
    pub fn ailment(
        &self,
        now: Instant,
        patience: Duration,
        worst: impl FnOnce() -> Severity,
    ) -> Option<Ailment> {
        let for_long =
            |since: Instant| Some(now.saturating_duration_since(since)).filter(|time| *time >= patience);
        let is_failing = self.is_failing || self.refused > 1;
        if let Some(time) = self.since.filter(|_| is_failing).and_then(for_long) {
            return Some(Ailment::Fails(time));
        }
        let time = self.head.map(|head| head.since).and_then(for_long)?;
        (time >= patience * PATIENT || worst() == Severity::Critical).then_some(Ailment::Waits(time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(120);

    /// True for each of the seconds at which the room is told.
    fn told(trouble: &Trouble, begin: Instant, seconds: &[u64], worst: Severity) -> Vec<bool> {
        let at = |second: &u64| {
            trouble.ailment(begin + Duration::from_secs(*second), PATIENCE, || worst).is_some()
        };
        seconds.iter().map(at).collect()
    }

    #[test]
    fn a_room_that_fails_is_told_after_two_minutes_and_until_it_takes_a_post() {
        let now = Instant::now();
        for answered in [Answered::Transient, Answered::Auth] {
            let mut trouble = Trouble::default();
            trouble.failed(now, answered);
            trouble.failed(now + Duration::from_secs(60), answered);
            assert_eq!(
                told(&trouble, now, &[0, 119, 120, 9000], Severity::Debug),
                [false, false, true, true]
            );
            assert!(!trouble.is_over());
            trouble.took();
            assert_eq!(told(&trouble, now, &[120, 9000], Severity::Critical), [false, false]);
            assert!(trouble.is_over());
        }
    }

    #[test]
    fn one_refused_post_is_nothing_to_tell_and_two_are() {
        let now = Instant::now();
        let mut trouble = Trouble::default();
        trouble.failed(now, Answered::Permanent);
        assert_eq!(told(&trouble, now, &[0, 9000], Severity::Critical), [false, false]);
        trouble.failed(now + Duration::from_secs(1), Answered::Permanent);
        assert_eq!(told(&trouble, now, &[2, 120], Severity::Critical), [false, true]);
        trouble.took();
        trouble.failed(now + Duration::from_secs(2), Answered::Permanent);
        assert_eq!(told(&trouble, now, &[9000], Severity::Critical), [false]);
        // A room that answers again with a refusal of one post is reachable.
        let mut trouble = Trouble::default();
        trouble.failed(now, Answered::Transient);
        trouble.failed(now, Answered::Permanent);
        assert_eq!(told(&trouble, now, &[9000], Severity::Critical), [false]);
    }

    #[test]
    fn critical_messages_may_wait_two_minutes_and_others_ten() {
        let now = Instant::now();
        let mut trouble = Trouble::default();
        let place = |sequence| Some(Place { sequence, number: 0 });
        trouble.waits(now, place(7));
        trouble.waits(now + Duration::from_secs(60), place(7));
        assert_eq!(told(&trouble, now, &[119, 120], Severity::Critical), [false, true]);
        assert_eq!(told(&trouble, now, &[120, 599, 600], Severity::Error), [false, false, true]);
        trouble.waits(now + Duration::from_secs(100), place(8));
        assert_eq!(told(&trouble, now, &[120, 219, 220], Severity::Critical), [false, false, true]);
        trouble.waits(now + Duration::from_secs(300), None);
        assert_eq!(told(&trouble, now, &[9000], Severity::Critical), [false]);
    }
}
