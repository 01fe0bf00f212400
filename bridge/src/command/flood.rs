//! How many commands one account may give: a burst, then one each while. The first beyond is told, further ones are dropped, so
//! that a flood makes no second one of answers. Bounded in memory.

use std::collections::HashMap;
use std::time::Duration;

use service::platform::Limiter;

/// The commands that one account may give at once, and the time after which it may give one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) burst: u32,
    pub(crate) every: Duration,
}

impl Default for Limit {
    fn default() -> Limit {
        Limit { burst: 20, every: Duration::from_secs(2) }
    }
}

/// The most accounts that are counted; past it those that have their whole burst again are forgotten.
const MOST: usize = 10_000;

#[derive(Debug, Default)]
pub(crate) struct Flood(HashMap<String, Count>);

#[derive(Debug)]
struct Count {
    limit: Limit,
    limiter: Limiter,
    /// The last one was refused already.
    is_over: bool,
}

/// The fate of one command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Passes,
    /// It is refused, and its author is told for how long.
    Told(Duration),
    Dropped,
}

impl Flood {
    /// Counts one command.
    pub(crate) fn admit(&mut self, account: &str, limit: Limit) -> Admission {
        if self.0.len() >= MOST && !self.0.contains_key(account) {
            self.0.retain(|_, count| count.limiter.tokens() < count.limit.burst as usize);
        }
        if self.0.len() >= MOST && !self.0.contains_key(account) {
            return Admission::Dropped;
        }
        let new = || Count { limit, limiter: Limiter::new(limit.every, limit.burst), is_over: false };
        let count = self.0.entry(account.to_owned()).or_insert_with(new);
        if count.limit != limit {
            *count = new();
        }
        let taken = count.limiter.take();
        match (taken, std::mem::replace(&mut count.is_over, taken.is_err())) {
            (Ok(()), _) => Admission::Passes,
            (Err(wait), false) => Admission::Told(wait),
            (Err(_), true) => Admission::Dropped,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_account_does_not_use_up_anothers_burst_and_a_flood_is_told_once() {
        let (mut flood, limit) = (Flood::default(), Limit::default());
        let mut admit = |account: &str| flood.admit(account, limit);
        assert!((0..limit.burst).all(|_| admit("a") == Admission::Passes));
        assert_eq!((admit("a"), admit("a")), (Admission::Told(limit.every), Admission::Dropped));
        assert_eq!(admit("b"), Admission::Passes);
        tokio::time::advance(limit.every).await;
        assert_eq!((admit("a"), admit("a")), (Admission::Passes, Admission::Told(limit.every)));
        // A changed limit is in force at once.
        assert_eq!(flood.admit("a", Limit { burst: 1, ..limit }), Admission::Passes);
    }

    #[tokio::test(start_paused = true)]
    async fn accounts_are_forgotten_once_they_are_quiet() {
        let (mut flood, limit) = (Flood::default(), Limit::default());
        assert!((0..MOST).all(|n| flood.admit(&n.to_string(), limit) == Admission::Passes));
        assert_eq!(flood.admit("new", limit), Admission::Dropped);
        tokio::time::advance(limit.every).await;
        assert_eq!(flood.admit("new", limit), Admission::Passes);
        assert_eq!(flood.0.len(), 1);
    }
}
