//! Sends one post: its parts in turn, each after the limiter, and classifies the answers. Independent of queues and
//! receipts.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use tellhal::Timestamp;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::delivery::{Answered, Attempt, Attempts};
use crate::room::{Part, Post, Room};
use service::lease::{self, Lease, Lost};
use service::platform::{Failure, Sent};

const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// The longest wait that a platform can ask for.
const LONGEST_WISH: Duration = Duration::from_secs(3600);

/// A post that is being sent.
pub(super) struct Sending<'a> {
    room: &'a dyn Room,
    parts: Vec<Part>,
    next: usize,
    pub(super) tries: u32,
    pub(super) attempts: Attempts,
    /// True if an earlier attempt may have been taken.
    pub(super) ambiguous: bool,
    sent: Sent,
}

/// The reason why an attempt ended without an answer of the room.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Interrupted {
    Lost,
    Stopped,
}

impl From<Lost> for Interrupted {
    fn from(_: Lost) -> Self {
        Interrupted::Lost
    }
}

impl<'a> Sending<'a> {
    /// Renders the post. A panic of the renderer is a failure of this post, not of the relay.
    pub(super) fn new(room: &'a dyn Room, post: &Post) -> Result<Self, Failure> {
        let parts = std::panic::catch_unwind(AssertUnwindSafe(|| room.render(post)))
            .map_err(|_| Failure::Permanent { reason: "the renderer panicked".into() })?;
        Ok(Sending {
            room,
            parts,
            next: 0,
            tries: 0,
            attempts: Attempts::default(),
            ambiguous: false,
            sent: Sent::default(),
        })
    }

    /// Sends the parts that have not been sent. A part that is refused is sent plain, once. The outer error means that there is
    /// no answer of the room.
    pub(super) async fn attempt(
        &mut self,
        lease: &Lease,
        stop: &CancellationToken,
    ) -> Result<Result<Sent, Failure>, Interrupted> {
        loop {
            self.tries += 1;
            let begun = Instant::now();
            let answer = self.send(lease, stop).await?;
            let text = match &answer {
                Ok(sent) => sent.answer.clone(),
                Err(failure) => failure.to_string(),
            };
            self.attempts.push(Attempt {
                at: Timestamp::now(),
                seconds: begun.elapsed().as_secs_f64(),
                outcome: answered(&answer),
                answer: text,
            });
            if !self.make_plain(&answer) {
                return Ok(answer);
            }
        }
    }

    /// After a refusal the part is plain from now on; false if it has no other form or was plain already.
    fn make_plain(&mut self, answer: &Result<Sent, Failure>) -> bool {
        let is_refused = matches!(answer, Err(Failure::Permanent { .. } | Failure::Auth { .. }));
        let plain = self.parts.get_mut(self.next).filter(|_| is_refused).and_then(|part| part.plain.take());
        match (plain, self.parts.get_mut(self.next)) {
            (Some(plain), Some(part)) => {
                part.wire = plain;
                true
            }
            _ => false,
        }
    }

    async fn send(
        &mut self,
        lease: &Lease,
        stop: &CancellationToken,
    ) -> Result<Result<Sent, Failure>, Interrupted> {
        while let Some(part) = self.parts.get(self.next) {
            self.limit(lease, stop).await?;
            let send = AssertUnwindSafe(timeout(self.room.timeout(), self.room.send(part))).catch_unwind();
            let answer = match lease.bound(send).await? {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => Err(self.late()),
                Err(_) => Err(Failure::Permanent { reason: "the room's adapter panicked".into() }),
            };
            match answer {
                Ok(sent) => {
                    self.next += 1;
                    self.sent = Sent {
                        answer: sent.answer,
                        post: sent.post.or(self.sent.post.take()),
                        link: sent.link.or(self.sent.link.take()),
                        doubt: sent.doubt.or(self.sent.doubt.take()),
                    };
                }
                Err(failure) => {
                    self.ambiguous |= matches!(failure, Failure::Transient { ambiguous: true, .. });
                    return Ok(Err(failure));
                }
            }
        }
        Ok(Ok(self.sent.clone()))
    }

