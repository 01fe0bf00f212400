//! A room's worker: posts what waits, and stores the receipts and dead letters.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use service::lease::Lost;
use service::zone::Zone;
use tellhal::Timestamp;
use tokio_util::sync::CancellationToken;

use super::contents::Contents;
use super::ledger::Ledger;
use super::outlet::{End, Outlet, Refusal};
use super::post::{Interrupted, pause};
use super::queues::RoomQueue;
use super::shared::Shared;
use crate::delivery::{Attempts, DeadLetter, Delivery, Outcome, Place, Receipt};
use crate::room::Room;
use crate::status::State;

/// The wait after an interruption by the server.
const AGAIN: Duration = Duration::from_millis(250);
/// The number of posts that a lost leader may have made without their receipts.
const UNTOLD: u32 = 2;
/// The number of dead letters that are written at once, with one receipt.
const LETTERS: usize = 100;

/// A room that is served.
pub struct Served {
    pub room: Arc<dyn Room>,
    pub name: String,
    pub queue: Arc<RoomQueue>,
    /// The time zone of the times that its posts show.
    pub zone: Zone,
    /// The number of deliveries that may wait while the room fails.
    pub max_waiting: usize,
    /// The last entry of the log when its leader was lost, if it was: what waits up to there may have been posted.
    pub doubtful: Option<u64>,
}

/// Serves the room until `stop` or until the lease is lost.
pub async fn run(served: Served, shared: Shared, stop: CancellationToken) {
    let Served { room, name, queue, zone, max_waiting, doubtful } = served;
    let ledger = loop {
        match Ledger::open(&shared, &name, &queue).await {
            Ok(ledger) => break ledger,
            Err(error) => {
                tracing::warn!(room = name, error = format!("{error:#}"), "the room cannot be served yet");
            }
        }
        if pause(AGAIN, &shared.lease, &stop).await.is_err() {
            return;
        }
    };
    let contents = Contents::new(&name, &shared);
    let outlet = Outlet {
        room,
        name,
        queue,
        contents,
        shared,
        stop,
        zone,
        max_waiting,
        singly: 0,
        doubtful: doubtful.map_or((0, 0), |sequence| (sequence, UNTOLD)),
        failures: 0,
        retry_at: None,
    };
    let mut worker = Worker { outlet, ledger, posted: None };
    while worker.step().await.is_ok() {}
    // Without the lease another leader posts it again; this relay remembers it.
    let _ = worker.record().await;
}

struct Worker {
    outlet: Outlet,
    ledger: Ledger,
    /// The receipt of the last post, which is not stored yet.
    posted: Option<Receipt>,
}

impl Worker {
    /// Sends one post, and stores the receipt of the one before meanwhile.
    async fn step(&mut self) -> Result<(), Interrupted> {
        if self.outlet.stop.is_cancelled() {
            return Err(Interrupted::Stopped);
        }
        let after = self.posted.as_ref().map(|receipt| receipt.place).unwrap_or_default();
        let idle = self.outlet.queue.len_after(after) == 0 || self.outlet.room.limiter().wait().is_some();
        // One refused message is no reason to give up others.
        let is_failing = self.outlet.retry_at.is_some();
        if idle || is_failing || self.outlet.to_give_up(is_failing).is_some() {
            self.record().await?;
        }
        let to_give_up = self.outlet.back_off().await?.or_else(|| self.outlet.to_give_up(is_failing));
        if let Some((count, reason)) = to_give_up {
            let attempts = Attempts::default();
            let refusal = Refusal { reason, is_broken: false, count, tried: 0, tries: 0, attempts };
            return self.give_up(refusal).await;
        }
        self.outlet.wait(after).await?;
        self.outlet.limit().await?;
        let posted = self.posted.take();
        let (recorded, end) = tokio::join!(record(&mut self.ledger, posted), self.outlet.post(after));
        let end = end?;
        if let End::Posted(receipt) = &end {
            self.posted = Some(receipt.clone());
        }
        recorded?;
        match end {
            End::Posted(receipt) => self.took(receipt.at),
            End::Refused(refusal) => self.give_up(refusal).await?,
            End::Again => {}
        }
        Ok(())
    }

    async fn record(&mut self) -> Result<(), Lost> {
        record(&mut self.ledger, self.posted.take()).await
    }

    /// Makes dead letters of the oldest deliveries.
    async fn give_up(&mut self, refusal: Refusal) -> Result<(), Interrupted> {
        let Refusal { reason, is_broken, count, tried, tries, attempts } = refusal;
        tracing::error!(room = self.outlet.name, count, reason, "dead letters");
        let mut done = 0;
        while done < count {
            let waiting = self.outlet.queue.peek(Place::default(), LETTERS.min(count - done));
            if waiting.is_empty() {
                break;
            }
            let mut letters: Vec<DeadLetter> = Vec::with_capacity(waiting.len());
            let letter = |delivery: &Arc<Delivery>| {
                let was_tried = done + letters.len() < tried;
                letters.push(DeadLetter {
                    room: self.outlet.name.clone(),
                    reason: reason.clone(),
                    at: Timestamp::now(),
                    tries: if was_tried { tries } else { 0 },
                    attempts: if was_tried { attempts.clone() } else { Attempts::default() },
                    delivery: (**delivery).clone(),
                });
            };
            let lease = self.outlet.shared.lease.clone();
            if let Err(error) = lease.bound(self.outlet.contents.read(&waiting, letter)).await? {
                let room = &self.outlet.name;
                tracing::warn!(
                    room,
                    error = format!("{error:#}"),
                    "dead letters could not be read; trying again"
                );
                pause(AGAIN, &lease, &self.outlet.stop).await?;
                continue;
            }
            done += letters.len();
            self.bury(letters, &reason).await?;
        }
        if is_broken {
            self.broken(&reason);
        }
        Ok(())
    }

    /// Stores dead letters, then the receipt that covers them.
    async fn bury(&mut self, letters: Vec<DeadLetter>, reason: &str) -> Result<(), Lost> {
        let ledger = &self.ledger;
        try_join_all(letters.iter().map(|letter| ledger.bury(letter))).await?;
        let Some(last) = letters.last() else { return Ok(()) };
        let receipt = Receipt {
            ids: letters.iter().map(|letter| letter.delivery.id.to_string()).collect(),
            ..Receipt::unsent(&last.room, Outcome::Dead, "", last.delivery.place, last.at, reason.to_owned())
        };
        self.ledger.record(receipt).await
    }

    fn broken(&self, reason: &str) {
        let Outlet { name, shared, .. } = &self.outlet;
        shared.status.room(name, |room| {
            room.retrying = None;
            room.state = State::Broken;
            room.last_error = Some(reason.to_owned());
            room.last_error_at = Some(Timestamp::now());
            room.retry_at = None;
        });
    }

    fn took(&self, now: Timestamp) {
        let Outlet { name, shared, .. } = &self.outlet;
        shared.status.room(name, |room| {
            room.state = State::Ok;
            room.tries = 0;
            room.retrying = None;
            room.last_success = Some(now);
            room.trouble.took();
            (room.failing_since, room.retry_at) = (None, None);
        });
    }
}

async fn record(ledger: &mut Ledger, receipt: Option<Receipt>) -> Result<(), Lost> {
    match receipt {
        Some(receipt) => ledger.record(receipt).await,
        None => Ok(()),
    }
}
