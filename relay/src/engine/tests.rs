//! The engine's promises, by example and by property.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use tellhal::message::Severity;

use super::entry::{Entry, Happening, Retry};
use super::routing::{Route, Routing};
use super::rule::condition::Conditions;
use super::rule::condition::severity::Least;
use super::rule::condition::tag::Tags;
use super::state::throttle;
use super::*;
use tellhal::message::Message;

use crate::delivery::Delivery;

fn routing(routes: Vec<Route>) -> Routing {
    let rooms = ["ops", "dba", "page"].map(String::from);
    Routing { dev_room: None, default_room: "page".into(), rooms: rooms.into(), routes }
}

fn route(name: &str, tag: &str, rooms: &[&str]) -> Route {
    Route {
        name: name.into(),
        conditions: asks(tag, None),
        rooms: rooms.iter().map(|room| (*room).into()).collect(),
        ..Route::default()
    }
}

fn asks(tag: &str, least: Option<Severity>) -> Conditions {
    let tag = Tags(vec![tag.parse().unwrap()]);
    Conditions { tag, severity: Least(least), ..Conditions::default() }
}

fn engine(routing: Routing) -> Engine {
    Engine::new(Arc::new(Rules::new(routing)))
}

fn at(second: i64) -> Timestamp {
    Timestamp(1_795_000_000_000 + second * 1000)
}

fn message(sequence: u64, second: i64, tag: &str, id: &str) -> Entry {
    let mut message = Message::new("db1", tag.parse().unwrap(), format!("text {sequence}"));
    message.id = id.into();
    message.time = at(second);
    Entry { sequence, at: at(second), what: Happening::Message(Received { message, marks: vec![] }) }
}

fn tick(sequence: u64, second: i64) -> Entry {
    Entry { sequence, at: at(second), what: Happening::Tick(None) }
}

fn ids(outputs: &[Output]) -> Vec<&str> {
    outputs
        .iter()
        .filter_map(|output| match output {
            Output::Deliver(delivery) => Some(delivery.id.as_str()),
            Output::Note(_) => None,
        })
        .collect()
}

fn notes(outputs: &[Output]) -> Vec<(&str, Outcome)> {
    outputs
        .iter()
        .filter_map(|output| match output {
            Output::Note(note) => Some((note.room.as_str(), note.outcome)),
            Output::Deliver(_) => None,
        })
        .collect()
}

#[test]
fn every_matching_route_adds_its_rooms_once() {
    let stop = Route { stop: true, ..route("stop", "backup.mysql", &["ops"]) };
    let routes = vec![route("a", "backup.>", &["ops", "dba"]), stop, route("late", ">", &["page"])];
    let mut engine = engine(routing(routes));
    assert_eq!(ids(&engine.apply(message(1, 0, "backup.mysql", "m1"))), ["m1/ops", "m1/dba"]);
    assert_eq!(ids(&engine.apply(message(2, 0, "backup.pg", "m2"))), ["m2/ops", "m2/dba", "m2/page"]);
    assert_eq!(ids(&engine.apply(message(2, 0, "backup.pg", "m2"))), [] as [&str; 0], "folded before");
}

#[test]
fn what_no_route_takes_goes_to_the_default_room_and_drops_leave_a_note() {
    let drop = Route { drop: true, ..route("noise", "noise.>", &[]) };
    let mut engine = engine(routing(vec![drop]));
    assert_eq!(ids(&engine.apply(message(1, 0, "deploy", "m1"))), ["m1/page"]);
    let outputs = engine.apply(message(2, 0, "noise.x", "m2"));
    assert_eq!(notes(&outputs), [(NOWHERE, Outcome::Dropped)]);
    assert_eq!(ids(&outputs), [] as [&str; 0]);
}

