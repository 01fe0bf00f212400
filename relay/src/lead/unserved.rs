//! Watches the deliveries in the outbox: counts them by room, and finds those for rooms that this relay does not know.
//! Such a room may be in another relay's configuration, so its deliveries wait for a while; then they go back to the
//! log, to be delivered to the default room with a mark.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::stream::DirectGetErrorKind;
use futures_util::TryStreamExt as _;
use tellhal::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::deliver::Shared;
use crate::deliver::outbox;
use crate::delivery::{Delivery, Outcome, Receipt};
use crate::engine::entry::Retry;
use crate::lead::rooms::Rooms;
use crate::status::metrics::ByRoom;

/// Interval at which the outbox is checked.
const LOOK: Duration = Duration::from_secs(2);

pub(crate) async fn run(rooms: Arc<Rooms>, shared: Shared, stop: CancellationToken) {
    let every = LOOK.min(rooms.stranded_after / 2).max(Duration::from_millis(100));
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = shared.lease.lost.cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
        if let Err(error) = look(&rooms, &shared).await {
            tracing::warn!(error = format!("{error:#}"), "the outbox could not be checked");
        }
    }
}

async fn look(rooms: &Rooms, shared: &Shared) -> anyhow::Result<()> {
    let prefix = shared.bus.names.out("");
    let subjects = shared.streams.out.info_with_subjects(shared.bus.names.out("*")).await?;
    let subjects: Vec<(String, usize)> = subjects.try_collect().await?;
    show_pending(rooms, shared, &prefix, &subjects);
    for (subject, _) in subjects {
        let is_served = subject
            .strip_prefix(&prefix)
            .is_none_or(|room| room.starts_with('_') || rooms.open.contains_key(room));
        if !is_served {
            move_on(&subject, rooms, shared).await.with_context(|| subject.clone())?;
        }
    }
    Ok(())
}

fn show_pending(rooms: &Rooms, shared: &Shared, prefix: &str, subjects: &[(String, usize)]) {
    for room in rooms.open.keys() {
        let waits = subjects.iter().find(|(subject, _)| subject.strip_prefix(prefix) == Some(room));
        let pending = waits.map_or(0, |(_, count)| *count);
        shared.status.room(room, |state| state.pending = pending as u64);
        let label = ByRoom { room: room.clone() };
        shared.metrics.pending.get_or_create(&label).set(i64::try_from(pending).unwrap_or(i64::MAX));
    }
}

/// Moves deliveries that have waited long enough, oldest first.
async fn move_on(subject: &str, rooms: &Rooms, shared: &Shared) -> anyhow::Result<()> {
    let out = &shared.streams.out;
    loop {
        let message = match out.direct_get_first_for_subject(subject).await {
            Ok(message) => message,
            Err(error) if error.kind() == DirectGetErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let waited = Timestamp::now().since(Timestamp::from_stream(message.time));
        if waited < rooms.stranded_after {
            return Ok(());
        }
        match serde_json::from_slice::<Delivery>(&message.payload) {
            Ok(delivery) => resend(delivery, message.sequence, rooms, shared).await?,
            Err(_) => {
                outbox::set_aside(&shared.bus, &shared.lease, message.sequence, &message.payload).await?
            }
        }
        shared.lease.bound(out.delete_message(message.sequence)).await??;
    }
}

async fn resend(delivery: Delivery, sequence: u64, rooms: &Rooms, shared: &Shared) -> anyhow::Result<()> {
    tracing::warn!(
        room = delivery.room,
        id = delivery.id.as_str(),
        "unknown room; moving the delivery to the default room"
    );
    let reason = format!("no relay serves room {}", delivery.room);
    let on_receipt = format!("{reason}; sent to {}", rooms.default_room);
    let (room, place, now) = (&delivery.room, delivery.place, Timestamp::now());
    let receipt = Receipt::unsent(room, Outcome::Moved, &delivery.id, place, now, on_receipt);
    let retry = Retry { once: String::new(), delivery, room: rooms.default_room.clone(), reason };
    let (bus, id) = (&shared.bus, format!("stranded-{sequence}"));
    shared.lease.bound(bus.append(bus.names.ctl("retry"), &id, serde_json::to_vec(&retry)?)).await??;
    outbox::record(bus, &shared.lease, &receipt).await?;
    shared.metrics.delivered(&receipt.room, receipt.outcome.as_str(), 1);
    Ok(())
}
