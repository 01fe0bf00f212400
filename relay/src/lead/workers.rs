//! A leader's workers: one for each room, one for deliveries to unknown rooms, and one that tells what waits.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::deliver::queues::Queues;
use crate::deliver::{self, Served, Shared};
use crate::lead::rooms::Rooms;
use crate::lead::{report, unserved};

/// The tasks that post.
pub struct Workers {
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Workers {
    pub fn start(rooms: &Arc<Rooms>, queues: &Arc<Queues>, shared: &Shared) -> Self {
        let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
        for (name, room) in &rooms.open {
            let (room, name, queue) = (room.room.clone(), name.clone(), queues.room(name));
            let served = Served { room, name, queue, max_waiting: rooms.max_waiting };
            tasks.spawn(deliver::run(served, shared.clone(), stop.clone()));
        }
        tasks.spawn(unserved::run(rooms.clone(), queues.clone(), shared.clone(), stop.clone()));
        shared.status.change(|now| now.rooms.retain(|name, _| rooms.open.contains_key(name)));
        tasks.spawn(report::run(queues.clone(), shared.clone(), stop.clone()));
        Workers { tasks, stop }
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
