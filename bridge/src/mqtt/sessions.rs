//! The intakes of the configuration in force, a session each. A changed configuration begins and ends only those that have
//! changed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;

use super::intake::Config;
use super::session::Session;
use crate::chat::session::State;
use crate::means::{Means, Running};

/// The running intakes, by their names.
#[derive(Default)]
pub(crate) struct Intakes(BTreeMap<String, (Config, Running)>);

impl Intakes {
    /// Runs these intakes and no others. One that has changed ends first: its broker knows both by the same id.
    pub(crate) async fn change(
        &mut self,
        configs: &BTreeMap<String, Config>,
        means: &Means,
        grace: Duration,
    ) {
        let gone = self.0.extract_if(.., |name, (config, _)| configs.get(name) != Some(config));
        let gone: Vec<_> = gone.collect();
        let states = || means.mqtt.lock().unwrap_or_else(PoisonError::into_inner);
        gone.iter().for_each(|(name, _)| drop(states().remove(name)));
        join_all(gone.into_iter().map(|(_, (_, running))| running.end(grace))).await;
        self.begin(configs, means);
    }

    /// Runs those of these intakes that do not run.
    pub(crate) fn begin(&mut self, configs: &BTreeMap<String, Config>, means: &Means) {
        for (name, config) in configs {
            if self.0.contains_key(name) {
                continue;
            }
            let state = Arc::new(Mutex::new(State::StandingBy));
            means.mqtt.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), state.clone());
            let session = Session { name: name.clone(), config: config.clone(), means: means.clone(), state };
            let running = Running::default();
            running.tasks.spawn(session.run(running.stop.clone()));
            self.0.insert(name.clone(), (config.clone(), running));
        }
    }

    /// Hears nothing further, and gives the leases back.
    pub(crate) async fn end(self, grace: Duration) {
        join_all(self.0.into_values().map(|(_, running)| running.end(grace))).await;
    }
}
