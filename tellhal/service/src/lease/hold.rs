//! The lease as its leader and its observers know it: pure, with the time as an input. A leader that was paused for longer
//! than its lease lasts has lost it for good, whatever the answer to its last renewal says: a part of the leader may have
//! seen the lapse and ended.

use std::time::Duration;

use tokio::time::Instant;

/// The time after its last renewal in which a lease belongs to its leader, as an observer counts it.
const LEASE: Duration = Duration::from_secs(5);
/// The same for the leader itself, a little shorter.
const OWN: Duration = Duration::from_millis(4500);

/// An answer to an update of the lease's key. Silence is no event: it only takes time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The update that was sent at `sent` was stored as `revision`.
    Renewed { sent: Instant, revision: u64 },
    /// An update whose answer was lost was stored as `revision`: nobody knows when.
    Stored { revision: u64 },
    /// The key is another's.
    Refused,
}

/// A lease that was won, as its leader knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hold {
    pub(super) revision: u64,
    until: Instant,
    lost: bool,
}

impl Hold {
    /// The lease that the update sent at `sent` has won as `revision`.
    pub(super) fn won(sent: Instant, revision: u64) -> Self {
        Hold { revision, until: sent + OWN, lost: false }
    }

    /// The time until the lease ends if it is not renewed; zero if it is lost.
    pub(super) fn left(&self, now: Instant) -> Duration {
        if self.lost { Duration::ZERO } else { self.until.saturating_duration_since(now) }
    }

    /// True while the lease is ours. Once false, it stays false.
    pub(super) fn is_held(&mut self, now: Instant) -> bool {
        self.lost |= self.left(now).is_zero();
        !self.lost
    }

    /// The answer that came at `now`.
    pub(super) fn answered(&mut self, now: Instant, answer: Answer) {
        let is_held = self.is_held(now);
        match answer {
            Answer::Renewed { sent, revision } => {
                // A lost lease takes the revision too: it is given back under it.
                self.revision = revision;
                if is_held {
                    self.until = sent + OWN;
                }
            }
            Answer::Stored { revision } => self.revision = revision,
            Answer::Refused => self.lost = true,
        }
    }
}

/// Another's lease, as an observer sees it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Watch(Option<(u64, Instant)>);

