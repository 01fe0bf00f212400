//! The way from the log into the rooms as pure code: fold, queues, receipts, snapshots and takeovers, in any order.
//!
//! Each delivery is posted, counted or dead, in the log's order; twice only if a leader ended between its post and its receipt.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use relay::delivery::queue::Queue;
use relay::delivery::waiting::Waiting;
use relay::delivery::{Delivery, Outcome, Place, Receipt};
use relay::engine::entry::{Entry, Happening};
use relay::engine::reread::reread;
use relay::engine::routing::{Route, Routing};
use relay::engine::snapshot::Snapshot;
use relay::engine::{Engine, Output, Rules};
use tellhal::message::{Message, Received};
use tellhal::{Severity, Timestamp};

const ROOMS: [&str; 3] = ["ops", "dba", "page"];

/// An entry of the log: what it is, its tag, the seconds since the one before.
type Written = (u8, u8, u8);

#[derive(Clone, Debug)]
enum Step {
    Append,
    Fold {
        keep: bool,
    },
    Post {
        room: usize,
        most: usize,
    },
    Store {
        room: usize,
    },
    Bury {
        room: usize,
        most: usize,
    },
    Snapshot,
    Purge,
    /// The leader ends; the receipt that a room had under way arrives later or never.
    Takeover,
    LateReceipt,
}

/// The streams, the object store and the rooms.
#[derive(Default)]
struct World {
    written: Vec<Written>,
    /// The number of entries that are in the log.
    appended: usize,
    /// Entries before this sequence are gone.
    purged: u64,
    receipts: BTreeMap<String, Vec<Receipt>>,
    snapshot: Option<String>,
    /// Receipts that a deposed leader sent, each with the number of receipts it expected.
    late: Vec<(Receipt, usize)>,
    /// The deliveries that each room has handled, in order: posts, counts and dead letters.
    handled: BTreeMap<String, Vec<(Delivery, Outcome)>>,
    /// The deliveries that were posted when a leader ended, without a receipt.
    unrecorded: BTreeSet<(String, String)>,
}

struct Leader {
    engine: Engine,
    queues: BTreeMap<String, Queue>,
    workers: BTreeMap<String, Worker>,
    /// The sequence of the last snapshot.
    kept: u64,
}

/// A room's worker: its posts without receipts, at most two, and the number of receipts it knows.
#[derive(Default)]
struct Worker {
    posted: Vec<Receipt>,
    known: usize,
    /// The place of the last receipt that it knows.
    reached: Place,
}

fn rules(variant: u8) -> Arc<Rules> {
    let route = |name: &str, tag: &str, rooms: &[&str]| Route {
        name: name.into(),
        conditions: serde_json::from_value(serde_json::json!({ "tag": [tag] })).unwrap(),
        rooms: rooms.iter().map(|room| (*room).into()).collect(),
        ..Route::default()
    };
    let throttle = Some(Duration::from_secs(20 + u64::from(variant)));
    let routes = vec![
        Route { throttle, ..route("slow", "t1.>", &["ops", "dba"]) },
        route("all", ">", if variant == 1 { &["ops"] } else { &["ops", "page"] }),
        Route { drop: true, ..route("drop", "t3.>", &[]) },
    ];
    let rooms = ROOMS.map(String::from).into();
    Arc::new(Rules::new(Routing { dev_room: None, default_room: "page".into(), rooms, routes }))
}

impl World {
    /// The entry with this sequence; `None` if it is not in the log.
    fn entry(&self, sequence: u64) -> Option<Entry> {
        if sequence < self.purged || sequence > self.appended as u64 {
            return None;
        }
        let index = sequence as usize - 1;
        let seconds: i64 = self.written[..=index].iter().map(|(_, _, seconds)| i64::from(*seconds)).sum();
        let at = Timestamp(1_795_000_000_000 + seconds * 1000);
        let (kind, tag, _) = self.written[index];
        let what = match kind {
            0 => Happening::Tick(None),
            1 => Happening::Config(rules(tag % 2)),
            _ => {
                // Some ids come twice, some from another source.
                let id = if kind == 2 { sequence / 2 } else { sequence };
                let source = if kind == 2 && tag == 0 { "db2" } else { "db1" };
                let mut message =
                    Message::new(source, format!("t{tag}.x").parse().unwrap(), format!("{sequence}"));
                message.id = format!("m{id}");
                message.time = at;
                message.severity = Severity::ALL[usize::from(tag)];
                Happening::Message(Received { message, marks: vec![] })
            }
        };
        Some(Entry { sequence, at, what })
    }

    fn last_place(&self, room: &str) -> Place {
        self.receipts.get(room).and_then(|all| all.last()).map(|receipt| receipt.place).unwrap_or_default()
    }
}

