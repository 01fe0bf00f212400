//! The oracle: a thousand messages while tellhal, the relays and nats-server are killed -9 or paused for 1–20 s at random.
//! Sent and ok ⊆ received ∪ dead letters; never sent ∩ received = ∅; every repeat has a named cause.
//!
//! `CRASH_SEED` repeats a run's choices, `CRASH_MESSAGES` makes it longer.

#![expect(clippy::unwrap_used, reason = "in a test a failed step is a failed test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::Value;
use tests::process::Process;
use tests::{NatsServer, Relay, WebhookSink, tellhal, wait_until};
use tokio::time::Instant;

const SENDERS: u32 = 4;
/// Milliseconds that a process is paused.
const PAUSE: std::ops::Range<u64> = 1000..20_000;
const LONG: Duration = Duration::from_secs(90);

/// The fate of a message as far as its sender knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Exit status 0: the message must arrive.
    Kept,
    /// tellhal was killed: the message may arrive.
    Unknown,
    /// Any other exit status: the message was not kept.
    Refused,
}

#[derive(Debug, Default)]
struct Faults {
    tellhal: u32,
    relay: u32,
    nats: u32,
    pauses: u32,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_messages_survive_kills_and_pauses_at_random() {
    let seed = std::env::var("CRASH_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    let total: u32 = std::env::var("CRASH_MESSAGES").map_or(1000, |total| total.parse().unwrap());
    println!("CRASH_SEED={seed} CRASH_MESSAGES={total}");
    let (a, b) = (WebhookSink::start().await, WebhookSink::start().await);
    let configuration = configuration(&a, &b);
    let mut nats = NatsServer::start().await;
    let mut relays =
        [Relay::start(&nats.url(), &configuration).await, Relay::start(&nats.url(), &configuration).await];
    let home = tempfile::tempdir().unwrap();

    let next = Arc::new(AtomicU32::new(0));
    let senders: Vec<_> = (0..SENDERS)
        .map(|i| {
            let rng = fastrand::Rng::with_seed(seed + u64::from(i) + 1);
            tokio::spawn(send(rng, next.clone(), total, nats.url(), home.path().to_owned()))
        })
        .collect();
    let mut faults = chaos(seed, &mut nats, &mut relays, &senders).await;
    let mut fates: BTreeMap<u32, Fate> = BTreeMap::new();
    for sender in senders {
        fates.extend(sender.await.unwrap());
    }
    faults.tellhal = fates.values().filter(|fate| **fate == Fate::Unknown).count() as u32;
    flush(&nats.url(), home.path()).await;
    let rooms = [("a", &a), ("b", &b)];
    settle(&nats, &rooms, &fates).await;
    judge(&nats, &rooms, &fates, &faults).await;
}

fn configuration(a: &WebhookSink, b: &WebhookSink) -> String {
    let room = |name, sink: &WebhookSink| {
        format!("[rooms.{name}.webhook]\nurl = \"{}\"\nallow_private = true\n", sink.url())
    };
    let routes = "routes = [{ name = \"all\", tag = \"job.>\", rooms = [\"a\", \"b\"] }]";
    format!("default_room = \"page\"\n{routes}\n{}{}", room("a", a), room("b", b))
}

/// Sends numbers until there are no more; every tenth `tellhal` or so is killed on its way.
async fn send(
    mut rng: fastrand::Rng,
    next: Arc<AtomicU32>,
    total: u32,
    url: String,
    home: std::path::PathBuf,
) -> Vec<(u32, Fate)> {
    let mut fates = Vec::new();
    loop {
        let n = next.fetch_add(1, Ordering::Relaxed);
        if n >= total {
            return fates;
        }
        // Spread over some twenty seconds, so that there is time for many kills.
        tokio::time::sleep(Duration::from_micros(rng.u64(..160_000))).await;
        let mut command = tokio::process::Command::from(tellhal(&url, &home));
        command
            .args(["--timeout", "500ms", "job.run", &format!("{n}")])
            .stderr(Stdio::null())
            .stdin(Stdio::null());
        let mut child = command.spawn().unwrap();
        if rng.u8(..10) == 0 {
            tokio::time::sleep(Duration::from_micros(rng.u64(..20_000))).await;
            let _ = child.start_kill();
        }
        let fate = match child.wait().await.unwrap().code() {
            Some(0) => Fate::Kept,
            Some(_) => Fate::Refused,
            None => Fate::Unknown,
        };
        fates.push((n, fate));
    }
}

/// Kills or pauses the server or a relay about every second until the senders have finished.
async fn chaos<T>(
    seed: u64,
    nats: &mut NatsServer,
    relays: &mut [Relay; 2],
    senders: &[tokio::task::JoinHandle<T>],
) -> Faults {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut faults = Faults::default();
    // The end of each one's pause: the relays', then the server's.
    let mut paused: [Option<Instant>; 3] = [None; 3];
    while !senders.iter().all(|sender| sender.is_finished()) {
        tokio::time::sleep(Duration::from_millis(rng.u64(300..1500))).await;
        resume(nats, relays, &mut paused, Instant::now());
        let one = if rng.u8(..3) == 0 { 2 } else { rng.usize(..2) };
        if rng.u8(..4) == 0 {
            faults.pauses += 1;
            process(nats, relays, one).pause().await;
            paused[one] = Some(Instant::now() + Duration::from_millis(rng.u64(PAUSE)));
            continue;
        }
        if one < 2 && paused[2].is_some() {
            // A relay does not get ready beside a paused server.
            continue;
        }
        paused[one] = None;
        process(nats, relays, one).kill();
        tokio::time::sleep(Duration::from_millis(rng.u64(..1000))).await;
        if one == 2 {
            faults.nats += 1;
            nats.restart().await;
        } else {
            faults.relay += 1;
            relays[one].restart().await;
        }
    }
    resume(nats, relays, &mut paused, Instant::now() + Duration::from_millis(PAUSE.end));
    faults
}

/// Resumes those whose pause has ended at `now`.
fn resume(nats: &mut NatsServer, relays: &mut [Relay; 2], paused: &mut [Option<Instant>; 3], now: Instant) {
    for (one, until) in paused.iter_mut().enumerate() {
        if until.take_if(|until| *until <= now).is_some() {
            process(nats, relays, one).resume();
        }
    }
}

/// The process with this number: a relay's, or the server's.
fn process<'a>(nats: &'a mut NatsServer, relays: &'a mut [Relay; 2], one: usize) -> &'a mut Process {
    match relays.get_mut(one) {
        Some(relay) => relay.process(),
        None => nats.process(),
    }
}

/// Sends the messages that are still in the spool.
async fn flush(url: &str, home: &Path) {
    let empty = async || {
        let output = tellhal(url, home).args(["flush", "--timeout", "10s"]).output().unwrap();
        let waiting = std::fs::read_dir(home.join("spool/new")).map_or(0, Iterator::count);
        assert!(output.status.code().is_some(), "{output:?}");
        waiting == 0
    };
    wait_until("the spool is empty", LONG, empty).await;
}

/// Waits until all kept messages are in the rooms, and the last posts have their receipts.
async fn settle(nats: &NatsServer, rooms: &[(&str, &WebhookSink)], fates: &BTreeMap<u32, Fate>) {
    let through = async || {
        for (room, sink) in rooms {
            let all_posted =
                fates.iter().all(|(n, fate)| *fate != Fate::Kept || numbers(sink).contains_key(n));
            let is_through = all_posted || Handled::read(nats, room, sink).await.lost(fates).is_empty();
            if !is_through || !has_receipt(nats, room, sink).await {
                return false;
            }
        }
        true
    };
    // A timeout is ignored here: `judge` reports lost messages.
    let _ = tokio::time::timeout(LONG, async {
        while !through().await {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    })
    .await;
}

/// True if the room's last receipt is about its last post.
async fn has_receipt(nats: &NatsServer, room: &str, sink: &WebhookSink) -> bool {
    let posts = sink.deliveries();
    let Some(last) = posts.last().and_then(|post| post.message_ids().pop()) else { return true };
    let Ok(sent) = nats.jetstream().await.get_stream("HAL_SENT").await else { return false };
    let receipt = sent.direct_get_last_for_subject(format!("hal.sent.{room}")).await;
    receipt.is_ok_and(|receipt| String::from_utf8_lossy(&receipt.payload).contains(&last))
}

/// The number of posts of each message.
fn numbers(sink: &WebhookSink) -> BTreeMap<u32, u32> {
    let mut numbers = BTreeMap::new();
    for text in sink.deliveries().iter().flat_map(|post| post.texts()) {
        if let Ok(n) = text.parse() {
            *numbers.entry(n).or_default() += 1;
        }
    }
    numbers
}

async fn judge(
    nats: &NatsServer,
    rooms: &[(&str, &WebhookSink)],
    fates: &BTreeMap<u32, Fate>,
    faults: &Faults,
) {
    let count = |fate| fates.values().filter(|other| **other == fate).count();
    println!(
        "{faults:?}; sent: {} kept, {} unknown, {} refused",
        count(Fate::Kept),
        count(Fate::Unknown),
        count(Fate::Refused)
    );
    println!("in the log: {} messages", logged(nats).await.len());
    for (room, sink) in rooms {
        let handled = Handled::read(nats, room, sink).await;
        let Handled { posted, counted, dead } = &handled;
        let repeated = posted.values().filter(|times| **times > 1).count();
        let worst = posted.values().max().copied().unwrap_or(0);
        println!(
            "room {room}: {} posts, {} messages, {} counted, {} dead, {repeated} repeated (at most {worst} times)",
            sink.deliveries().len(),
            posted.len(),
            counted.len(),
            dead.len(),
        );
        let lost = handled.lost(fates);
        assert!(lost.is_empty(), "room {room} lost {lost:?}");
        let invented: Vec<&u32> =
            posted.keys().filter(|n| fates.get(n).is_none_or(|fate| *fate == Fate::Refused)).collect();
        assert!(invented.is_empty(), "room {room} shows what was never sent: {invented:?}");
        let causes = faults.relay + faults.nats + faults.pauses;
        let repeats = posts_with_repeats(sink);
        assert!(
            repeats <= causes,
            "room {room}: {repeats} posts repeat messages, but only {causes} kills and pauses could cause that"
        );
    }
}

/// The messages that a room has posted (and how often), counted in a post of many, or given up.
struct Handled {
    posted: BTreeMap<u32, u32>,
    counted: BTreeSet<u32>,
    dead: BTreeSet<u32>,
}

impl Handled {
    async fn read(nats: &NatsServer, room: &str, sink: &WebhookSink) -> Handled {
        let by_id = logged(nats).await;
        let (counted, dead) = (counted(nats, room, &by_id).await, dead(nats, room, &by_id).await);
        Handled { posted: numbers(sink), counted, dead }
    }

    /// The messages that were kept by tellhal and are nowhere.
    fn lost(&self, fates: &BTreeMap<u32, Fate>) -> Vec<u32> {
        let is_handled = |n| self.posted.contains_key(n) || self.counted.contains(n) || self.dead.contains(n);
        let lost = fates.iter().filter(|(n, fate)| **fate == Fate::Kept && !is_handled(n));
        lost.map(|(n, _)| *n).collect()
    }
}

/// The number in each message of the log, by the message's id.
async fn logged(nats: &NatsServer) -> BTreeMap<String, u32> {
    let log = read_all(nats, "HAL_OPS").await;
    let numbered = log.iter().filter_map(|(_, body)| {
        Some((body["id"].as_str()?.to_owned(), body["text"].as_str()?.parse().ok()?))
    });
    numbered.collect()
}

/// The number of posts with a message that an earlier post had.
fn posts_with_repeats(sink: &WebhookSink) -> u32 {
    let (mut seen, mut repeats) = (BTreeSet::new(), 0);
    for post in sink.deliveries() {
        let texts = post.texts();
        repeats += u32::from(texts.iter().any(|text| seen.contains(text)));
        seen.extend(texts);
    }
    repeats
}

async fn counted(nats: &NatsServer, room: &str, by_id: &BTreeMap<String, u32>) -> BTreeSet<u32> {
    let receipts = read_all(nats, "HAL_SENT").await;
    // Without `listed`, the post lists all.
    let some_counted =
        receipts.iter().filter(|(_, receipt)| receipt["room"] == room && receipt["listed"].is_array());
    let ids = some_counted.flat_map(|(_, receipt)| {
        let listed = receipt["listed"].as_array().into_iter().flatten();
        let listed: BTreeSet<usize> = listed.map(|index| index.as_u64().unwrap() as usize).collect();
        let ids = receipt["ids"].as_array().cloned().unwrap_or_default().into_iter().enumerate();
        ids.filter(move |(index, _)| !listed.contains(index)).map(|(_, id)| id)
    });
    ids.filter_map(|id| by_id.get(id.as_str()?.split('/').next()?).copied()).collect()
}

async fn dead(nats: &NatsServer, room: &str, by_id: &BTreeMap<String, u32>) -> BTreeSet<u32> {
    let letters = read_all(nats, "HAL_DEAD").await;
    let of_room = letters.iter().filter(|(_, letter)| letter["room"] == room);
    of_room
        .filter_map(|(_, letter)| by_id.get(letter["delivery"]["id"].as_str()?.split('/').next()?).copied())
        .collect()
}

/// Every message of a stream as JSON.
async fn read_all(nats: &NatsServer, stream: &str) -> Vec<(String, Value)> {
    let stream = nats.jetstream().await.get_stream(stream).await.unwrap();
    let count = stream.cached_info().state.messages;
    let config = async_nats::jetstream::consumer::pull::Config {
        ack_policy: async_nats::jetstream::consumer::AckPolicy::None,
        ..Default::default()
    };
    let mut messages = stream.create_consumer(config).await.unwrap().messages().await.unwrap();
    let mut all = Vec::new();
    for _ in 0..count {
        let message = messages.next().await.unwrap().unwrap();
        all.push((message.subject.to_string(), serde_json::from_slice(&message.payload).unwrap_or_default()));
    }
    all
}
