//! Tells a room that fails, or in which messages wait too long, as an ops message, once; and that it takes posts again.
//!
//! The log says what was told: a new leader reads the last message about each room.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::TryStreamExt as _;
use tellhal::message::{Message, Severity, Status};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::bus::message::last;
use crate::deliver::Shared;
use crate::deliver::queues::Queues;
use crate::lead::rooms::Rooms;
use crate::status::RoomState;
use crate::status::metrics::ByRoom;
use crate::status::notice::{SOURCE, about_room, room_tag};
use crate::status::trouble::Ailment;

/// Interval at which the rooms are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Watches the rooms until `stop` or until the lease is lost.
pub(super) async fn run(rooms: Arc<Rooms>, queues: Arc<Queues>, shared: Shared, stop: CancellationToken) {
    let lost = shared.lease.lost.clone();
    let work = async {
        let mut watch = Watch { told: BTreeSet::new(), pending: BTreeMap::new(), rooms, queues, shared };
        while let Err(error) = watch.read_told().await {
            tracing::warn!(error = format!("{error:#}"), "what was told of the rooms cannot be read yet");
            sleep(LOOK).await;
        }
        loop {
            watch.look().await;
            sleep(LOOK).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = lost.cancelled() => {}
        () = work => {}
    }
}

struct Watch {
    /// The rooms whose last message says that they fail.
    told: BTreeSet<String>,
    /// Messages that are not in the log yet, by room.
    pending: BTreeMap<String, Message>,
    rooms: Arc<Rooms>,
    queues: Arc<Queues>,
    shared: Shared,
}

impl Watch {
    async fn read_told(&mut self) -> anyhow::Result<()> {
        let Shared { bus, streams, .. } = &self.shared;
        let ops = bus.names.all_ops();
        let all = format!("{}{SOURCE}.{}", ops.trim_end_matches('>'), room_tag("*"));
        let subjects = streams.ops.info_with_subjects(all).await.context("the log")?;
        let subjects: Vec<(String, usize)> = subjects.try_collect().await.context("the log")?;
        for (subject, _) in subjects {
            let message = last::<Message>(&streams.ops, subject).await?.and_then(|(_, message)| message);
            if let Some(message) = message.filter(|message| message.status == Some(Status::Failed)) {
                self.told.extend(message.key);
            }
        }
        Ok(())
    }

    async fn look(&mut self) {
        let queued = self.queues.all().into_iter().map(|(name, _)| name);
        let names: BTreeSet<String> =
            queued.chain(self.rooms.open.keys().cloned()).chain(self.told.iter().cloned()).collect();
        for name in names {
            if let Some(message) = self.news(&name) {
                self.pending.entry(name).or_insert(message);
            }
        }
        for (name, message) in std::mem::take(&mut self.pending) {
            if !matches!(self.shared.lease.bound(self.shared.notices.send(&message)).await, Ok(true)) {
                self.pending.insert(name, message);
            } else if message.status == Some(Status::Failed) {
                self.told.insert(name);
            } else {
                self.told.remove(&name);
            }
        }
    }

    /// The message about a room whose state is not what was told of it.
    fn news(&self, name: &str) -> Option<Message> {
        let queue = self.queues.room(name);
        let (now, mut room) = (Instant::now(), RoomState::default());
        let (mut ailment, is_told) = (None, self.told.contains(name));
        self.shared.status.room(name, |state| {
            state.trouble.waits(now, queue.oldest());
            ailment = state.trouble.ailment(now, self.rooms.failing_after, || queue.worst());
            state.ails(ailment, is_told);
            room = state.clone();
        });
        let fails = ailment.is_some() || is_told;
        let label = ByRoom { room: name.to_owned() };
        self.shared.metrics.leaders.failing.get_or_create(&label).set(fails.into());
        match (ailment, is_told) {
            (Some(ailment), false) => {
                let critical = queue.worst() == Severity::Critical;
                let severity = if critical { Severity::Critical } else { Severity::Error };
                let text = self.failing(name, ailment, queue.len(), room.last_error.as_deref());
                Some(about_room(name, severity, Status::Failed, text))
            }
            (None, true) => {
                let text = match self.rooms.open.contains_key(name) {
                    true if room.trouble.is_over() => format!("room {name} takes messages again"),
                    false if queue.is_empty() => {
                        format!("room {name} is no longer served, and nothing waits for it")
                    }
                    _ => return None,
                };
                Some(about_room(name, Severity::Notice, Status::Resolved, text))
            }
            _ => None,
        }
    }

    /// Such as `room pager has failed for 2m, 3 messages wait for it: 127.0.0.1: answered 502 Bad Gateway`.
    fn failing(&self, name: &str, ailment: Ailment, waiting: usize, error: Option<&str>) -> String {
        let whole = |time: Duration| humantime::format_duration(Duration::from_secs(time.as_secs()));
        let what = match ailment {
            _ if !self.rooms.open.contains_key(name) => format!("room {name} is served by no relay"),
            Ailment::Fails(time) => format!("room {name} has taken no message for {}", whole(time)),
            Ailment::Waits(time) => format!("a message for room {name} has waited for {}", whole(time)),
        };
        let waiting = match waiting {
            0 => String::new(),
            1 => ", 1 message waits for it".to_owned(),
            more => format!(", {more} messages wait for it"),
        };
        format!("{what}{waiting}{}", error.map(|error| format!(": {error}")).unwrap_or_default())
    }
}
