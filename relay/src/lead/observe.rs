//! Looks each second, from outside of the loop that leads, whether the server answers and whether some relay leads, so that
//! page, readiness and log say within five seconds what is wrong. It reads the lease, which its leader changes each second,
//! and takes no part in the election.

use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::kv::{Operation, Store};
use tellhal::Timestamp;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::LEASE_KEY;
use crate::bus::Bus;
use crate::status::Status;

const LOOK: Duration = Duration::from_secs(1);
/// The pause after a look without an answer.
const AGAIN: Duration = Duration::from_millis(500);
/// The time without an answer after which the server counts as gone.
const SILENT: Duration = Duration::from_millis(2500);
/// The time after which no relay leads: a standby takes a lease that was not renewed for five seconds.
const UNLED: Duration = Duration::from_secs(8);

/// The key by which the observer finds out why nobody can take the lease.
const PROBE_KEY: &str = "observer";

/// One look at the lease.
#[derive(Clone, Copy, Debug)]
enum Look {
    Silent,
    /// The revision of the lease, 0 if there is none.
    Lease {
        revision: u64,
        is_held: bool,
    },
}

/// A state that keeps this relay from being ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Obstacle {
    ServerGone,
    NobodyLeads,
}

/// The last changes that were seen.
#[derive(Debug)]
struct Seen {
    answered: Instant,
    revision: u64,
    renewed: Instant,
}

impl Seen {
    fn new(now: Instant) -> Self {
        Seen { answered: now, revision: 0, renewed: now }
    }

    fn look(&mut self, now: Instant, look: Look) -> Option<Obstacle> {
        match look {
            Look::Silent => {
                let is_gone = now.duration_since(self.answered) >= SILENT;
                return is_gone.then_some(Obstacle::ServerGone);
            }
            // A lease that was given back changes too, and is nobody's.
            Look::Lease { revision, is_held } if is_held && revision != self.revision => {
                (self.revision, self.renewed) = (revision, now);
            }
            // A server that is back needs time for a leader to be found.
            Look::Lease { .. } if now.duration_since(self.answered) >= SILENT => self.renewed = now,
            Look::Lease { .. } => {}
        }
        self.answered = now;
        (now.duration_since(self.renewed) >= UNLED).then_some(Obstacle::NobodyLeads)
    }
}

/// Looks until `stop`, and tells the status what is wrong.
pub async fn run(bus: Bus, status: Arc<Status>, stop: CancellationToken) {
    stop.run_until_cancelled(watch(&bus, &status)).await;
}

async fn watch(bus: &Bus, status: &Status) {
    let mut seen = Seen::new(Instant::now());
    let (mut store, mut known) = (None, None);
    loop {
        let look = look(bus, &mut store).await;
        let obstacle = seen.look(Instant::now(), look);
        if obstacle != known {
            let words = match obstacle {
                Some(obstacle) => Some(words(obstacle, bus, store.as_ref()).await),
                None => None,
            };
            match &words {
                Some(words) => tracing::error!("{words}"),
                None => tracing::info!(server = bus.server(), "the server answers, and a relay leads"),
            }
            status.change(|now| now.obstacle = words);
            known = obstacle;
        }
        sleep(if matches!(look, Look::Silent) { AGAIN } else { LOOK }).await;
    }
}

async fn look(bus: &Bus, store: &mut Option<Store>) -> Look {
    // A request without a connection would wait for one.
    if bus.client.connection_state() != State::Connected {
        return Look::Silent;
    }
    let asked = async {
        if store.is_none() {
            *store = bus.js.get_key_value(bus.names.state_bucket()).await.ok();
        }
        match store {
            Some(store) => store.entry(LEASE_KEY).await.ok().flatten(),
            None => None,
        }
    };
    let Ok(entry) = timeout(LOOK, asked).await else { return Look::Silent };
    // An error is an answer as well, such as that there is no bucket yet.
    let is_held = entry.as_ref().is_some_and(|e| e.operation == Operation::Put && !e.value.is_empty());
    Look::Lease { revision: entry.map_or(0, |entry| entry.revision), is_held }
}

async fn words(obstacle: Obstacle, bus: &Bus, store: Option<&Store>) -> String {
    let since = |ago: Duration| Timestamp(Timestamp::now().0 - i64::try_from(ago.as_millis()).unwrap_or(0));
    match obstacle {
        Obstacle::ServerGone => format!("NATS has not answered since {}: {}", since(SILENT), bus.server()),
        Obstacle::NobodyLeads => {
            let reason = match store {
                Some(store) => refusal(store).await,
                None => Some("the bucket of the lease cannot be read".into()),
            };
            let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
            format!("no relay has led since {}{reason}", since(UNLED))
        }
    }
}

/// The reason why the bucket of the lease takes no entry, such as a full disk.
async fn refusal(store: &Store) -> Option<String> {
    match timeout(LOOK, store.put(PROBE_KEY, "".into())).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(format!("the lease cannot be written: {:#}", anyhow::Error::from(error))),
        Err(_) => Some("the lease cannot be written: the server does not answer".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The obstacle after the looks, each a second after the one before.
    fn after(looks: impl IntoIterator<Item = Look>) -> Option<Obstacle> {
        let start = Instant::now();
        let mut seen = Seen::new(start);
        let numbered = (1..).zip(looks);
        numbered.fold(None, |_, (n, look)| seen.look(start + LOOK * n, look))
    }

    fn held(revision: u64) -> Look {
        Look::Lease { revision, is_held: true }
    }

    #[test]
    fn a_lease_that_is_renewed_has_a_leader_and_one_that_is_not_has_none_soon() {
        assert_eq!(after((1..60).map(held)), None);
        let takeover = (1..20).map(held).chain(std::iter::repeat_n(held(19), 6)).chain([held(20)]);
        assert_eq!(after(takeover), None);
        assert_eq!(after(std::iter::repeat_n(held(7), 20)), Some(Obstacle::NobodyLeads));
        let free = |revision| Look::Lease { revision, is_held: false };
        assert_eq!(after((1..20).map(free)), Some(Obstacle::NobodyLeads), "given back again and again");
        assert_eq!(after([free(0); 5]), None, "a first relay is starting");
    }

    #[test]
    fn a_server_that_is_silent_is_gone_within_three_looks_and_a_leader_has_time_when_it_is_back() {
        assert_eq!(after([held(1), held(2), Look::Silent, Look::Silent]), None);
        let gone = [held(1), held(2), Look::Silent, Look::Silent, Look::Silent];
        assert_eq!(after(gone), Some(Obstacle::ServerGone));
        let back = |looks| {
            [held(1)].into_iter().chain([Look::Silent; 30]).chain(std::iter::repeat_n(held(1), looks))
        };
        assert_eq!(after(back(5)), None);
        assert_eq!(after(back(12)), Some(Obstacle::NobodyLeads));
    }
}
