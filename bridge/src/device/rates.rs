//! The rate of messages of each address, in bounded memory.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use service::platform::Limiter;

/// Addresses with a rate of their own. Further ones share one, since a sender of datagrams can write any address.
const ADDRESSES: usize = 4096;
/// The seconds for which the messages of an idle address are saved up.
const BURST: u32 = 10;
/// The time between two removals of idle addresses, each of which looks at all of them.
const SWEEP: Duration = Duration::from_secs(1);

/// The limiters of addresses.
pub(crate) struct Rates(Mutex<Inner>);

struct Inner {
    /// Messages a second.
    rate: u32,
    own: HashMap<IpAddr, Arc<Limiter>>,
    /// When idle addresses were last removed.
    swept: Instant,
    shared: Arc<Limiter>,
}

impl Inner {
    fn new(rate: u32) -> Inner {
        Inner { rate, own: HashMap::new(), swept: Instant::now(), shared: limiter(rate) }
    }

    fn of(&mut self, address: IpAddr) -> Arc<Limiter> {
        if let Some(own) = self.own.get(&address) {
            return own.clone();
        }
        if self.own.len() >= ADDRESSES && self.swept.elapsed() > SWEEP {
            self.swept = Instant::now();
            let burst = (self.rate * BURST) as usize;
            self.own.retain(|_, limiter| limiter.tokens() < burst);
        }
        if self.own.len() >= ADDRESSES {
            return self.shared.clone();
        }
        self.own.entry(address).or_insert_with(|| limiter(self.rate)).clone()
    }
}

impl Default for Rates {
    fn default() -> Self {
        Rates(Mutex::new(Inner::new(1)))
    }
}

impl Rates {
    /// The limiter of an address, with `rate` messages a second.
    pub(crate) fn of(&self, address: IpAddr, rate: u32) -> Arc<Limiter> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.rate != rate {
            *inner = Inner::new(rate);
        }
        inner.of(address.to_canonical())
    }
}

fn limiter(rate: u32) -> Arc<Limiter> {
    Arc::new(Limiter::new(Duration::from_secs(1) / rate.max(1), rate.saturating_mul(BURST)))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn each_address_has_its_rate_and_the_memory_is_bounded() {
        let rates = Rates::default();
        let address = |i: u32| IpAddr::from(Ipv4Addr::from(i));
        let taken = |address| (0..100).filter(|_| rates.of(address, 2).take().is_ok()).count();
        assert_eq!((taken(address(1)), taken(address(1)), taken(address(2))), (20, 0, 20));
        // A new rate begins with no addresses. It is never time to remove idle ones.
        let _ = rates.of(address(0), 1);
        rates.0.lock().unwrap().swept = Instant::now() + Duration::from_secs(3600);
        for i in 0..2 * ADDRESSES as u32 {
            let _ = rates.of(address(i), 1).take();
        }
        assert_eq!(rates.0.lock().unwrap().own.len(), ADDRESSES);
        // Those without a limiter of their own share one, which is spent.
        assert!(rates.of(address(90_000), 1).take().is_err());
    }
}