impl Watch {
    /// True if the lease may be taken at `now`. `revision` is that of the key; `is_free` says that its leader gave it back,
    /// or that there is no key.
    pub(super) fn may_take(&mut self, now: Instant, revision: u64, is_free: bool) -> bool {
        let since = match self.0 {
            Some((seen, since)) if seen == revision => since,
            _ => now,
        };
        self.0 = Some((revision, since));
        is_free || now.saturating_duration_since(since) >= LEASE
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RELAYS: usize = 3;

    /// The lease's key at the server.
    #[derive(Debug, Default)]
    struct Key {
        revision: u64,
        /// `None` when it was given back.
        owner: Option<usize>,
        /// Updates that still arrive, though nobody waits for their answers.
        late: Vec<(usize, u64)>,
    }

    impl Key {
        fn update(&mut self, owner: Option<usize>, expected: u64) -> Option<u64> {
            (self.revision == expected).then(|| {
                self.revision += 1;
                self.owner = owner;
                self.revision
            })
        }

        fn give_up_on(&mut self, relay: usize, update: Option<Update>) {
            self.late.extend(
                update.filter(|update| update.answer.is_none()).map(|update| (relay, update.expected)),
            );
        }
    }

    /// An update on its way to the server and back.
    #[derive(Clone, Copy, Debug)]
    struct Update {
        sent: Instant,
        expected: u64,
        /// The server's answer: the new revision, or a refusal.
        answer: Option<Option<u64>>,
    }

    #[derive(Debug, Default)]
    struct Relay {
        watch: Watch,
        hold: Option<Hold>,
        update: Option<Update>,
        /// True once it was seen to have lost its present lease.
        seen_lost: bool,
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        /// Time passes; a relay with no step of its own meanwhile is paused.
        Pass(u64),
        /// The relay sends an update: a renewal, or one to win the lease.
        Send(usize),
        /// The relay's update arrives at the server.
        Arrive(usize),
        /// An update that was given up arrives at the server.
        Late,
        /// The answer arrives at the relay.
        Answer(usize),
        /// The answer is lost; the relay reads the key instead.
        Read(usize),
        /// The relay looks whether the lease is still its own.
        Look(usize),
        /// The relay gives its lease back.
        Release(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let relay = || 0..RELAYS;
        prop_oneof![
            3 => (0u64..1500).prop_map(Step::Pass),
            1 => (0u64..20_000).prop_map(Step::Pass),
            4 => relay().prop_map(Step::Send),
            4 => relay().prop_map(Step::Arrive),
            1 => Just(Step::Late),
            3 => relay().prop_map(Step::Answer),
            1 => relay().prop_map(Step::Read),
            2 => relay().prop_map(Step::Look),
            1 => relay().prop_map(Step::Release),
        ]
    }

    fn take(step: Step, now: &mut Instant, key: &mut Key, relays: &mut [Relay]) {
        match step {
            Step::Pass(milliseconds) => *now += Duration::from_millis(milliseconds),
            Step::Send(index) => {
                let relay = &mut relays[index];
                let expected = match relay.hold.as_mut().map(|hold| (hold.is_held(*now), hold.revision)) {
                    Some((true, revision)) => Some(revision),
                    // A leader that has lost its lease stands by.
                    Some((false, _)) => {
                        (relay.hold, relay.seen_lost) = (None, false);
                        key.give_up_on(index, relay.update.take());
                        None
                    }
                    None => {
                        relay.watch.may_take(*now, key.revision, key.owner.is_none()).then_some(key.revision)
                    }
                };
                if let Some(expected) = expected
                    && relay.update.is_none()
                {
                    relay.update = Some(Update { sent: *now, expected, answer: None });
                }
            }
            Step::Arrive(index) => {
                if let Some(update) = relays[index].update.as_mut().filter(|update| update.answer.is_none()) {
                    update.answer = Some(key.update(Some(index), update.expected));
                }
            }
            Step::Late => {
                if let Some((owner, expected)) = key.late.pop() {
                    key.update(Some(owner), expected);
                }
            }
            Step::Answer(index) => {
                let relay = &mut relays[index];
                let Some(Update { sent, answer: Some(answer), .. }) = relay.update else { return };
                relay.update = None;
                match (&mut relay.hold, answer) {
                    (Some(hold), Some(revision)) => hold.answered(*now, Answer::Renewed { sent, revision }),
                    (Some(hold), None) => hold.answered(*now, Answer::Refused),
                    (None, Some(revision)) => relay.hold = Some(Hold::won(sent, revision)),
                    (None, None) => {}
                }
            }
            Step::Read(index) => {
                let relay = &mut relays[index];
                key.give_up_on(index, relay.update.take());
                if let Some(hold) = &mut relay.hold {
                    let ours = key.owner == Some(index);
                    let answer =
                        if ours { Answer::Stored { revision: key.revision } } else { Answer::Refused };
                    hold.answered(*now, answer);
                }
            }
            Step::Look(index) => {
                let relay = &mut relays[index];
                relay.seen_lost |= relay.hold.as_mut().is_some_and(|hold| !hold.is_held(*now));
            }
            Step::Release(index) => {
                let relay = &mut relays[index];
                key.give_up_on(index, relay.update.take());
                if let Some(mut hold) = relay.hold.take() {
                    hold.answered(*now, Answer::Refused);
                    key.update(None, hold.revision);
                }
                relay.seen_lost = false;
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn one_leads_at_a_time_and_a_lost_lease_is_never_revived(
            steps in prop::collection::vec(step(), 0..200),
        ) {
            let mut now = Instant::now();
            let mut key = Key::default();
            let mut relays: Vec<Relay> = (0..RELAYS).map(|_| Relay::default()).collect();
            for step in steps {
                take(step, &mut now, &mut key, &mut relays);
                // Copies are asked, so that only the steps themselves notice a lapse.
                let held = relays.iter().map(|relay| relay.hold.is_some_and(|mut hold| hold.is_held(now)));
                let held: Vec<bool> = held.collect();
                prop_assert!(held.iter().filter(|held| **held).count() <= 1, "two lead");
                for (relay, held) in relays.iter().zip(held) {
                    prop_assert!(!(relay.seen_lost && held), "a lost lease was revived");
                }
            }
        }
    }

    #[test]
    fn a_renewal_that_is_answered_after_a_pause_revives_nothing() {
        let start = Instant::now();
        let mut hold = Hold::won(start, 1);
        let (sent, woken) = (start + Duration::from_secs(1), start + Duration::from_secs(7));
        hold.answered(woken, Answer::Renewed { sent: woken, revision: 2 });
        assert!(!hold.is_held(woken));
        assert_eq!(hold.revision, 2, "it is given back under the revision it has");

        let mut hold = Hold::won(start, 1);
        hold.answered(sent, Answer::Renewed { sent, revision: 2 });
        assert!(hold.is_held(start + Duration::from_secs(5)));
    }
}
