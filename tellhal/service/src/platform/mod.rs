//! Chat platforms' own protocols, both directions, and the words in which all of them answer. A relay's room and a
//! bridge's chat source are thin files over a platform. No platform retries a post, sleeps on its failure or routes.

mod address;
mod attempt;
pub mod irc;
pub mod matrix;
pub mod mqtt;
pub mod slack;
mod stage;
pub mod xmpp;

use std::time::Duration;

use crate::hidden::Hidden;
use crate::secret::Secret;

/// The longest time that sending one part may take: a post must end before the lease of the relay that started it (5 s,
/// renewed each second), so that a successor never posts beside it.
pub const TIMEOUT: Duration = Duration::from_millis(3500);

/// The answer of a platform that took a part.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sent {
    /// The answer in words, for the history of a message.
    pub answer: String,
    /// The platform's own id of the post, and its address.
    pub post: Option<String>,
    pub link: Option<String>,
    /// The reason why nobody knows that the post is shown, although the platform took it.
    pub doubt: Option<String>,
}

/// The reason why a part was not taken; decided where the answer is read, and also a metric's label.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Failure {
    /// A later attempt may succeed. `wait` is the platform's own wish. `ambiguous` when the room may have taken it.
    #[error("{reason}")]
    Transient { reason: String, wait: Option<Duration>, ambiguous: bool },
    /// This post will never be taken.
    #[error("{reason}")]
    Permanent { reason: String },
    /// No post will be taken until the credentials or the room are changed.
    #[error("{reason}")]
    Auth { reason: String },
}

/// A token bucket: `burst` at once, then one each `every`.
#[derive(Debug)]
pub struct Limiter {
    every: Duration,
    burst: u32,
    /// When the bucket will be full again.
    full_at: std::sync::Mutex<tokio::time::Instant>,
}

impl Limiter {
    pub fn new(every: Duration, burst: u32) -> Self {
        Limiter { every, burst: burst.max(1), full_at: std::sync::Mutex::new(tokio::time::Instant::now()) }
    }

    /// No limit at all.
    pub fn none() -> Self {
        Limiter::new(Duration::ZERO, u32::MAX)
    }

    /// The time for one token, and the size of the burst before that counts; `None` without a limit.
    pub fn rate(&self) -> Option<(Duration, u32)> {
        (!self.every.is_zero()).then_some((self.every, self.burst))
    }

    /// Takes one token; the error is the time until there is one.
    pub fn take(&self) -> Result<(), Duration> {
        let now = tokio::time::Instant::now();
        let mut full_at = self.full_at();
        match self.missing(*full_at, now) {
            Some(wait) => Err(wait),
            None => {
                *full_at = (*full_at).max(now) + self.every;
                Ok(())
            }
        }
    }

    /// The time until there is a token; `None` if there is one.
    pub fn wait(&self) -> Option<Duration> {
        self.missing(*self.full_at(), tokio::time::Instant::now())
    }

    /// The number of tokens.
    pub fn tokens(&self) -> usize {
        if self.every.is_zero() {
            return usize::MAX;
        }
        let spent = self.full_at().saturating_duration_since(tokio::time::Instant::now());
        let left = self.every.saturating_mul(self.burst).saturating_sub(spent);
        usize::try_from(left.as_nanos() / self.every.as_nanos()).unwrap_or(usize::MAX)
    }

    fn missing(&self, full_at: tokio::time::Instant, now: tokio::time::Instant) -> Option<Duration> {
        let next = full_at.max(now) + self.every;
        let over = next.duration_since(now).saturating_sub(self.every.saturating_mul(self.burst));
        (!over.is_zero()).then_some(over)
    }

    fn full_at(&self) -> std::sync::MutexGuard<'_, tokio::time::Instant> {
        self.full_at.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Failure {
    /// A failure to be tried again, of which the room cannot have taken anything.
    pub fn transient(reason: impl Into<String>) -> Self {
        Failure::Transient { reason: reason.into(), wait: None, ambiguous: false }
    }

    /// The platform's own wish for the time until the next attempt.
    pub fn wait(&self) -> Duration {
        match self {
            Failure::Transient { wait, .. } => wait.unwrap_or_default(),
            Failure::Permanent { .. } | Failure::Auth { .. } => Duration::ZERO,
        }
    }

    /// The same failure, with a secret hidden in its reason.
    pub fn without(mut self, secret: Option<&Secret>) -> Self {
        let mut hidden = Hidden::default();
        secret.iter().for_each(|secret| hidden.secret(secret.reveal()));
        let (Failure::Transient { reason, .. } | Failure::Permanent { reason } | Failure::Auth { reason }) =
            &mut self;
        *reason = hidden.hide(reason);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_bucket_gives_its_burst_and_then_one_each_while() {
        let limiter = Limiter::new(Duration::from_secs(2), 4);
        assert!((0..4).all(|_| limiter.take().is_ok()));
        assert_eq!(limiter.take(), Err(Duration::from_secs(2)));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!((limiter.take(), limiter.take()), (Ok(()), Err(Duration::from_secs(2))));
        assert!((0..100_000).all(|_| Limiter::none().take().is_ok()));
    }
}
