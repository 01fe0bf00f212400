//! The faults: random KILL, STOP and CONT of servers and relays, streams purged, deleted and full, answers that are lost.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use async_nats::jetstream::context::ContextBuilder;
use async_nats::jetstream::{Context, stream};
use tellhal::Timestamp;
use tokio::time::sleep;

use super::Options;
use crate::http::Reply;
use crate::process::Process;
use crate::{Answer, NatsCluster, Relay, WebhookSink};

/// The pause between two faults, in milliseconds.
const BETWEEN: std::ops::Range<u64> = 500..4000;
/// The time for which a process is stopped, in milliseconds.
const STOPPED: std::ops::Range<u64> = 1000..20_000;
/// The time until a killed process is started again, in milliseconds.
const DOWN: std::ops::Range<u64> = 0..3000;
/// The time for which a stream is full, in milliseconds.
const FULL: std::ops::Range<u64> = 5000..20_000;
/// A room that had a post within this time will soon have another.
const RECENT: Duration = Duration::from_secs(2);
/// The bytes that are left in a stream that is made full.
const LEFT: i64 = 16 * 1024;

/// A kind of fault. The order is that in which they explain a repeated post.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A relay was killed.
    RelayKilled,
    /// A relay was stopped, and later continued.
    RelayStopped,
    /// A room took a post and its answer was lost.
    AnswerLost,
    /// All receipts were purged.
    ReceiptsPurged,
    /// The stream of receipts was deleted.
    ReceiptsDeleted,
    /// The stream of dead letters was deleted.
    LettersDeleted,
    /// The log was purged, with messages that were not posted yet.
    LogPurged,
    /// The log was deleted, in the same way.
    LogDeleted,
    /// A server was killed.
    ServerKilled,
    /// A server was stopped, and later continued.
    ServerStopped,
    /// The log had space for only a few messages.
    LogFull,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 11] = [
        Kind::RelayKilled,
        Kind::RelayStopped,
        Kind::AnswerLost,
        Kind::ReceiptsPurged,
        Kind::ReceiptsDeleted,
        Kind::LettersDeleted,
        Kind::LogPurged,
        Kind::LogDeleted,
        Kind::ServerKilled,
        Kind::ServerStopped,
        Kind::LogFull,
    ];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::RelayKilled => "relay killed",
            Kind::RelayStopped => "relay stopped",
            Kind::AnswerLost => "answer lost",
            Kind::ReceiptsPurged => "receipts purged",
            Kind::ReceiptsDeleted => "receipts deleted",
            Kind::LettersDeleted => "letters deleted",
            Kind::LogPurged => "log purged",
            Kind::LogDeleted => "log deleted",
            Kind::ServerKilled => "server killed",
            Kind::ServerStopped => "server stopped",
            Kind::LogFull => "log full",
        })
    }
}

/// A fault, from its beginning until things are as before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    /// The number of the process: the servers come first, then the relays.
    of: Option<usize>,
    at: Timestamp,
    pub(super) from: Instant,
    pub(super) until: Instant,
}

impl Fault {
    fn new(kind: Kind, of: Option<usize>, from: Instant, until: Instant) -> Fault {
        Fault { kind, of, at: Timestamp::now(), from, until }
    }
}

/// The state of a process under faults.
#[derive(Clone, Copy, Debug)]
enum State {
    Up,
    Down(Instant),
    Stopped(Instant),
}

pub(super) struct Chaos {
    pub(super) cluster: NatsCluster,
    relays: Vec<Relay>,
    /// The servers', then the relays'.
    states: Vec<State>,
    rng: fastrand::Rng,
    pub(super) js: Context,
    pub(super) faults: Vec<Fault>,
    without: Vec<Kind>,
    /// The end of the time in which the log is full, and its limit before.
    full: Option<(Instant, i64)>,
}