impl Leader {
    fn open(world: &World) -> Leader {
        let snapshot: Option<Snapshot> =
            world.snapshot.as_ref().map(|text| serde_json::from_str(text).unwrap());
        let (engine, mut queues, kept) = match snapshot {
            Some(mut snapshot) => {
                let kept = snapshot.sequence;
                let queue = |(room, kept)| (room, Queue::restore(kept).unwrap());
                let queues: BTreeMap<String, Queue> =
                    std::mem::take(&mut snapshot.rooms).into_iter().map(queue).collect();
                let rules =
                    [rules(0), rules(1)].into_iter().find(|rules| rules.hash == snapshot.configuration);
                (Engine::restore(snapshot, rules.unwrap()), queues, kept)
            }
            None => (Engine::new(rules(0)), BTreeMap::new(), 0),
        };
        let mut workers = BTreeMap::new();
        for room in ROOMS {
            queues.entry(room.into()).or_default().handled(world.last_place(room));
            let known = world.receipts.get(room).map_or(0, Vec::len);
            let reached = world.last_place(room);
            workers.insert(room.to_owned(), Worker { known, reached, ..Worker::default() });
        }
        Leader { engine, queues, workers, kept }
    }

    fn fold(&mut self, world: &World, keep: bool) -> bool {
        let Some(entry) = world.entry(self.engine.sequence() + 1) else { return false };
        for output in self.engine.apply(entry) {
            if let Output::Deliver(delivery) = output {
                let room = delivery.room.clone();
                self.queues.get_mut(&room).unwrap().push(*delivery, 100, keep);
            }
        }
        true
    }

    /// The oldest deliveries of a room that it has not posted, with their content.
    fn next(&self, world: &World, room: &str, most: usize) -> Vec<Delivery> {
        let after = self.workers[room].posted.last().map(|receipt| receipt.place).unwrap_or_default();
        let content = |waiting| match waiting {
            Waiting::Whole(delivery) => (*delivery).clone(),
            Waiting::Reference(reference) => {
                let entry = world.entry(reference.place.sequence).expect("the log has what a queue needs");
                reread(&reference, room, entry.what).expect("the entry led to a delivery")
            }
        };
        self.queues[room].peek(after, most).into_iter().map(content).collect()
    }

    fn post(&mut self, world: &mut World, room: &str, most: usize) -> bool {
        if self.workers[room].posted.len() == 2 {
            return false;
        }
        let deliveries = self.next(world, room, most);
        let Some(last) = deliveries.last() else { return false };
        let outcome = if deliveries.len() == 1 { Outcome::Posted } else { Outcome::Listed };
        let receipt = receipt(&deliveries, last.place, outcome);
        self.workers.get_mut(room).unwrap().posted.push(receipt);
        let handled = world.handled.entry(room.into()).or_default();
        handled.extend(deliveries.into_iter().map(|delivery| (delivery, outcome)));
        true
    }

    /// Stores the receipt of the oldest post. The server refuses one that does not know the receipt before it.
    fn store(&mut self, world: &mut World, room: &str) -> bool {
        let worker = self.workers.get_mut(room).unwrap();
        if worker.posted.is_empty() {
            return false;
        }
        let stored = world.receipts.entry(room.into()).or_default();
        if worker.known != stored.len() {
            // A late receipt of an earlier leader: what it covers is handled.
            worker.known = stored.len();
            let place = stored.last().map(|receipt| receipt.place).unwrap_or_default();
            worker.reached = worker.reached.max(place);
            return true;
        }
        let mut receipt = worker.posted.remove(0);
        receipt.place = receipt.place.max(worker.reached);
        self.queues.get_mut(room).unwrap().handled(receipt.place);
        stored.push(receipt);
        worker.known += 1;
        true
    }

    fn bury(&mut self, world: &mut World, room: &str, most: usize) {
        if !self.workers[room].posted.is_empty() {
            return;
        }
        let deliveries = self.next(world, room, most);
        let Some(last) = deliveries.last() else { return };
        let receipt = receipt(&deliveries, last.place, Outcome::Dead);
        self.workers.get_mut(room).unwrap().posted.push(receipt);
        while !self.workers[room].posted.is_empty() {
            self.store(world, room);
        }
        let handled = world.handled.entry(room.into()).or_default();
        handled.extend(deliveries.into_iter().map(|delivery| (delivery, Outcome::Dead)));
    }

    fn save(&mut self, world: &mut World) {
        let rooms = self.queues.iter().map(|(room, queue)| (room.clone(), queue.keep())).collect();
        world.snapshot = Some(serde_json::to_string(&self.engine.snapshot(rooms)).unwrap());
        self.kept = self.engine.sequence();
    }

