//! Bytes that anybody can put on the bus or on this machine's disk, through everything that reads them: the entries of the log,
//! snapshots, receipts, dead letters and spooled messages. None may panic, and what is made of them can be read again.
//!
//! `PROPTEST_CASES=1000000 cargo test --release -p relay --test fuzz` runs for about an hour.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::{Arc, LazyLock};

use proptest::prelude::*;
use relay::delivery::{DeadLetter, Delivery, Receipt};
use relay::engine::entry::{self, Entry, Raw};
use relay::engine::routing::{Route, Routing};
use relay::engine::snapshot::Snapshot;
use relay::engine::{Engine, Output, Rules};
use relay::room::{Post, Room, Shared, registry};
use serde_json::json;
use tellhal::{Message, Names, Timestamp};

/// Parts that are hard on readers.
const ODD: [&str; 12] = [
    "1e999",
    "-9223372036854775809",
    "\"\\ud800\"",
    "null",
    "\u{202e}\u{0}\r\n",
    "<!channel> @everyone {{ x }}",
    "9999-12-31T23:59:59Z",
    "{\"v\":1,",
    "[[[[[[[[[[[[[[[[",
    "🏴󠁧󠁢󠁥󠁮󠁧󠁿",
    "\"v\":2",
    "}}]]",
];

/// One change: where (in parts of 65536), how, and with what.
type Edit = (u16, u8, u8, u16);

fn edited(mut bytes: Vec<u8>, edits: &[Edit]) -> Vec<u8> {
    for &(place, how, what, length) in edits {
        let at = bytes.len() * usize::from(place) / 65536;
        let end = (at + usize::from(length) % 64).min(bytes.len());
        match how % 6 {
            0 => bytes.insert(at, what),
            1 => drop(bytes.drain(at..end)),
            2 => bytes[at..end].fill(what),
            3 => drop(bytes.splice(at..end, ODD[usize::from(what) % ODD.len()].bytes())),
            4 => drop(bytes.splice(at..at, vec![what; usize::from(length) * 4])),
            _ => {
                let again = bytes[at..end].to_vec();
                bytes.splice(end..end, again);
            }
        }
    }
    bytes
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    prop::collection::vec(any::<Edit>(), 0..8)
}

fn message() -> serde_json::Value {
    json!({
        "v": 1, "id": "0193a5b0", "time": "2026-11-27T12:00:00Z", "tag": "backup.mysql", "source": "db1", "host": "db1.example",
        "user": "root", "severity": "error", "title": "a title", "text": "a text\nof two lines", "key": "mysql", "status": "failed",
        "fields": {"size": "12", "unit": "GB"}, "links": [{"url": "https://example.com/x", "title": "log"}],
        "run": {"command": "backup.sh", "exit": 2, "seconds": 1.5, "host": "db1"}
    })
}

fn engine() -> Engine {
    let throttled = Route {
        name: "t".into(),
        rooms: vec!["ops".into()],
        throttle: Some(std::time::Duration::from_secs(60)),
        ..Route::default()
    };
    let rooms = ["ops", "page"].map(String::from).into();
    let routing = Routing { dev_room: None, default_room: "page".into(), rooms, routes: vec![throttled] };
    Engine::new(Arc::new(Rules::new(routing)))
}

static ROOMS: LazyLock<Vec<Box<dyn Room>>> = LazyLock::new(|| {
    let settings = [
        json!({"irc": {"server": "127.0.0.1:6667", "tls": false, "nick": "hal", "channel": "#ops"}}),
        json!({"slack": {"token": "xoxb-0123456789", "channel": "C0123456789"}}),
        json!({"webhook": {"url": "http://127.0.0.1:9/in", "allow_private": true}}),
        json!({"xmpp": {"jid": "hal@localhost", "password": "x", "tls": false, "room": "ops@conference.localhost"}}),
    ];
    let open =
        |settings| registry::open("ops", &serde_json::from_value(settings).unwrap(), &Shared::default());
    settings.into_iter().map(|settings| open(settings).unwrap()).collect()
});