    fn late(&self) -> Failure {
        let reason = format!("no answer within {}", humantime::format_duration(self.room.timeout()));
        Failure::Transient { reason, wait: None, ambiguous: true }
    }

    /// Waits for the limiter, and until the lease lasts long enough.
    async fn limit(&self, lease: &Lease, stop: &CancellationToken) -> Result<(), Interrupted> {
        let limiter = self.room.limiter();
        loop {
            let wait = match limiter.take() {
                Ok(()) => break,
                Err(wait) => wait,
            };
            pause(wait, lease, stop).await?;
        }
        while lease.left() < lease::LEAST {
            pause(Duration::from_millis(50), lease, stop).await?;
        }
        Ok(())
    }
}

fn answered(answer: &Result<Sent, Failure>) -> Answered {
    match answer {
        Ok(_) => Answered::Ok,
        Err(Failure::Transient { .. }) => Answered::Transient,
        Err(Failure::Permanent { .. }) => Answered::Permanent,
        Err(Failure::Auth { .. }) => Answered::Auth,
    }
}

/// Sleeps, or returns early when the relay stops or the lease is lost.
pub(super) async fn pause(
    wait: Duration,
    lease: &Lease,
    stop: &CancellationToken,
) -> Result<(), Interrupted> {
    let until = Instant::now() + wait;
    tokio::select! {
        () = stop.cancelled() => Err(Interrupted::Stopped),
        lost = lease.bound(sleep(until - Instant::now())) => Ok(lost?),
    }
}

/// The wait after failure number `tries`: doubling from 250 ms to a minute, spread by `jitter` (0 to 1) over the upper
/// half, and at least as long as the platform asks for.
pub(super) fn backoff(tries: u32, wish: Option<Duration>, jitter: f64) -> Duration {
    let doubled = FIRST_WAIT.saturating_mul(1 << tries.saturating_sub(1).min(16)).min(LONGEST_WAIT);
    let spread = doubled.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0);
    let wish = wish.unwrap_or_default().min(LONGEST_WISH);
    if wish > spread { wish + FIRST_WAIT.mul_f64(jitter.clamp(0.0, 1.0)) } else { spread }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn waits_are_bounded_and_never_before_the_platforms_wish(
            tries in 0u32..1000, wish in prop::option::of(0u64..200_000), jitter in 0.0f64..1.0,
        ) {
            let wish = wish.map(Duration::from_secs);
            let wait = backoff(tries, wish, jitter);
            prop_assert!(wait >= wish.unwrap_or_default().min(LONGEST_WISH));
            prop_assert!(wait >= FIRST_WAIT / 2);
            prop_assert!(wait <= LONGEST_WAIT.max(wish.unwrap_or_default().min(LONGEST_WISH) + FIRST_WAIT));
        }
    }

    struct Colourful;

    #[async_trait::async_trait]
    impl Room for Colourful {
        fn render(&self, post: &Post) -> Vec<Part> {
            let (shown, plain) = ("x".to_owned(), Some("plain".to_owned()));
            vec![Part { shown, wire: "coloured".into(), plain, id: post.id.clone(), file: None }]
        }

        async fn send(&self, _: &Part) -> Result<Sent, Failure> {
            Ok(Sent::default())
        }
    }

    #[test]
    fn a_refused_part_is_plain_once() {
        let zone = service::zone::Zone::default();
        let post =
            Post { room: "ops".into(), id: "m1".into(), listed: vec![], counted: None, zone, files: vec![] };
        let mut sending = Sending::new(&Colourful, &post).unwrap();
        assert!(!sending.make_plain(&Err(Failure::transient("503"))));
        assert!(!sending.make_plain(&Ok(Sent::default())));
        assert_eq!(sending.parts[0].wire, "coloured");
        assert!(sending.make_plain(&Err(Failure::Auth { reason: "404".into() })));
        assert_eq!(sending.parts[0].wire, "plain");
        assert!(!sending.make_plain(&Err(Failure::Permanent { reason: "404".into() })));
    }

    #[test]
    fn waits_double() {
        let waits: Vec<u128> = (1..=10).map(|tries| backoff(tries, None, 1.0).as_millis()).collect();
        assert_eq!(waits, [250, 500, 1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000]);
    }
}