#[test]
fn the_relays_own_health_goes_to_the_default_room_whatever_the_routes_say() {
    let pager = Route { stop: true, ..route("pager", "room.>", &["ops"]) };
    let noise = Route { drop: true, ..route("noise", "config", &[]) };
    let page = route("page", "room.page", &["page"]);
    let mut engine = engine(routing(vec![page, pager, noise]));
    let mut own = |sequence, tag: &str, source: &str| {
        let mut entry = message(sequence, 0, tag, &format!("m{sequence}"));
        let Happening::Message(received) = &mut entry.what else { panic!("a message") };
        received.message.source = source.into();
        ids(&engine.apply(entry)).iter().map(|id| (*id).to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(own(1, "room.ops", "relay"), ["m1/ops", "m1/page"]);
    assert_eq!(own(2, "config", "relay"), ["m2/page"]);
    assert_eq!(own(3, "room.page", "relay"), ["m3/page", "m3/ops"], "once");
    assert_eq!(own(4, "room.ops", "db1"), ["m4/ops"]);
    assert_eq!(own(5, "config", "db1"), [] as [&str; 0]);
}

#[test]
fn in_dev_everything_goes_to_the_dev_room_and_nowhere_else() {
    let mut rules = routing(vec![route("a", "backup.>", &["ops", "dba"])]);
    rules.dev_room = Some("page".into());
    let mut engine = engine(rules);
    for (sequence, tag) in [(1, "backup.mysql"), (2, "deploy")] {
        let id = format!("m{sequence}");
        assert_eq!(ids(&engine.apply(message(sequence, 0, tag, &id))), [format!("{id}/page")]);
    }
}

#[test]
fn a_throttle_passes_the_first_and_sums_up_the_rest_at_the_end_of_its_window() {
    let throttled = Route { throttle: Some(Duration::from_secs(60)), ..route("t", "disk.>", &["ops"]) };
    let mut engine = engine(routing(vec![throttled]));
    assert_eq!(ids(&engine.apply(message(1, 0, "disk.full", "m1"))), ["m1/ops"]);
    assert_eq!(engine.next_due(), None, "nothing is owed yet");
    for sequence in 2..5 {
        let outputs = engine.apply(message(sequence, sequence as i64, "disk.full", &format!("m{sequence}")));
        assert_eq!(notes(&outputs), [("ops", Outcome::Throttled)]);
        assert_eq!(ids(&outputs), [] as [&str; 0]);
    }
    assert_eq!(ids(&engine.apply(message(5, 9, "disk.slow", "m5"))), ["m5/ops"], "another kind");
    assert_eq!(engine.next_due(), Some(at(60)));
    assert_eq!(ids(&engine.apply(tick(6, 59))), [] as [&str; 0]);
    let outputs = engine.apply(tick(7, 60));
    assert_eq!(ids(&outputs), ["t/m1/sum/ops"]);
    let Output::Deliver(delivery) = &outputs[0] else { panic!("no delivery") };
    let Content::Summary(summary) = &delivery.content else { panic!("no summary") };
    assert_eq!((summary.count, summary.first, summary.last), (3, at(2), at(4)));
    assert_eq!((summary.source.as_deref(), summary.headline.as_str()), (Some("db1"), "text 4"));
    assert_eq!(ids(&engine.apply(message(8, 61, "disk.full", "m8"))), ["m8/ops"], "a new window");
}

#[test]
fn an_open_window_finishes_under_the_configuration_that_opened_it() {
    let throttled =
        |rooms: &[&str]| Route { throttle: Some(Duration::from_secs(60)), ..route("t", ">", rooms) };
    let mut engine = engine(routing(vec![throttled(&["ops"])]));
    engine.apply(message(1, 0, "a", "m1"));
    engine.apply(message(2, 1, "a", "m2"));
    let new = Arc::new(Rules::new(routing(vec![throttled(&["dba"])])));
    engine.apply(Entry { sequence: 3, at: at(2), what: Happening::Config(new) });
    assert_eq!(ids(&engine.apply(message(4, 61, "b", "m4"))), ["t/m1/sum/ops", "m4/dba"]);
}

#[test]
fn the_same_id_twice_is_one_delivery_unless_another_source_took_it() {
    let mut engine = engine(routing(vec![]));
    engine.apply(message(1, 0, "a", "m1"));
    assert_eq!(notes(&engine.apply(message(2, 1, "a", "m1"))), [(NOWHERE, Outcome::Duplicate)]);
    let mut other = message(3, 2, "a", "m1");
    if let Happening::Message(received) = &mut other.what {
        received.message.source = "evil".into();
    }
    assert_eq!(ids(&engine.apply(other)), ["seq-3/page"]);
    assert_eq!(ids(&engine.apply(message(4, 3602, "a", "m1"))), ["m1/page"], "more than an hour later");
}

#[test]
fn a_retry_gets_an_id_of_its_own_and_a_room_that_is_there() {
    let mut engine = engine(routing(vec![route("a", ">", &["ops"])]));
    let outputs = engine.apply(message(1, 0, "a", "m1"));
    let Output::Deliver(delivery) = outputs[0].clone() else { panic!("no delivery") };
    let retry = |sequence, delivery: &Delivery, room: &str, once: &str| {
        let retry =
            Retry { once: once.into(), delivery: delivery.clone(), room: room.into(), reason: "x".into() };
        Entry { sequence, at: at(1), what: Happening::Retry(retry) }
    };
    let again = engine.apply(retry(2, &delivery, "ops", "r1"));
    assert_eq!(ids(&again), ["m1/ops/r2"]);
    assert_eq!(notes(&engine.apply(retry(3, &delivery, "ops", "r1"))), [(NOWHERE, Outcome::Duplicate)]);
    let Output::Deliver(again) = again[0].clone() else { panic!("no delivery") };
    let outputs = engine.apply(retry(4, &again, "gone", "r2"));
    assert_eq!(ids(&outputs), ["m1/ops/r4"]);
    let Output::Deliver(moved) = &outputs[0] else { panic!("no delivery") };
    assert_eq!((moved.room.as_str(), &moved.marks[..]), ("page", &[Mark::ForRoom("ops".into())][..]));
}

#[test]
fn windows_are_bounded_and_what_finds_no_place_passes() {
    let throttled = Route {
        throttle: Some(Duration::from_secs(60)),
        throttle_by: vec![routing::ThrottleBy::Title],
        ..route("t", ">", &["ops"])
    };
    let mut engine = engine(routing(vec![throttled]));
    for sequence in 1..=throttle::MAX_WINDOWS as u64 + 1 {
        let mut entry = message(sequence, 0, "a", &format!("m{sequence}"));
        if let Happening::Message(received) = &mut entry.what {
            received.message.title = Some(format!("kind {sequence}"));
        }
        assert_eq!(ids(&engine.apply(entry)).len(), 1);
    }
    assert_eq!(engine.open_windows(), throttle::MAX_WINDOWS);
}

/// The snapshot of an engine that has counted a repeat, changed as another version of the relay would have it.
fn restored(change: impl Fn(&mut serde_json::Value)) -> (Engine, Vec<String>) {
    let throttled = Route { throttle: Some(Duration::from_secs(60)), ..route("t", ">", &["ops"]) };
    let mut engine = engine(routing(vec![throttled]));
    engine.apply(message(1, 0, "a", "m1"));
    engine.apply(message(2, 1, "a", "m2"));
    let mut value = serde_json::to_value(engine.snapshot(Default::default())).unwrap();
    change(&mut value);
    let snapshot: snapshot::Snapshot = serde_json::from_value(value).unwrap();
    let unreadable = snapshot.state.unreadable().iter().map(|(part, _)| (*part).to_owned()).collect();
    (Engine::restore(snapshot, engine.rules().clone()), unreadable)
}

fn is_duplicate(engine: &mut Engine) -> bool {
    notes(&engine.apply(message(3, 2, "a", "m1"))) == [(NOWHERE, Outcome::Duplicate)]
}

#[test]
fn an_older_snapshot_lacks_a_part_and_a_newer_one_has_others() {
    let (mut older, unreadable) =
        restored(|value| _ = value["state"].as_object_mut().unwrap().remove("throttle"));
    assert!(unreadable.is_empty() && older.open_windows() == 0 && is_duplicate(&mut older));

    let (mut newer, unreadable) = restored(|value| {
        value["state"]["digest"] = serde_json::json!({ "open": [1, 2] });
        value["state"]["throttle"]["more"] = true.into();
    });
    assert!(unreadable.is_empty() && newer.open_windows() == 1 && is_duplicate(&mut newer));
    assert_eq!(ids(&newer.apply(tick(4, 60))), ["t/m1/sum/ops"]);
}

#[test]
fn a_part_that_cannot_be_read_is_named_and_costs_no_other() {
    let (mut engine, unreadable) = restored(|value| value["state"]["throttle"]["windows"] = "none".into());
    assert_eq!((unreadable, engine.open_windows()), (vec!["throttle".to_owned()], 0));
    assert!(is_duplicate(&mut engine));
}

#[test]
fn a_tick_tells_the_time_while_the_servers_clock_is_set_back() {
    const BACK: i64 = -40 * 86_400;
    let throttled = Route { throttle: Some(Duration::from_secs(60)), ..route("t", ">", &["ops"]) };
    let mut engine = engine(routing(vec![throttled]));
    engine.apply(message(1, 0, "a.b", "m1"));
    engine.apply(message(2, BACK, "a.b", "m2"));
    let due = engine.next_due().unwrap();
    let told = |sequence, now| Entry { sequence, at: at(BACK), what: Happening::Tick(Some(now)) };
    assert_eq!(ids(&engine.apply(told(3, Timestamp(due.0 - 1)))), [] as [&str; 0]);
    assert_eq!(ids(&engine.apply(told(4, due))), ["t/m1/sum/ops"]);
    assert_eq!(engine.now(), due);
    engine.apply(told(5, Timestamp(i64::MAX)));
    assert_eq!(engine.now(), due, "nothing is open, so a tick changes nothing");
    engine.apply(message(6, BACK, "a.b", "m3"));
    engine.apply(message(7, BACK, "a.b", "m4"));
    assert_eq!(ids(&engine.apply(told(8, Timestamp(i64::MAX)))), ["t/m3/sum/ops"]);
    assert!(engine.now() <= due.plus(LONGEST));
}

/// A random log: messages of a few kinds, ticks and reloads, with a clock that jumps now and then.
fn logs() -> impl Strategy<Value = Vec<(u8, u8, u8, i64)>> {
    prop::collection::vec((0u8..10, 0u8..4, 0u8..6, -5i64..40), 0..80)
}

fn fold(engine: &mut Engine, log: &[(u8, u8, u8, i64)], first: usize) -> Vec<Output> {
    let mut outputs = Vec::new();
    let mut second: i64 = log[..first].iter().map(|entry| entry.3).sum();
    for (i, &(kind, tag, severity, step)) in log.iter().enumerate().skip(first) {
        second += step;
        let sequence = i as u64 + 1;
        let entry = match kind {
            0 => tick(sequence, second),
            1 => {
                let rules = Arc::new(Rules::new(random_routing(u64::from(tag))));
                Entry { sequence, at: at(second), what: Happening::Config(rules) }
            }
            2 if i > 0 => message(sequence, second, &format!("t{tag}"), &format!("m{}", i / 2)),
            _ => {
                let mut entry = message(sequence, second, &format!("t{tag}.x"), &format!("m{sequence}"));
                if let Happening::Message(received) = &mut entry.what {
                    received.message.severity = Severity::ALL[usize::from(severity)];
                }
                entry
            }
        };
        outputs.extend(engine.apply(entry));
    }
    outputs
}

fn random_routing(variant: u64) -> Routing {
    let throttled =
        Route { throttle: Some(Duration::from_secs(30 + variant)), ..route("slow", "t1.>", &["ops", "dba"]) };
    let loud = Route {
        conditions: asks(">", Some(Severity::Error)),
        stop: variant == 2,
        ..route("loud", ">", &["ops"])
    };
    let drop = Route { drop: true, ..route("drop", "t3.>", &[]) };
    let mut routing = routing(vec![throttled, loud, drop]);
    routing.dev_room = (variant == 3).then(|| "page".into());
    routing
}

proptest! {
    #[test]
    fn a_snapshot_anywhere_changes_nothing(log in logs(), cut in 0usize..80) {
        let cut = cut.min(log.len());
        let mut whole = engine(random_routing(0));
        let mut expected = fold(&mut whole, &log[..cut], 0);
        let text = serde_json::to_string(&whole.snapshot(Default::default())).unwrap();
        let mut restored = Engine::restore(serde_json::from_str(&text).unwrap(), whole.rules().clone());
        expected.extend(fold(&mut whole, &log, cut));
        let mut engine = engine(random_routing(0));
        let mut outputs = fold(&mut engine, &log[..cut], 0);
        outputs.extend(fold(&mut restored, &log, cut));
        prop_assert_eq!(&outputs, &expected);
        prop_assert_eq!(restored.snapshot(Default::default()), whole.snapshot(Default::default()));
    }

    #[test]
    fn no_message_vanishes_and_no_delivery_repeats(log in logs()) {
        let mut engine = engine(random_routing(0));
        let mut outputs = fold(&mut engine, &log, 0);
        outputs.extend(engine.apply(tick(10_000, 1_000_000)));
        let delivered: Vec<&str> = ids(&outputs);
        let distinct: BTreeSet<&str> = delivered.iter().copied().collect();
        prop_assert_eq!(delivered.len(), distinct.len(), "a delivery id came twice");
        prop_assert!(outputs.windows(2).all(|pair| pair[0].place() < pair[1].place()), "out of order");

        let messages = log.iter().filter(|entry| !matches!(entry.0, 0 | 1)).count();
        let summed: u64 = outputs.iter().filter_map(|output| match output {
            Output::Deliver(delivery) => match &delivery.content {
                Content::Summary(summary) if delivery.room != "dba" => Some(summary.count),
                _ => None,
            },
            Output::Note(_) => None,
        }).sum();
        let mut fates: BTreeSet<u64> = BTreeSet::new();
        for output in &outputs {
            if !matches!(output, Output::Deliver(d) if matches!(d.content, Content::Summary(_))) {
                fates.insert(output.place().sequence);
            }
        }
        prop_assert_eq!(fates.len(), messages, "a message left no trace");
        let throttled: BTreeSet<u64> = outputs.iter().filter_map(|output| match output {
            Output::Note(note) if note.outcome == Outcome::Throttled => Some(note.place.sequence),
            _ => None,
        }).collect();
        prop_assert!(summed >= throttled.len() as u64, "a throttled message is in no summary");
    }
}