impl Chaos {
    pub(super) async fn new(options: &Options, cluster: NatsCluster, relays: Vec<Relay>) -> Chaos {
        let connect = crate::nats::login("admin").retry_on_initial_connect();
        let client = connect.connect(cluster.urls()).await.expect("the first attempt is not waited for");
        let js = ContextBuilder::new().timeout(Duration::from_secs(2)).build(client);
        Chaos {
            states: vec![State::Up; cluster.servers.len() + relays.len()],
            cluster,
            relays,
            rng: fastrand::Rng::with_seed(options.seed),
            js,
            faults: Vec::new(),
            without: options.without.clone(),
            full: None,
        }
    }

    /// Makes faults until `end`.
    pub(super) async fn run(&mut self, end: Instant, flaky: &WebhookSink) {
        while Instant::now() < end {
            sleep(Duration::from_millis(self.rng.u64(BETWEEN))).await;
            self.mend(Instant::now()).await;
            match self.rng.u8(..20) {
                0..6 => self.server().await,
                6..14 => self.relay().await,
                14..17 => self.stream().await,
                _ => self.room(flaky),
            }
        }
    }

    /// Ends all faults.
    pub(super) async fn end(&mut self) {
        self.mend(Instant::now() + Duration::from_secs(3600)).await;
        let until = Instant::now();
        self.faults.iter_mut().for_each(|fault| fault.until = fault.until.min(until));
    }

    /// The faults of one kind.
    pub(super) fn of(&self, kind: Kind) -> impl Iterator<Item = &Fault> {
        self.faults.iter().filter(move |fault| fault.kind == kind)
    }

    /// True if no post could be made at this time: no majority of servers or no relay ran, or the log was full.
    pub(super) fn is_hopeless(&self, at: Instant) -> bool {
        let servers = self.cluster.servers.len();
        let now = self.faults.iter().filter(|fault| fault.from <= at && at < fault.until);
        let (mut down, mut is_full) = (vec![false; self.states.len()], false);
        for fault in now {
            is_full |= fault.kind == Kind::LogFull;
            if let Some(number) = fault.of {
                down[number] = true;
            }
        }
        let count = |down: &[bool]| down.iter().filter(|down| **down).count();
        is_full || 2 * count(&down[..servers]) >= servers || count(&down[servers..]) == down.len() - servers
    }

    /// Copies the logs of all processes into a folder.
    pub(super) fn save_logs(&self, folder: &Path) {
        std::fs::create_dir_all(folder).expect("a folder for the logs");
        for (number, relay) in self.relays.iter().enumerate() {
            std::fs::write(folder.join(format!("relay{number}.log")), relay.log()).expect("a log is written");
        }
        for (number, server) in self.cluster.servers.iter().enumerate() {
            let to = folder.join(format!("server{number}.log"));
            std::fs::copy(server.dir().join("log"), to).expect("a log is copied");
        }
        let mut faults = String::new();
        for Fault { kind, of, at, from, until } in &self.faults {
            let (of, time) = (of.map_or(String::new(), |of| of.to_string()), until.duration_since(*from));
            faults += &format!("{at} {kind} {of} for {:.1} s\n", time.as_secs_f64());
        }
        std::fs::write(folder.join("faults.log"), faults).expect("a log is written");
    }

    /// Starts and continues the processes whose time has come.
    async fn mend(&mut self, now: Instant) {
        for number in 0..self.states.len() {
            match self.states[number] {
                State::Stopped(until) if until <= now => self.process(number).resume(),
                State::Down(until) if until <= now => match self.cluster.servers.get_mut(number) {
                    Some(server) => server.restart().await,
                    None => self.relays[number - self.cluster.servers.len()].respawn(),
                },
                _ => continue,
            }
            self.states[number] = State::Up;
        }
        if let Some((_, limit)) = self.full.filter(|(until, _)| *until <= now)
            && self.limit_log(|_| limit).await.is_some()
        {
            self.full = None;
        }
    }

    async fn server(&mut self) {
        let servers = self.cluster.servers.len();
        let down = self.states[..servers].iter().filter(|state| !matches!(state, State::Up)).count();
        // A cluster without a majority is a fault too, but a rarer one.
        if down == 0 || self.rng.u8(..6) == 0 {
            let number = self.rng.usize(..servers);
            self.process_fault(number, Kind::ServerKilled, Kind::ServerStopped).await;
        }
    }

