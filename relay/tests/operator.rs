//! Tracing messages and handling dead letters over a real nats-server, without a relay.
#![allow(clippy::unwrap_used, reason = "tests")]

mod log;

use std::sync::Arc;

use async_nats::jetstream::consumer::DeliverPolicy;
use log::{make, make_log, publish};
use relay::admin::Operator;
use relay::admin::dead;
use relay::admin::trace::{Fate, Search};
use relay::delivery::{Attempts, Content, DeadLetter, Delivery, Id, Outcome, Place, Receipt};
use relay::engine::Rules;
use relay::engine::entry::Retry;
use relay::engine::routing::{Route, Routing};
use tellhal::message::Message;
use tellhal::{Names, Timestamp};
use tests::NatsServer;

/// The rooms that read every message.
const ROOMS: [&str; 3] = ["ops", "dba", "hook"];

struct Bus {
    _server: NatsServer,
    operator: Operator,
}

impl Bus {
    async fn start() -> Bus {
        let server = NatsServer::start().await;
        let (jetstream, names) = (server.jetstream().await, Names::default());
        make_log(&jetstream, &names).await;
        make(&jetstream, names.sent_stream(), vec![names.sent("*")]).await;
        make(&jetstream, names.dead_stream(), vec![names.dead("*")]).await;
        let nats = toml::from_str(&format!("url = \"{}\"", server.url_as("admin"))).unwrap();
        Bus { operator: Operator::connect(&nats).await.unwrap(), _server: server }
    }

    /// A message in the log, and one delivery of it.
    async fn tell(&self, text: &str) -> (Message, Delivery) {
        let message = Message::new("db1", "backup.mysql".parse().unwrap(), text);
        let subject = self.operator.names.ops("db1", &message.tag);
        let sequence = self.publish(subject, &message).await;
        let delivery = Delivery {
            id: Id::of_message(&message.id, "ops"),
            room: "ops".into(),
            place: Place { sequence, number: 0 },
            at: Timestamp::now(),
            routes: vec!["backups".into()],
            marks: vec![],
            content: Content::Message(std::sync::Arc::new(message.clone())),
        };
        (message, delivery)
    }

    async fn publish(&self, subject: String, body: &impl serde::Serialize) -> u64 {
        publish(&self.operator.jetstream, subject, serde_json::to_string(body).unwrap()).await
    }

    async fn post(&self, delivery: &Delivery) {
        let receipt = Receipt {
            room: "ops".into(),
            outcome: Outcome::Posted,
            listed: vec![],
            ids: vec![delivery.id.to_string()],
            place: delivery.place,
            at: Timestamp::now(),
            tries: 1,
            attempts: Attempts::default(),
            post: Some("p1".into()),
            link: None,
            possible_duplicate: false,
            reason: None,
        };
        self.publish(self.operator.names.sent("ops"), &receipt).await;
    }

    async fn bury(&self, delivery: Delivery) {
        let (room, reason) = (delivery.room.clone(), "no such channel".into());
        let (at, attempts) = (Timestamp::now(), Attempts::default());
        let letter = DeadLetter { room: room.clone(), reason, at, tries: 3, attempts, delivery };
        self.publish(self.operator.names.dead(&room), &letter).await;
    }

    async fn fate(&self, id: &str) -> Fate {
        let Search::One(located) = self.operator.find(id).await.unwrap() else { panic!("{id} is not found") };
        let routing = Routing {
            default_room: "ops".into(),
            rooms: ROOMS.map(String::from).into(),
            routes: vec![Route {
                name: "all".into(),
                rooms: ROOMS.map(String::from).into(),
                ..Route::default()
            }],
            ..Routing::default()
        };
        self.operator.fate(*located, Some(&Arc::new(Rules::new(routing)))).await.unwrap()
    }

    async fn letters(&self, room: Option<&str>) -> Vec<dead::Letter> {
        dead::list(&self.operator, room, DeliverPolicy::All).await.unwrap()
    }
}

