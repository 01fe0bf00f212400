//! Schedules end to end: messages and commands at their times, once with two bridges of which one is killed, and the chat commands
//! about them.

#![expect(clippy::unwrap_used, reason = "in a test a failed step is a failed test")]

use std::collections::BTreeMap;
use std::time::Duration;

use tellhal::Message;
use tests::wait::SOON;
use tests::{Bridge, NatsServer, ask, wait_until};
use tokio::time::sleep;

const PULSE: &str = "[[schedules]]\nname = \"pulse\"\nevery = \"1s\"\ntag = \"hal.pulse\"\ntext = \"alive\"\ncatch_up = \"30s\"\n";
const OPERATOR: &str = "[[people]]\nname = \"ann\"\nroles = [\"operator\"]\npage = \"ann\"\n[[commands]]\nname = \"*\"\nallow = [\"operator\"]\n";

/// All messages of the log.
async fn messages(nats: &NatsServer) -> Vec<(String, Message)> {
    let stream = nats.jetstream().await.get_stream("HAL_OPS").await.unwrap();
    let last = stream.cached_info().state.last_sequence;
    let mut all = Vec::new();
    for sequence in 1..=last {
        let message = stream.get_raw_message(sequence).await.unwrap();
        all.push((message.subject.to_string(), serde_json::from_slice(&message.payload).unwrap()));
    }
    all
}

/// The messages with a tag.
async fn told(nats: &NatsServer, tag: &str) -> Vec<Message> {
    let all = messages(nats).await.into_iter();
    all.filter(|(subject, _)| *subject == format!("hal.ops.bridge.{tag}"))
        .map(|(_, message)| message)
        .collect()
}

#[tokio::test]
async fn each_due_time_is_one_message_whichever_bridge_is_killed() {
    let nats = NatsServer::start().await;
    nats.create_log().await;
    let mut bridges = [Bridge::start(&nats.url(), PULSE).await, Bridge::start(&nats.url(), PULSE).await];
    for n in 0..6 {
        sleep(Duration::from_millis(fastrand::u64(300..1500))).await;
        let bridge = &mut bridges[n % 2];
        bridge.process().kill();
        bridge.restart().await;
    }
    let before = told(&nats, "hal.pulse").await.len();
    let goes_on = async || told(&nats, "hal.pulse").await.len() >= before + 3;
    wait_until("it goes on", SOON, goes_on).await;
    let pulses = told(&nats, "hal.pulse").await;
    let mut seconds = BTreeMap::<i64, usize>::new();
    let mut missed = 0;
    for pulse in &pulses {
        // A message that is caught up says which due time it is of.
        let due = pulse.fields.get("due").map_or(pulse.time, |due| due.parse().unwrap());
        *seconds.entry(due.0.div_euclid(1000)).or_default() += 1;
        missed += pulse.fields.get("missed").map_or(0, |missed| missed.parse().unwrap());
    }
    assert!(seconds.values().all(|count| *count == 1), "{seconds:?}");
    let span = seconds.keys().last().unwrap() - seconds.keys().next().unwrap() + 1;
    assert_eq!(span, i64::try_from(seconds.len()).unwrap() + missed, "{seconds:?}");
}

#[tokio::test]
async fn a_command_is_given_by_the_person_who_acts_for_the_schedule() {
    let nats = NatsServer::start().await;
    nats.create_log().await;
    let job = |name: &str| {
        format!(
            "[[schedules]]\nname = \"{name}\"\nevery = \"1s\"\ncommand = \"jobs nightly\"\ntag = \"report.{name}\"\n"
        )
    };
    let clock = "[[people]]\nname = \"clock\"\nroles = [\"reporter\"]\nschedule = \"nightly\"\n\
                 [[commands]]\nname = \"jobs\"\nallow = [\"reporter\"]\n";
    let config = format!("{}{}{clock}", job("nightly"), job("stranger"));
    let _bridge = Bridge::start(&nats.url(), &config).await;
    let both = async || {
        !told(&nats, "report.nightly").await.is_empty() && !told(&nats, "report.stranger").await.is_empty()
    };
    wait_until("both have answered", SOON, both).await;
    let answer = told(&nats, "report.nightly").await.remove(0);
    assert!(answer.text.contains("every 1s") && answer.status.is_none(), "{answer:?}");
    let denied = told(&nats, "report.stranger").await.remove(0);
    assert!(denied.text.contains("you may not give jobs"), "{denied:?}");
    assert_eq!(denied.status, Some(tellhal::Status::Failed));
}

