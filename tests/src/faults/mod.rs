//! The fault run: producers, relays and clustered servers under random faults, and the counts of what came of it. It is no
//! test: it runs for minutes, and nobody knows beforehand what it finds.

mod chaos;
mod judge;
mod producers;

use std::path::PathBuf;
use std::time::{Duration, Instant};

pub use chaos::Kind;
pub use judge::Verdict;

use crate::{Answer, NatsCluster, NatsOptions, Relay, WebhookSink};
use chaos::Chaos;
use producers::Producers;

/// The time for everything to arrive after the last fault.
const SETTLE: Duration = Duration::from_secs(240);

/// The size of a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The time in which faults happen.
    pub time: Duration,
    /// The choice of faults; their times depend on the machine too.
    pub seed: u64,
    /// The number of clustered servers; every stream has as many replicas.
    pub servers: usize,
    /// The number of relays.
    pub relays: usize,
    /// The number of producers: by turns the command line tool, and a client that repeats a message until it is acknowledged.
    pub producers: usize,
    /// Faults that are left out.
    pub without: Vec<Kind>,
    /// A folder for the logs of the relays and servers.
    pub logs: Option<PathBuf>,
}

/// The rooms: two that take posts, and one that takes none until the faults are over.
struct Rooms {
    healthy: WebhookSink,
    flaky: WebhookSink,
    dead: WebhookSink,
}

impl Rooms {
    async fn start() -> Rooms {
        let sink = WebhookSink::start;
        let rooms = Rooms { healthy: sink().await, flaky: sink().await, dead: sink().await };
        rooms.dead.always(Answer::status(503));
        rooms
    }

    fn all(&self) -> [(&'static str, &WebhookSink); 3] {
        [("healthy", &self.healthy), ("flaky", &self.flaky), ("dead", &self.dead)]
    }

    fn configuration(&self, urls: &[String]) -> String {
        let rooms = self.all().map(|(name, sink)| {
            format!("[rooms.{name}.webhook]\nurl = \"{}\"\nallow_private = true\nbatch = 500\n", sink.url())
        });
        format!(
            "default_room = \"page\"\nreplicas = {}\n\
             routes = [{{ name = \"all\", tag = \"job.>\", rooms = [\"healthy\", \"flaky\", \"dead\"] }}]\n\
             {}\n[nats]\nurl = {urls:?}\nnkey_file = {:?}\n",
            urls.len(),
            rooms.concat(),
            crate::users::key("relay")
        )
    }
}

/// Runs and judges.
pub async fn run(options: &Options) -> Verdict {
    let cluster = NatsCluster::start(options.servers, &NatsOptions::default()).await;
    let (urls, rooms) = (cluster.urls(), Rooms::start().await);
    let configuration = rooms.configuration(&urls);
    let mut relays = Vec::new();
    for _ in 0..options.relays {
        relays.push(Relay::start("", &configuration).await);
    }
    let started = Instant::now();
    let producers = Producers::start(options.producers, options.seed, &urls);
    let mut chaos = Chaos::new(options, cluster, relays).await;
    chaos.run(started + options.time, &rooms.flaky).await;
    let ended = Instant::now();
    chaos.end().await;
    rooms.dead.always(Answer::Normal);
    let sent = producers.stop(&urls).await;
    let verdict = judge::settle(&rooms, &sent, &chaos, started..ended, SETTLE).await;
    if let Some(folder) = &options.logs {
        chaos.save_logs(folder);
    }
    verdict
}