#[tokio::test]
async fn a_message_is_found_by_id_beginning_and_sequence_with_what_became_of_it() {
    let bus = Bus::start().await;
    for n in 0..20 {
        let (_, other) = bus.tell(&format!("other {n}")).await;
        bus.post(&other).await;
    }
    let (message, delivery) = bus.tell("wanted").await;
    bus.post(&delivery).await;
    bus.bury(Delivery { id: Id::of_message(&message.id, "hook"), room: "hook".into(), ..delivery.clone() })
        .await;
    for n in 0..20 {
        let (_, other) = bus.tell(&format!("later {n}")).await;
        bus.bury(other).await;
    }
    // All of it was made within a moment, so only nearly the whole id tells.
    for id in [message.id.clone(), message.id[..35].to_owned(), format!("seq-{}", delivery.place.sequence)] {
        let fate = bus.fate(&id).await;
        assert_eq!(fate.located.message.text, "wanted", "{id}");
        let waiting: Vec<&str> = fate.waiting.iter().map(|delivery| delivery.room.as_str()).collect();
        assert_eq!(waiting, ["dba"]);
        assert_eq!(fate.receipts.len(), 1);
        assert_eq!(fate.receipts[0].post.as_deref(), Some("p1"));
        assert_eq!(fate.dead.len(), 1);
        assert_eq!(fate.dead[0].room, "hook");
    }
    assert!(matches!(bus.operator.find(&message.id[..8]).await.unwrap(), Search::Several(_)));
    assert!(matches!(bus.operator.find("00000000-none").await.unwrap(), Search::Nothing));
    assert!(matches!(bus.operator.find("seq-999").await.unwrap(), Search::Nothing));
    assert!(bus.operator.find("019").await.unwrap_err().to_string().contains("too short"));
    let foreign = publish(&bus.operator.jetstream, "hal.ops.web.x".into(), "plain").await;
    assert_eq!(bus.fate(&format!("seq-{foreign}")).await.located.message.text, "plain");
}

#[tokio::test]
async fn a_dead_letter_is_tried_again_once_and_traced() {
    let bus = Bus::start().await;
    let (message, delivery) = bus.tell("wanted").await;
    bus.bury(delivery.clone()).await;
    let letters = bus.letters(Some("ops")).await;
    let json = serde_json::to_value(&letters).unwrap();
    assert_eq!(json[0]["id"], delivery.id.as_str());
    assert_eq!(json[0]["room"], "ops");
    assert_eq!(json[0]["reason"], "no such channel");
    assert_eq!(json[0]["message"]["text"], "wanted");

    dead::retry(&bus.operator, &letters[0], "alice").await.unwrap();
    assert!(bus.letters(None).await.is_empty());
    // As after a crash between the two steps: the log takes the request once.
    let log =
        || async { bus.operator.jetstream.get_stream("HAL_OPS").await.unwrap().cached_info().state.messages };
    let before = log().await;
    let _ = dead::retry(&bus.operator, &letters[0], "alice").await;
    assert_eq!(log().await, before);

    let entry =
        bus.operator.jetstream.get_stream("HAL_OPS").await.unwrap().get_raw_message(before).await.unwrap();
    assert_eq!(entry.subject.as_str(), "hal.ctl.retry");
    let retry: Retry = serde_json::from_slice(&entry.payload).unwrap();
    assert_eq!((retry.delivery, retry.room.as_str()), (delivery.clone(), "ops"));
    assert_eq!(retry.reason, "tried again by alice; before: no such channel");
    let fate = bus.fate(&message.id).await;
    assert_eq!((fate.retries.len(), fate.dead.len()), (1, 0));
    let again = |waiting: &&Delivery| waiting.id == delivery.id.again(before);
    assert!(fate.waiting.iter().any(|waiting| again(&waiting)), "{:?}", fate.waiting);
}

#[tokio::test]
async fn giving_up_leaves_a_receipt_and_the_unreadable_cannot_be_tried_again() {
    let bus = Bus::start().await;
    let (message, delivery) = bus.tell("unwanted").await;
    bus.bury(delivery).await;
    publish(
        &bus.operator.jetstream,
        bus.operator.names.dead("_inbox"),
        r#"{"reason":"bad subject","payload":"x"}"#,
    )
    .await;
    let letters = bus.letters(None).await;
    assert_eq!((letters[1].room.as_str(), letters[1].reason.as_str()), ("_inbox", "bad subject"));
    assert_eq!(letters[1].message, "x");
    assert!(
        dead::retry(&bus.operator, &letters[1], "alice")
            .await
            .unwrap_err()
            .to_string()
            .contains("cannot be retried")
    );
    for letter in &letters {
        dead::drop(&bus.operator, letter, "alice").await.unwrap();
    }
    assert!(bus.letters(None).await.is_empty());
    let fate = bus.fate(&message.id).await;
    assert_eq!(fate.receipts[0].outcome, Outcome::Dropped);
    let reason = fate.receipts[0].reason.as_deref();
    assert_eq!(reason, Some("dead letter given up by alice: no such channel"));
}
