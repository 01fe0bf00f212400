//! How many commands one account may give: a burst, then one each while. Bounded in memory.

use std::collections::HashMap;
use std::time::Duration;

use service::platform::Limiter;

const BURST: u32 = 20;
const EVERY: Duration = Duration::from_secs(2);
/// The most accounts that are counted; past it those that have their whole burst again are forgotten.
const MOST: usize = 10_000;

#[derive(Debug, Default)]
pub(crate) struct Flood(HashMap<String, Limiter>);

impl Flood {
    /// Counts one command; the error is the time until the next one is taken.
    pub(crate) fn take(&mut self, account: &str) -> Result<(), Duration> {
        if self.0.len() >= MOST && !self.0.contains_key(account) {
            self.0.retain(|_, limiter| limiter.tokens() < BURST as usize);
        }
        if self.0.len() >= MOST && !self.0.contains_key(account) {
            return Err(EVERY);
        }
        self.0.entry(account.to_owned()).or_insert_with(|| Limiter::new(EVERY, BURST)).take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_account_does_not_use_up_anothers_burst() {
        let mut flood = Flood::default();
        assert!((0..BURST).all(|_| flood.take("a").is_ok()));
        assert_eq!(flood.take("a"), Err(EVERY));
        assert_eq!(flood.take("b"), Ok(()));
        tokio::time::advance(EVERY).await;
        assert_eq!((flood.take("a"), flood.take("a")), (Ok(()), Err(EVERY)));
    }

    #[tokio::test(start_paused = true)]
    async fn accounts_are_forgotten_once_they_are_quiet() {
        let mut flood = Flood::default();
        assert!((0..MOST).all(|n| flood.take(&n.to_string()).is_ok()));
        assert!(flood.take("new").is_err());
        tokio::time::advance(EVERY).await;
        assert!(flood.take("new").is_ok());
        assert_eq!(flood.0.len(), 1);
    }
}