/// The deliveries that a payload on each kind of subject leads to, and then a tick far in the future.
fn deliveries(payload: &[u8], subject: &str) -> Vec<Delivery> {
    let (names, mut engine) = (Names::default(), engine());
    let subjects = ["hal.ops.db1.backup.mysql", "hal.ctl.retry", "hal.ctl.tick", "hal.ctl.config", subject];
    let mut deliveries = Vec::new();
    for (sequence, subject) in (1..).zip(subjects.into_iter().chain(subjects).chain(["hal.ctl.tick"])) {
        let at = Timestamp(1_795_000_000_000 + sequence as i64 * 30_000);
        let Raw::Ready(what) = entry::read(&names, subject, payload, None, sequence, at) else { continue };
        for output in engine.apply(Entry { sequence, at, what }) {
            if let Output::Deliver(delivery) = output {
                deliveries.push(*delivery);
            }
        }
    }
    deliveries
}

proptest! {
    #[test]
    fn whatever_is_on_the_log_becomes_deliveries_that_every_room_can_render(
        edits in edits(), kind in 0u8..3, subject in "(hal\\.(ops|ctl)\\.)?\\PC{0,40}",
    ) {
        let (one, once) = (message(), deliveries(message().to_string().as_bytes(), "x"));
        let payload = match kind {
            0 => one.to_string().into_bytes(),
            1 => json!({"delivery": once[0], "room": "ops", "reason": "no relay serves it"}).to_string().into_bytes(),
            _ => json!({"now": "2026-11-27T12:00:00Z", "hash": "17a9116414fe2b69"}).to_string().into_bytes(),
        };
        for delivery in deliveries(&edited(payload, &edits), &subject) {
            let text = serde_json::to_string(&delivery).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Delivery>(&text).unwrap(), &delivery);
            let post = Post::single(delivery);
            for room in ROOMS.iter() {
                prop_assert!(!room.render(&post).is_empty());
            }
        }
    }

    #[test]
    fn a_changed_snapshot_is_refused_or_leads_on(edits in edits()) {
        let mut engine = engine();
        for sequence in 1..4 {
            let payload = message().to_string();
            let at = Timestamp(1_795_000_000_000);
            let read = entry::read(&Names::default(), "hal.ops.db1.backup", payload.as_bytes(), None, sequence, at);
            let Raw::Ready(what) = read else { continue };
            engine.apply(Entry { sequence, at, what });
        }
        let snapshot = serde_json::to_vec(&engine.snapshot(Default::default())).unwrap();
        if let Ok(mut snapshot) = serde_json::from_slice::<Snapshot>(&edited(snapshot, &edits)) {
            for kept in std::mem::take(&mut snapshot.rooms).into_values() {
                let _ = relay::delivery::queue::Queue::restore(kept);
            }
            let mut restored = Engine::restore(snapshot, engine.rules().clone());
            let sequence = restored.sequence().saturating_add(1);
            let what = entry::Happening::Tick(Some(Timestamp(i64::MAX)));
            restored.apply(Entry { sequence, at: Timestamp(i64::MAX), what });
        }
    }

    #[test]
    fn changed_queues_receipts_and_letters_are_read_or_refused(edits in edits()) {
        let deliveries = deliveries(message().to_string().as_bytes(), "x");
        let mut queue = relay::delivery::queue::Queue::default();
        deliveries.iter().for_each(|delivery| queue.push(delivery.clone(), 100, false));
        let kept = edited(serde_json::to_vec(&queue.keep()).unwrap(), &edits);
        if let Ok(kept) = serde_json::from_slice(&kept)
            && let Ok(mut queue) = relay::delivery::queue::Queue::restore(kept)
        {
            let waiting = queue.peek(Default::default(), 10);
            if let Some(last) = waiting.last() {
                queue.handled(last.place());
            }
            let _ = queue.keep();
        }
        let letter = json!({
            "room": "ops", "reason": "refused", "at": "2026-11-27T12:00:00Z", "tries": 1, "delivery": deliveries[0],
            "outcome": "posted", "ids": ["m1/ops"], "place": deliveries[0].place,
        });
        let letter = edited(letter.to_string().into_bytes(), &edits);
        let _ = serde_json::from_slice::<DeadLetter>(&letter);
        let _ = serde_json::from_slice::<Receipt>(&letter);
    }

    #[test]
    fn a_changed_file_in_the_spool_is_read_or_refused(edits in edits()) {
        let message: Message = serde_json::from_value(message()).unwrap();
        let bytes = tellhal::spool::encode(&message).unwrap();
        let changed = edited(bytes.clone(), &edits);
        if let Ok(read) = tellhal::spool::parse(&changed) {
            prop_assert!(changed == bytes && read == message);
        }
    }
}