    fn purge(&self, world: &mut World) {
        let oldest =
            self.queues.values().filter_map(|queue| queue.oldest()).map(|place| place.sequence).min();
        world.purged = world.purged.max(self.kept.min(oldest.unwrap_or(u64::MAX)));
    }

    fn end(self, world: &mut World) {
        for (room, worker) in self.workers {
            let ids = worker.posted.iter().flat_map(|receipt| receipt.ids.iter());
            world.unrecorded.extend(ids.map(|id| (room.clone(), id.clone())));
            world.late.extend(worker.posted.first().map(|receipt| {
                let place = receipt.place.max(worker.reached);
                (Receipt { place, ..receipt.clone() }, worker.known)
            }));
        }
    }
}

fn receipt(deliveries: &[Delivery], place: Place, outcome: Outcome) -> Receipt {
    let mut receipt = Receipt::unsent(&deliveries[0].room, outcome, "", place, Timestamp(0), String::new());
    receipt.ids = deliveries.iter().map(|delivery| delivery.id.to_string()).collect();
    receipt
}

fn run(world: &mut World, steps: &[Step]) {
    let mut leader = Leader::open(world);
    for step in steps {
        match *step {
            Step::Append => world.appended = (world.appended + 1).min(world.written.len()),
            Step::Fold { keep } => _ = leader.fold(world, keep),
            Step::Post { room, most } => _ = leader.post(world, ROOMS[room], most),
            Step::Store { room } => _ = leader.store(world, ROOMS[room]),
            Step::Bury { room, most } => leader.bury(world, ROOMS[room], most),
            Step::Snapshot => leader.save(world),
            Step::Purge => leader.purge(world),
            Step::Takeover => {
                leader.end(world);
                leader = Leader::open(world);
            }
            Step::LateReceipt => {
                let Some((receipt, expected)) = world.late.pop() else { continue };
                let stored = world.receipts.entry(receipt.room.clone()).or_default();
                if stored.len() == expected {
                    stored.push(receipt);
                }
            }
        }
    }
    world.appended = world.written.len();
    while leader.fold(world, true) {}
    for room in ROOMS {
        while leader.post(world, room, 3) || leader.store(world, room) {}
        assert!(leader.queues[room].is_empty());
    }
}

/// The deliveries of the whole log, by room.
fn expected(world: &World) -> BTreeMap<String, Vec<Delivery>> {
    let mut engine = Engine::new(rules(0));
    let mut expected: BTreeMap<String, Vec<Delivery>> = BTreeMap::new();
    let world = World { written: world.written.clone(), appended: world.appended, ..World::default() };
    while let Some(entry) = world.entry(engine.sequence() + 1) {
        for output in engine.apply(entry) {
            if let Output::Deliver(delivery) = output {
                expected.entry(delivery.room.clone()).or_default().push(*delivery);
            }
        }
    }
    expected
}

fn logs() -> impl Strategy<Value = Vec<Written>> {
    prop::collection::vec((0u8..8, 0u8..5, 0u8..15), 1..60)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (room, most) = (0..ROOMS.len(), 1usize..6);
    let step = prop_oneof![
        6 => Just(Step::Append),
        6 => any::<bool>().prop_map(|keep| Step::Fold { keep }),
        6 => (room.clone(), most.clone()).prop_map(|(room, most)| Step::Post { room, most }),
        5 => room.clone().prop_map(|room| Step::Store { room }),
        1 => (room, most).prop_map(|(room, most)| Step::Bury { room, most }),
        2 => Just(Step::Snapshot),
        1 => Just(Step::Purge),
        1 => Just(Step::Takeover),
        1 => Just(Step::LateReceipt),
    ];
    prop::collection::vec(step, 0..300)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn each_delivery_is_handled_once_in_order_whatever_happens(written in logs(), steps in steps()) {
        let mut world = World { written, ..World::default() };
        run(&mut world, &steps);
        let mut expected = expected(&world);
        for room in ROOMS {
            let handled = world.handled.remove(room).unwrap_or_default();
            let mut first: Vec<Delivery> = Vec::new();
            for (delivery, _) in &handled {
                if !first.iter().any(|known| known.id == delivery.id) {
                    first.push(delivery.clone());
                }
            }
            prop_assert_eq!(first, expected.remove(room).unwrap_or_default(), "room {}", room);
            let mut seen = BTreeSet::new();
            for (delivery, outcome) in &handled {
                let is_new = seen.insert(delivery.id.to_string());
                let may_repeat = world.unrecorded.contains(&(room.to_owned(), delivery.id.to_string()));
                prop_assert!(is_new || may_repeat, "{} is {outcome:?} again in {room}", delivery.id);
            }
        }
    }
}
