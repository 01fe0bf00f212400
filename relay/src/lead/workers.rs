//! A leader's workers: one for each room, one for deliveries to unknown rooms, one that tells what waits, and
//! one that tells which rooms fail.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{self, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::deliver::queues::Queues;
use crate::deliver::{self, Served, Shared};
use crate::lead::rooms::Rooms;
use crate::lead::{failing, report, unserved};
use crate::status::metrics::ByRoom;

/// The tasks that post.
pub struct Workers {
    tasks: JoinSet<()>,
    names: HashMap<task::Id, String>,
    stop: CancellationToken,
}

impl Workers {
    /// `doubtful` is the last entry of the log when its leader was lost, if it was.
    pub fn start(rooms: &Arc<Rooms>, queues: &Arc<Queues>, doubtful: Option<u64>, shared: &Shared) -> Self {
        let (mut tasks, mut names, stop) = (JoinSet::new(), HashMap::new(), CancellationToken::new());
        for (name, room) in &rooms.open {
            let (room, name, queue) = (room.room.clone(), name.clone(), queues.room(name));
            let what = format!("the worker of room {name}");
            // A counter that begins at 0, so that its first count is an increase.
            shared.metrics.possible_duplicates.get_or_create(&ByRoom { room: name.clone() }).inc_by(0);
            let (zone, max_waiting) = (rooms.zone.clone(), rooms.max_waiting);
            let served = Served { room, name, queue, zone, max_waiting, doubtful };
            let task = tasks.spawn(deliver::run(served, shared.clone(), stop.clone()));
            names.insert(task.id(), what);
        }
        let task = tasks.spawn(unserved::run(rooms.clone(), queues.clone(), shared.clone(), stop.clone()));
        names.insert(task.id(), "the worker of unknown rooms".into());
        shared.status.change(|now| now.rooms.retain(|name, _| rooms.open.contains_key(name)));
        let task = tasks.spawn(report::run(queues.clone(), shared.clone(), stop.clone()));
        names.insert(task.id(), "the report of the rooms".into());
        let task = tasks.spawn(failing::run(rooms.clone(), queues.clone(), shared.clone(), stop.clone()));
        names.insert(task.id(), "the watch over the rooms".into());
        Workers { tasks, names, stop }
    }

    /// Waits until a worker ends by itself, which none may do while its relay leads.
    pub async fn ended(&mut self) -> anyhow::Error {
        let (id, why) = match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => (id, "ended".to_owned()),
            Some(Err(error)) => (error.id(), format!("failed: {error}")),
            None => return anyhow::anyhow!("no worker is left"),
        };
        let name = self.names.get(&id).map_or("a worker", String::as_str);
        anyhow::anyhow!("{name} {why}")
    }

    /// Lets every worker finish its present post within `grace`. Unfinished posts are aborted: their deliveries stay in
    /// the queue.
    pub async fn stop(&mut self, grace: Duration) {
        self.stop.cancel();
        let finished = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(grace, finished).await.is_err() {
            tracing::warn!(workers = self.tasks.len(), "some rooms did not finish in time");
            self.tasks.shutdown().await;
        }
    }
}