    async fn relay(&mut self) {
        let number = self.cluster.servers.len() + self.rng.usize(..self.relays.len());
        self.process_fault(number, Kind::RelayKilled, Kind::RelayStopped).await;
    }

    async fn process_fault(&mut self, number: usize, killed: Kind, stopped: Kind) {
        let kind = if self.rng.bool() { killed } else { stopped };
        if !matches!(self.states[number], State::Up) || self.without.contains(&kind) {
            return;
        }
        let from = Instant::now();
        if kind == killed {
            self.process(number).kill();
            let until = from + Duration::from_millis(self.rng.u64(DOWN));
            self.states[number] = State::Down(until);
            self.faults.push(Fault::new(kind, Some(number), from, until));
        } else if self.process(number).is_running() {
            self.process(number).pause().await;
            let until = from + Duration::from_millis(self.rng.u64(STOPPED));
            self.states[number] = State::Stopped(until);
            self.faults.push(Fault::new(kind, Some(number), from, until));
        }
    }

    fn process(&mut self, number: usize) -> &mut Process {
        let servers = self.cluster.servers.len();
        match number.checked_sub(servers) {
            None => self.cluster.servers[number].process(),
            Some(relay) => self.relays[relay].process(),
        }
    }

    async fn stream(&mut self) {
        const KINDS: [Kind; 9] = [
            Kind::ReceiptsPurged,
            Kind::ReceiptsPurged,
            Kind::ReceiptsDeleted,
            Kind::ReceiptsDeleted,
            Kind::LettersDeleted,
            Kind::LogFull,
            Kind::LogFull,
            Kind::LogPurged,
            Kind::LogDeleted,
        ];
        let kind = KINDS[self.rng.usize(..KINDS.len())];
        if self.without.contains(&kind) {
            return;
        }
        let from = Instant::now();
        let mut until = from;
        let is_done = match kind {
            Kind::ReceiptsPurged => self.purge("HAL_SENT").await,
            Kind::LogPurged => self.purge("HAL_OPS").await,
            Kind::ReceiptsDeleted => self.js.delete_stream("HAL_SENT").await.is_ok(),
            Kind::LettersDeleted => self.js.delete_stream("HAL_DEAD").await.is_ok(),
            Kind::LogDeleted => self.js.delete_stream("HAL_OPS").await.is_ok(),
            _ if self.full.is_some() => false,
            _ => {
                until = from + Duration::from_millis(self.rng.u64(FULL));
                let before = self.limit_log(|state| i64::try_from(state.bytes).unwrap_or(0) + LEFT).await;
                self.full = before.map(|limit| (until, limit));
                before.is_some()
            }
        };
        if is_done {
            self.faults.push(Fault::new(kind, None, from, until.max(Instant::now())));
        }
    }

    async fn purge(&self, name: &str) -> bool {
        match self.js.get_stream(name).await {
            Ok(stream) => stream.purge().await.is_ok(),
            Err(_) => false,
        }
    }

    /// Gives the log another limit; returns the one before. A log that is gone has no limit to restore.
    async fn limit_log(&self, limit: impl Fn(&stream::State) -> i64) -> Option<i64> {
        let info = self.js.get_stream("HAL_OPS").await.ok()?.cached_info().clone();
        let max_bytes = limit(&info.state);
        let config = stream::Config { max_bytes, ..info.config.clone() };
        self.js.update_stream(&config).await.ok().map(|_| info.config.max_bytes)
    }

    fn room(&mut self, flaky: &WebhookSink) {
        let now = Instant::now();
        // An answer for a post that comes much later would be no explanation of anything.
        if flaky.deliveries().last().is_none_or(|post| post.at.elapsed() > RECENT) {
            return;
        }
        if self.rng.bool() || self.without.contains(&Kind::AnswerLost) {
            flaky.next([Answer::Refuse(Reply::text(503, "busy"))]);
        } else {
            flaky.next([Answer::TakeThenReset]);
            self.faults.push(Fault::new(Kind::AnswerLost, None, now, now + RECENT));
        }
    }
}