#[tokio::test]
async fn schedules_are_listed_run_paused_and_resumed_from_a_chat() {
    let nats = NatsServer::start().await;
    nats.create_log().await;
    let yearly = "[[schedules]]\nname = \"party\"\nat = \"10:00\"\ndate = \"2099-12-24\"\nzone = \"Europe/Berlin\"\ntext = \"cake\"\n";
    let config = format!("{yearly}{PULSE}{OPERATOR}");
    let mut bridge = Bridge::start(&nats.url(), &config).await;
    let _other = Bridge::start(&nats.url(), &config).await;
    let is_due = async || !told(&nats, "hal.pulse").await.is_empty();
    wait_until("the pulse is told", SOON, is_due).await;
    let listed = ask(&nats, "ann", "jobs").await.0;
    assert!(listed.contains("party     2099-12-24 10:00 Europe/Berlin  2099-12-24 09:00:00Z  -"), "{listed}");
    assert!(listed.contains("every 1s") && listed.contains("told"), "{listed}");

    assert_eq!(ask(&nats, "ann", "run-job party").await, ("party is due now".to_owned(), false));
    let is_told = async || told(&nats, "schedule.party").await.len() == 1;
    wait_until("the party is told", SOON, is_told).await;
    let party = told(&nats, "schedule.party").await.remove(0);
    assert_eq!((party.text.as_str(), party.fields["by"].as_str()), ("cake", "ann"));

    assert!(!ask(&nats, "ann", "pause pulse 1h").await.1);
    assert!(ask(&nats, "ann", "jobs pulse").await.0.contains("paused by ann until"));
    // At most one more was under way.
    let before = told(&nats, "hal.pulse").await.len();
    sleep(Duration::from_millis(2500)).await;
    assert!(told(&nats, "hal.pulse").await.len() <= before + 1);
    // A pause outlives the bridges.
    bridge.process().kill();
    bridge.restart().await;
    assert!(ask(&nats, "ann", "jobs pulse").await.0.contains("paused by ann until"));
    let before = told(&nats, "hal.pulse").await.len();
    assert_eq!(ask(&nats, "ann", "resume pulse").await, ("pulse goes on".to_owned(), false));
    let goes_on = async || told(&nats, "hal.pulse").await.len() >= before + 2;
    wait_until("the pulse goes on", SOON, goes_on).await;

    assert_eq!(ask(&nats, "ann", "resume pulse").await, ("pulse is not paused".to_owned(), true));
    assert_eq!(
        ask(&nats, "ann", "run-job partty").await,
        ("there is no schedule partty; did you mean party?".to_owned(), true)
    );
    assert!(ask(&nats, "ann", "pause pulse soon").await.1);
}

#[tokio::test]
async fn a_due_time_that_the_bus_missed_is_caught_up_and_says_so() {
    let mut nats = NatsServer::start().await;
    nats.create_log().await;
    let _bridge = Bridge::start(&nats.url(), &PULSE.replace("1s", "3s")).await;
    let is_due = async || !told(&nats, "hal.pulse").await.is_empty();
    wait_until("the pulse is told", SOON, is_due).await;
    nats.kill();
    sleep(Duration::from_secs(14)).await;
    nats.restart().await;
    let caught_up =
        async || told(&nats, "hal.pulse").await.iter().any(|pulse| pulse.fields.contains_key("missed"));
    wait_until("it is caught up", SOON, caught_up).await;
}

#[tokio::test]
async fn a_reload_changes_schedules_and_leaves_others_and_their_pauses() {
    let nats = NatsServer::start().await;
    nats.create_log().await;
    let config = format!("{PULSE}{OPERATOR}");
    let mut bridge = Bridge::start(&nats.url(), &config).await;
    let is_due = async || !told(&nats, "hal.pulse").await.is_empty();
    wait_until("the pulse is told", SOON, is_due).await;
    assert!(!ask(&nats, "ann", "pause pulse").await.1);
    let other = PULSE.replace("pulse", "beat");
    bridge.reload(&nats.url(), &format!("{config}{other}"));
    let beats = async || told(&nats, "hal.beat").await.len() >= 2;
    wait_until("the new schedule is told", SOON, beats).await;
    assert!(ask(&nats, "ann", "jobs pulse").await.0.contains("paused by ann"));
    bridge.reload(&nats.url(), &config);
    let is_gone = async || ask(&nats, "ann", "jobs beat").await.0.contains("there is no schedule beat");
    wait_until("it is gone", SOON, is_gone).await;
    let before = told(&nats, "hal.beat").await.len();
    sleep(Duration::from_millis(2500)).await;
    assert_eq!(told(&nats, "hal.beat").await.len(), before);
}
