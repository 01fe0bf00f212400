//! The webhook against the kit, Standard Webhooks' own vector, and addresses it must not reach.

use super::*;
use crate::delivery::Place;
use crate::room::Settings as _;
use crate::room::conformance::{self, Behaviour, Decision, Server, decision};

const KEY: &str = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const PATH: &str = "/in/very-secret-path?key=hidden-in-query";

fn open(url: &str) -> Box<dyn Room> {
    let toml = format!(
        "url = '{url}{PATH}'\nsecret = 'whsec_{KEY}'\nallow_private = true\nheaders = {{ Authorization = 'Bearer hidden-bearer' }}"
    );
    Box::new(Webhook::open(&toml::from_str(&toml).unwrap()).unwrap())
}

#[tokio::test]
async fn passes_the_kit() {
    conformance::renders(&*open("http://127.0.0.1"), 2 * 1024 * 1024, &["\n", "\0", "\x01", "\x1b"]);
    let secrets = ["very-secret-path", "hidden-in-query", "hidden-bearer", KEY];
    conformance::over_http(open, "", &secrets, Decision::Unknown).await;
}

#[test]
fn signs_as_standard_webhooks() {
    let key = key(&Secret::new(format!("whsec_{KEY}"))).unwrap();
    let signature = sign(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
    assert_eq!(signature, "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

#[tokio::test]
async fn a_post_is_signed_and_its_id_stays() {
    let server = Server::start(Behaviour::Answer(String::new())).await;
    let room = open(&server.url);
    let parts = room.render(&conformance::post("hello"));
    room.send(&parts[0]).await.unwrap();
    room.send(&parts[0]).await.unwrap();
    let header = |request: &str, name: &str| {
        let line = request.lines().find(|line| line.to_lowercase().starts_with(&format!("{name}: ")));
        line.map(|line| line[name.len() + 2..].to_owned()).unwrap_or_default()
    };
    for request in server.requests() {
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert_eq!(header(head, "webhook-id"), "m1/room");
        assert_eq!(header(head, "authorization"), "Bearer hidden-bearer");
        let at = header(head, "webhook-timestamp").parse().unwrap();
        let wanted = sign(&key(&Secret::new(KEY)).unwrap(), "m1/room", at, body);
        assert_eq!(header(head, "webhook-signature"), format!("v1,{wanted}"));
    }
}

#[test]
fn the_body_holds_each_text_once() {
    let room = open("http://127.0.0.1");
    let mut post = conformance::backlog(3);
    post.listed.push(Delivery {
        id: "r/m1/sum/room".into(),
        room: "room".into(),
        place: Place::default(),
        at: Timestamp(0),
        routes: vec![],
        marks: vec![],
        content: Content::Summary(Summary {
            route: "r".into(),
            first_id: "m1".into(),
            count: 2,
            first: Timestamp(0),
            last: Timestamp(1),
            severity: tellhal::Severity::Error,
            tags: [("a".into(), 2)].into(),
            source: None,
            headline: "again".into(),
        }),
    });
    let wire = &room.render(&post)[0].wire;
    assert_eq!(wire.matches("message number 1").count(), 1);
    let body: serde_json::Value = serde_json::from_str(wire).unwrap();
    assert_eq!((&body["v"], &body["room"]), (&1.into(), &"room".into()));
    assert_eq!(body["messages"].as_array().unwrap().len(), 4);
    assert_eq!(body["messages"][0]["text"], "message number 0");
    assert_eq!(body["messages"][0]["tag"], "backup.mysql");
    assert_eq!(body["messages"][0]["delivery"], "m1/room");
    assert_eq!(body["messages"][3]["summary"]["count"], 2);
    assert_eq!(body["counted"]["count"], 4321);
    let read: Message = serde_json::from_value(body["messages"][0].clone()).unwrap();
    assert_eq!(read.text, "message number 0");
}

#[test]
fn another_backlog_has_another_id() {
    let room = open("http://127.0.0.1");
    let id = |post: &Post| room.render(post)[0].id.clone();
    assert_eq!(id(&conformance::backlog(3)), id(&conformance::backlog(3)));
    assert_ne!(id(&conformance::backlog(3)), id(&conformance::backlog(4)));
    assert_eq!(id(&conformance::post("x")), "m1/room");
}

#[tokio::test]
async fn private_addresses_are_refused_unless_allowed() {
    let server = Server::start(Behaviour::Answer(String::new())).await;
    let port = server.url.rsplit(':').next().unwrap();
    for host in ["127.0.0.1", "localhost", "[::1]", "2130706433", "0x7f.1"] {
        let toml = format!("url = 'https://{host}:{port}/x'");
        let room = Webhook::open(&toml::from_str(&toml).unwrap()).unwrap();
        let answer = conformance::send(&room, "x").await;
        assert_eq!(decision(&answer), Decision::Auth, "{host}: {answer:?}");
        assert!(answer.unwrap_err().to_string().contains("allow_private"), "{host}");
    }
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn an_endless_answer_is_not_read() {
    let server = Server::start(Behaviour::Endless).await;
    assert_eq!(decision(&conformance::send(&*open(&server.url), "x").await), Decision::Sent);
}

#[test]
fn settings_that_cannot_work_are_refused_by_key() {
    let keys = |toml: &str| -> Vec<&str> {
        toml::from_str::<Config>(toml).unwrap().problems().iter().map(|problem| problem.key).collect()
    };
    let none: [&str; 0] = [];
    assert_eq!(keys("url = 'http://127.0.0.1:9000/in'\nallow_private = true"), none);
    assert_eq!(keys("url_file = '/x'\nsecret = '${S}'\nheaders = { X-A = '${A}' }"), none);
    assert_eq!(keys(""), ["url"]);
    assert_eq!(keys("url = 'http://example.com/in'"), ["url"]);
    assert_eq!(keys("url = 'https://10.0.0.1/in'"), ["url"]);
    assert_eq!(keys("url = 'http://localhost/in'"), ["url"]);
    assert_eq!(keys("url = 'https://a'\nsecret = 'short'"), ["secret"]);
    assert_eq!(
        keys("url = 'https://a'\nheaders = { Host = 'x', 'a b' = 'y', Webhook-Id = 'z' }"),
        ["headers"; 3]
    );
}
