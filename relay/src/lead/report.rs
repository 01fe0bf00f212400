//! Tells what waits for each room: this process's status and metrics, and the standby relays by a key in `HAL_STATE`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream;
use tellhal::{Names, Timestamp};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::deliver::Shared;
use crate::deliver::queues::Queues;
use crate::delivery::Place;
use crate::status::RoomState;
use crate::status::metrics::ByRoom;

/// The key in `HAL_STATE` with the leader's [`RoomState`] of each room.
const ROOMS_KEY: &str = "rooms";
const EVERY: Duration = Duration::from_secs(2);

/// The states of the rooms, as the leading relay told them last; empty if none has.
pub async fn read(js: &jetstream::Context, names: &Names) -> anyhow::Result<BTreeMap<String, RoomState>> {
    let state = js.get_key_value(names.state_bucket()).await.context("the leading relay's report")?;
    let told = state.get(ROOMS_KEY).await.context("the leading relay's report")?;
    Ok(told.map(|told| serde_json::from_slice(&told)).transpose()?.unwrap_or_default())
}

pub(super) async fn run(queues: Arc<Queues>, shared: Shared, stop: CancellationToken) {
    let mut every = interval(EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told: Option<BTreeMap<String, RoomState>> = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = shared.lease.lost.cancelled() => return,
            _ = every.tick() => {}
        }
        count(&queues, &shared);
        let rooms = shared.status.get().rooms;
        if told.as_ref() == Some(&rooms) {
            continue;
        }
        let payload = serde_json::to_vec(&rooms).unwrap_or_default();
        match shared.lease.bound(shared.streams.state.put(ROOMS_KEY, payload.into())).await {
            Ok(Ok(_)) => told = Some(rooms),
            Ok(Err(error)) => tracing::debug!(%error, "the rooms' states could not be told"),
            Err(_) => return,
        }
    }
}

fn count(queues: &Queues, shared: &Shared) {
    for (room, queue) in queues.all() {
        let waiting = queue.len();
        let oldest = queue.peek(Place::default(), 1).first().map(|waiting| waiting.at());
        shared.status.room(&room, |state| {
            state.pending = waiting as u64;
            state.oldest = oldest;
        });
        let label = ByRoom { room };
        let age = oldest.map_or(0.0, |oldest| Timestamp::now().since(oldest).as_secs_f64());
        let metrics = &shared.metrics.leaders;
        metrics.oldest.get_or_create(&label).set(age);
        metrics.pending.get_or_create(&label).set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }
}
