//! Producers of numbered messages, and what each knows of its messages.

use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_nats::jetstream;
use async_nats::jetstream::message::PublishMessage;
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::tellhal;

/// The longest pause between two messages of a producer, in milliseconds.
const PAUSE: u64 = 300;

/// The fate of a message as far as its sender knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Acknowledged, or exit status 0: the message must arrive.
    Kept,
    /// The sender was killed or gave up: the message may arrive.
    Unknown,
    /// Any other exit status: the message was not kept.
    Refused,
}

/// A message that was sent.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) text: String,
    pub(super) fate: Fate,
    /// The time at which its sender knew that.
    pub(super) at: Instant,
    /// Its sequence in the log, if the sender knows it.
    pub(super) sequence: Option<u64>,
}

/// Running producers.
pub(super) struct Producers {
    tasks: JoinSet<()>,
    stop: Arc<AtomicBool>,
    sent: Arc<Mutex<Vec<Sent>>>,
    homes: Vec<TempDir>,
}

impl Producers {
    pub(super) fn start(count: usize, seed: u64, urls: &[String]) -> Producers {
        let (mut tasks, mut homes) = (JoinSet::new(), Vec::new());
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        for number in 0..count {
            let rng = fastrand::Rng::with_seed(seed ^ (number as u64 + 1));
            let producer =
                Producer { name: format!("p{number}"), rng, stop: stop.clone(), sent: sent.clone() };
            if number % 2 == 0 {
                let home = TempDir::new().expect("a folder for a spool");
                tasks.spawn(producer.by_command(urls.join(","), home.path().to_owned()));
                homes.push(home);
            } else {
                tasks.spawn(producer.by_client(urls.to_vec()));
            }
        }
        Producers { tasks, stop, sent, homes }
    }

    /// Ends the producers, sends what is in their spools, and returns all messages.
    pub(super) async fn stop(mut self, urls: &[String]) -> Vec<Sent> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("a producer does not panic");
        }
        for home in &self.homes {
            for _ in 0..10 {
                let mut flush = command(&urls.join(","), home.path());
                let status = flush.args(["flush", "--timeout", "10s"]).status().await;
                let waiting = std::fs::read_dir(home.path().join("spool/new")).map_or(0, Iterator::count);
                if status.is_ok_and(|status| status.success()) && waiting == 0 {
                    break;
                }
                sleep(Duration::from_secs(1)).await;
            }
        }
        self.sent.lock().expect("no panic here").clone()
    }
}

struct Producer {
    name: String,
    rng: fastrand::Rng,
    stop: Arc<AtomicBool>,
    sent: Arc<Mutex<Vec<Sent>>>,
}

impl Producer {
    /// Runs `tellhal` for each message; some runs are killed on their way.
    async fn by_command(mut self, url: String, home: std::path::PathBuf) {
        let mut number = 0;
        while let Some(text) = self.next(&mut number).await {
            let mut command = command(&url, &home);
            command.env("TELLHAL_SOURCE", &self.name).args(["--timeout", "1s", "job.run", &text]);
            let mut child = command.spawn().expect("tellhal starts");
            if self.rng.u8(..20) == 0 {
                sleep(Duration::from_micros(self.rng.u64(..20_000))).await;
                let _ = child.start_kill();
            }
            let fate = match child.wait().await.expect("our own child can be waited for").code() {
                Some(0) => Fate::Kept,
                Some(_) => Fate::Refused,
                None => Fate::Unknown,
            };
            self.note(text, fate, None);
        }
    }

    /// Publishes each message until the log has acknowledged it.
    async fn by_client(mut self, urls: Vec<String>) {
        let connect = async_nats::ConnectOptions::new().retry_on_initial_connect();
        let client = connect.connect(urls).await.expect("the first attempt is not waited for");
        let js = jetstream::new(client);
        let mut number = 0;
        while let Some(text) = self.next(&mut number).await {
            let id = format!("{text}-{:016x}", self.rng.u64(..));
            let body = json!({"v": 1, "id": id, "text": text}).to_string();
            let subject = format!("hal.ops.{}.job.client", self.name);
            let mut sequence = None;
            // A stopped producer does not try for ever.
            for _ in 0..60 {
                let publish = PublishMessage::build().payload(body.clone().into()).message_id(&id);
                let attempt = async { js.send_publish(subject.clone(), publish).await?.await };
                if let Ok(Ok(ack)) = timeout(Duration::from_secs(3), attempt).await {
                    sequence = Some(ack.sequence);
                    break;
                }
                sleep(Duration::from_millis(500)).await;
            }
            let fate = if sequence.is_some() { Fate::Kept } else { Fate::Unknown };
            self.note(text, fate, sequence);
        }
    }

    /// The next message's text after a pause, which is sometimes none; `None` when the run is over.
    async fn next(&mut self, number: &mut u32) -> Option<String> {
        if self.rng.u8(..4) > 0 {
            sleep(Duration::from_millis(self.rng.u64(..PAUSE))).await;
        }
        *number += 1;
        (!self.stop.load(Ordering::Relaxed)).then(|| format!("{}-{number}", self.name))
    }

    fn note(&self, text: String, fate: Fate, sequence: Option<u64>) {
        let sent = Sent { text, fate, at: Instant::now(), sequence };
        self.sent.lock().expect("no panic here").push(sent);
    }
}

fn command(url: &str, home: &Path) -> tokio::process::Command {
    let mut command = tokio::process::Command::from(tellhal(url, home));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}
