//! The chats of the configuration in force, a session each. A changed configuration begins and ends only the sessions of chats
//! that have changed; rights change in all of them at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use service::process::drain;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::door::Doors;
use super::registry::Config;
use super::session::{Session, State};
use crate::command::Commands;

/// The sessions by the names of their chats.
pub(crate) struct Sessions {
    open: BTreeMap<String, Open>,
    doors: Doors,
}

/// The states of all chats, for health.
pub(crate) type States = Arc<Mutex<BTreeMap<String, Arc<Mutex<State>>>>>;

struct Open {
    config: Config,
    rooms: Option<Vec<String>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Sessions {
    pub(crate) fn new(doors: Doors) -> Sessions {
        Sessions { open: BTreeMap::new(), doors }
    }

    /// Runs sessions for `chats`. `dev_rooms` are the only rooms that are heard, if there are such.
    pub(crate) async fn change(
        &mut self,
        chats: &BTreeMap<String, Config>,
        dev_rooms: Option<&[String]>,
        commands: &Commands,
        states: &States,
    ) {
        let rooms_of = |name: &str| dev_rooms.map(|rooms| rooms_of(name, rooms));
        let is_same = |name: &String, open: &Open| {
            chats.get(name) == Some(&open.config) && open.rooms == rooms_of(name)
        };
        let gone: Vec<String> = self
            .open
            .iter()
            .filter(|(name, open)| !is_same(name, open))
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            if let Some(open) = self.open.remove(&name) {
                open.stop.cancel();
                drain(&open.tasks, super::GRACE).await;
                lock(states).remove(&name);
            }
        }
        for (name, config) in
            chats.iter().filter(|(name, _)| !self.open.contains_key(*name)).collect::<Vec<_>>()
        {
            let state = Arc::new(Mutex::new(State::StandingBy));
            lock(states).insert(name.clone(), state.clone());
            let rooms = rooms_of(name);
            let session = Session {
                name: name.clone(),
                config: config.clone(),
                rooms: rooms.clone(),
                commands: commands.clone(),
                doors: self.doors.clone(),
                state,
            };
            let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
            tasks.spawn(session.run(stop.clone()));
            self.open.insert(name.clone(), Open { config: config.clone(), rooms, stop, tasks });
        }
    }

    /// Hears nothing further, and waits at most `grace` for the commands that run.
    pub(crate) async fn stop(self, grace: Duration) {
        self.open.values().for_each(|open| open.stop.cancel());
        for open in self.open.values() {
            drain(&open.tasks, grace).await;
        }
    }
}

/// The rooms of one chat among `main/#dev` and the like.
fn rooms_of(chat: &str, rooms: &[String]) -> Vec<String> {
    let own = rooms.iter().filter_map(|room| room.strip_prefix(chat)?.strip_prefix('/'));
    own.map(str::to_owned).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
