//! Deliveries for rooms that this relay does not know. Such a room may be in another relay's configuration, so its deliveries
//! wait for a while; then they go back to the log, to be delivered to the default room with a mark.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tellhal::Timestamp;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::deliver::Shared;
use crate::deliver::contents::Contents;
use crate::deliver::ledger::Ledger;
use crate::deliver::queues::{Queues, RoomQueue};
use crate::delivery::{Delivery, Outcome, Place, Receipt};
use crate::engine::entry::Retry;
use crate::lead::rooms::Rooms;

/// Interval at which the queues are checked.
const LOOK: Duration = Duration::from_secs(2);
/// Bytes reserved for the rest of the entry that moves a delivery.
const WRAPPING: usize = 1024;
/// The number of deliveries that are moved before the next room's.
const MOST: usize = 100;

/// Moves the deliveries of unknown rooms until `stop` or until the lease is lost.
pub(super) async fn run(rooms: Arc<Rooms>, queues: Arc<Queues>, shared: Shared, stop: CancellationToken) {
    let every = LOOK.min(rooms.stranded_after / 2).max(Duration::from_millis(100));
    let mut unserved = Unserved { rooms, shared, readers: BTreeMap::new() };
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = unserved.shared.lease.lost.cancelled() => return,
            () = sleep(every) => {}
        }
        for (name, queue) in queues.all() {
            if unserved.rooms.open.contains_key(&name) || queue.is_empty() {
                continue;
            }
            let old = queues.older_than(unserved.rooms.stranded_after);
            if let Err(error) = unserved.move_on(&name, &queue, old).await {
                tracing::warn!(
                    room = name,
                    error = format!("{error:#}"),
                    "its deliveries could not be moved"
                );
            }
        }
    }
}

struct Unserved {
    rooms: Arc<Rooms>,
    shared: Shared,
    readers: BTreeMap<String, (Ledger, Contents)>,
}

impl Unserved {
    /// Moves the deliveries of a room that are too many, or have waited long enough (those up to the sequence `old`), oldest
    /// first.
    async fn move_on(&mut self, name: &str, queue: &Arc<RoomQueue>, old: u64) -> anyhow::Result<()> {
        let Unserved { rooms, shared, readers } = self;
        if !readers.contains_key(name) {
            let ledger = Ledger::open(shared, name, queue).await?;
            readers.insert(name.to_owned(), (ledger, Contents::new(name, shared)));
        }
        let Some((ledger, contents)) = readers.get_mut(name) else { return Ok(()) };
        let mut waiting = queue.peek(Place::default(), MOST);
        let excess = queue.len().saturating_sub(rooms.max_waiting);
        let old = waiting.partition_point(|waiting| waiting.place().sequence <= old);
        waiting.truncate(old.max(excess));
        let mut deliveries: Vec<Arc<Delivery>> = Vec::new();
        let lease = shared.lease.clone();
        lease.bound(contents.read(&waiting, |delivery| deliveries.push(delivery.clone()))).await??;
        for delivery in deliveries {
            let receipt = resend(&delivery, &rooms.default_room, shared).await?;
            ledger.record(receipt).await?;
        }
        Ok(())
    }
}

/// Appends the delivery to the log again, for the default room.
async fn resend(delivery: &Delivery, default_room: &str, shared: &Shared) -> anyhow::Result<Receipt> {
    let (room, id, place) = (&delivery.room, delivery.id.as_str(), delivery.place);
    tracing::warn!(room, id, "unknown room; moving the delivery to the default room");
    let reason = format!("no relay serves room {room}");
    let on_receipt = format!("{reason}; sent to {default_room}");
    let receipt = Receipt::unsent(room, Outcome::Moved, id, place, Timestamp::now(), on_receipt);
    let once = format!("stranded/{id}");
    let delivery = delivery.fitting(shared.payload_limit().saturating_sub(WRAPPING));
    let retry = Retry { once: String::new(), delivery, room: default_room.to_owned(), reason };
    let (bus, payload) = (&shared.bus, serde_json::to_vec(&retry)?);
    shared.lease.bound(bus.append(bus.names.ctl("retry"), &once, payload)).await??;
    Ok(receipt)
}
