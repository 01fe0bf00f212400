//! Two bridges that are killed again and again, one of them or both, while webhooks are posted and the bus goes away and comes back. A
//! sender repeats a request until it is answered with success, as those systems do. `TELLHAL_WEBHOOKS` is the least number of requests
//! of each of four senders (30 when absent); the counts are printed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tests::http::post_with;
use tests::wait::SOON;
use tests::{Bridge, NatsServer, wait_until};

use crate::webhooks::{SECRET, TOKEN, issue, messages, signature};

/// The pause between two kills of a bridge, in milliseconds; it takes a tenth of a second to start.
const KILL: std::ops::Range<u64> = 50..600;
/// The time for which the bus is there, and for which it is away.
const BUS: [std::ops::Range<u64>; 2] = [500..1500, 300..1000];
const SENDERS: u32 = 4;
/// The alerts of a group: a bridge is often killed between two of them.
const GROUP: u32 = 12;

fn configuration() -> String {
    format!(
        "[webhooks.github]\nsecret = \"{SECRET}\"\n\
         [webhooks.alerts]\nkind = \"alertmanager\"\nsecret = \"{TOKEN}\"\n"
    )
}

/// The faults so far. Senders go on until there are some of each.
#[derive(Default)]
struct Faults {
    kills: AtomicU32,
    /// The bus went away, and came back.
    interruptions: AtomicU32,
}

impl Faults {
    fn are_enough(&self) -> bool {
        self.kills.load(Relaxed) >= 8 && self.interruptions.load(Relaxed) >= 2
    }
}

/// A request, and the titles of its messages.
struct Request {
    path: String,
    headers: Vec<(&'static str, String)>,
    body: String,
    titles: Vec<String>,
}

impl Request {
    fn of_github(number: u32) -> Request {
        let body = issue(number);
        let headers = vec![
            ("X-GitHub-Event", "issues".to_owned()),
            ("X-GitHub-Delivery", format!("d{number}")),
            ("X-Hub-Signature-256", signature(SECRET, &body)),
        ];
        let title = format!("o/r: amy opened issue #{number}: <!channel> {{{{x}}}}");
        Request { path: "/in/github".into(), headers, body, titles: vec![title] }
    }

    fn of_alertmanager(number: u32) -> Request {
        let names: Vec<String> = (0..GROUP).map(|alert| format!("Disk{number}x{alert}")).collect();
        let alert = |name: &String| {
            format!(
                r#"{{"status":"firing","labels":{{"alertname":"{name}"}},"startsAt":"2026-11-28T01:00:00Z","fingerprint":"{name}"}}"#
            )
        };
        let alerts: Vec<String> = names.iter().map(alert).collect();
        let body = format!(r#"{{"receiver":"hal","alerts":[{}]}}"#, alerts.join(","));
        Request { path: format!("/in/alerts/{TOKEN}"), headers: Vec::new(), body, titles: names }
    }

    /// Posts it to one bridge or the other until one answers with success. Returns the number of tries.
    async fn post(&self, bridges: [SocketAddr; 2]) -> u32 {
        let headers: Vec<(&str, &str)> =
            self.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let until = Instant::now() + 3 * SOON;
        for tries in 1.. {
            let bridge = bridges[fastrand::usize(..2)];
            let answer = post_with(bridge, &self.path, &headers, &self.body).await;
            match answer {
                Ok((200, _)) => return tries,
                Ok((503, _)) | Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                Ok(answer) => panic!("{answer:?}"),
            }
            assert!(Instant::now() < until, "no bridge takes {}", self.titles[0]);
        }
        unreachable!("it has no end")
    }
}

/// Posts at least `count` requests, one after the other. Returns the titles of their messages, and the number of requests that were
/// repeated.
async fn post_all(bridges: [SocketAddr; 2], sender: u32, count: u32, faults: &Faults) -> (Vec<String>, u32) {
    let (mut titles, mut repeated) = (Vec::new(), 0);
    for number in (0..).take_while(|number| *number < count || !faults.are_enough()) {
        let number = number * SENDERS + sender;
        let request = match fastrand::bool() {
            true => Request::of_github(number),
            false => Request::of_alertmanager(number),
        };
        repeated += u32::from(request.post(bridges).await > 1);
        titles.extend(request.titles);
        tokio::time::sleep(Duration::from_millis(fastrand::u64(..60))).await;
    }
    (titles, repeated)
}

/// Kills one bridge, the other, or both, without end.
async fn kill(bridges: &mut [Bridge; 2], faults: &Faults) {
    loop {
        tokio::time::sleep(Duration::from_millis(fastrand::u64(KILL))).await;
        let which = fastrand::usize(..3);
        for (number, bridge) in bridges.iter_mut().enumerate() {
            if which == number || which == 2 {
                bridge.respawn();
                faults.kills.fetch_add(1, Relaxed);
            }
        }
    }
}

/// Takes the bus away and brings it back, without end.
async fn interrupt(nats: &mut NatsServer, faults: &Faults) {
    loop {
        for (is_there, pause) in [(true, BUS[0].clone()), (false, BUS[1].clone())] {
            tokio::time::sleep(Duration::from_millis(fastrand::u64(pause))).await;
            match is_there {
                true => nats.kill(),
                false => nats.restart().await,
            }
        }
        faults.interruptions.fetch_add(1, Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_bridges_that_are_killed_each_webhook_is_told_once() {
    let count: u32 = std::env::var("TELLHAL_WEBHOOKS").map_or(30, |count| count.parse().unwrap());
    let mut nats = NatsServer::start().await;
    nats.create_log().await;
    let text = configuration();
    let mut bridges = [Bridge::start(&nats.url(), &text).await, Bridge::start(&nats.url(), &text).await];
    let addrs = bridges.each_ref().map(Bridge::http);
    let faults = Faults::default();
    let posts = (0..SENDERS).map(|sender| post_all(addrs, sender, count, &faults));
    let posts = futures_util::future::join_all(posts);
    let posted = tokio::select! {
        () = kill(&mut bridges, &faults) => unreachable!("it has no end"),
        () = interrupt(&mut nats, &faults) => unreachable!("it has no end"),
        posted = posts => posted,
    };
    nats.restart().await;
    for bridge in &mut bridges {
        bridge.restart().await;
    }
    let repeated: u32 = posted.iter().map(|(_, repeated)| repeated).sum();
    let mut expected: BTreeMap<String, u32> =
        posted.into_iter().flat_map(|(titles, _)| titles).map(|title| (title, 1)).collect();
    let whole = expected.len() as u64;
    let (kills, interruptions) = (faults.kills.into_inner(), faults.interruptions.into_inner());
    println!("{kills} kills, {interruptions} interruptions, {repeated} requests repeated, {whole} messages");
    wait_until("both spools are empty", 3 * SOON, async || {
        nats.messages("HAL_OPS").await >= whole && bridges.iter().all(|bridge| spooled(bridge) == 0)
    })
    .await;
    for (_, message) in messages(&nats, whole).await {
        let title = message.title.unwrap_or_default();
        let count = expected.entry(title.clone()).or_insert(10);
        assert!(*count > 0, "{title} was told twice");
        *count -= 1;
    }
    assert!(expected.values().all(|left| *left == 0), "{expected:?}");
    assert!(repeated > 0, "no kill and no interruption has met a request");
}

/// The number of messages in a bridge's spool.
fn spooled(bridge: &Bridge) -> usize {
    let files = std::fs::read_dir(bridge.dir().join("spool/new"));
    files.map_or(0, |files| files.count())
}
