//! MQTT: each delivery as JSON on a topic, and the state of each thing that a message is about, retained, so that a client that
//! comes later knows it. A delivery is posted once the broker has acknowledged it.

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use service::config::KeyProblem;
use service::platform::mqtt::{Broker, Connection, Connections, topic_problem};
use service::platform::{Failure, Sent};
use service::secret::Pair;
use tellhal::Message;
use tellhal::message::Status;

use super::webhook::Entry;
use super::{self as room, Part, Post, Room, Shared};
use crate::delivery::{Content, Delivery};
use crate::render;

/// The number of deliveries in one post. All of them are listed: each is a message of its own.
const MOST: usize = 100;
const TOPIC: &str = "hal/ops/{source}/{tag}";
const STATE: &str = "hal/state/{source}/{key}";
/// The placeholders of topics.
const PLACES: [&str; 6] = ["room", "source", "tag", "severity", "status", "key"];
/// The first characters of a part on the wire: whether the broker retains it.
const RETAINED: &str = "retained ";
const PLAIN: &str = "message ";

/// `[rooms.NAME.mqtt]`. Rooms of one broker share one connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("additionalProperties" = false))]
pub struct Config {
    #[serde(flatten)]
    pub broker: Broker,
    /// The topic of a message, in which `{source}`, `{tag}` (with `/` for its dots), `{severity}`, `{status}`, `{key}` and `{room}` may
    /// stand; `hal/ops/{source}/{tag}` when absent.
    pub topic: Option<String>,
    /// The topic at which the broker retains the last message of a thing: of each source and key, if the message has a status.
    /// `hal/state/{source}/{key}` when absent; empty for none.
    pub state: Option<String>,
    /// The state of a thing that is resolved: `keep` when absent, so that it is seen since when it is, or `clear`.
    pub resolved: Resolved,
}

/// The retained state of a thing that is resolved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Resolved {
    /// It is retained like any other.
    #[default]
    Keep,
    /// The broker forgets it: what it retains is what is not resolved.
    Clear,
}

impl Config {
    fn topic(&self) -> &str {
        self.topic.as_deref().unwrap_or(TOPIC)
    }

    fn state(&self) -> Option<&str> {
        Some(self.state.as_deref().unwrap_or(STATE)).filter(|state| !state.is_empty())
    }
}

impl room::Settings for Config {
    fn problems(&self) -> Vec<KeyProblem> {
        let mut problems = self.broker.problems();
        problems.extend(template_problem("topic", self.topic()));
        if let Some(state) = self.state() {
            problems.extend(template_problem("state", state));
            let missing = ["{source}", "{key}"].into_iter().find(|place| !state.contains(place));
            let hint = format!("such as state = {STATE:?}");
            problems.extend(missing.map(|place| {
                KeyProblem::new("state", format!("without {place}, different things would be one"), hint)
            }));
        }
        problems
    }

    fn secrets(&self) -> Vec<Pair<'_>> {
        self.broker.secrets()
    }

    fn tls_ca(&self) -> Option<&Path> {
        self.broker.tls_ca.as_deref()
    }

    /// Without a client id of its own, each connection has another one.
    fn connection(&self) -> Option<room::Connection> {
        self.broker.client_id.as_ref()?;
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        let broker = &self.broker;
        let settings = vec![
            ("version", hasher.hash_one(broker.version)),
            ("user", hasher.hash_one(&broker.user)),
            ("password", hasher.hash_one((&broker.password, &broker.password_file))),
            ("tls_ca", hasher.hash_one(&broker.tls_ca)),
            ("tls_cert", hasher.hash_one((&broker.tls_cert, &broker.tls_key))),
        ];
        Some(room::Connection { identity: broker.identity(), settings })
    }

    fn open(&self, shared: &Shared) -> anyhow::Result<Box<dyn Room>> {
        Ok(Box::new(Mqtt::open(self, shared)?))
    }
}

fn template_problem(key: &'static str, template: &str) -> Option<KeyProblem> {
    let hint = format!("such as {key} = {:?}", if key == "topic" { TOPIC } else { STATE });
    let problem = |what: String| Some(KeyProblem::new(key, what, hint));
    if template.starts_with('{') {
        return problem(
            "it must not begin with a placeholder, since topics with $ are the broker's own".into(),
        );
    }
    let filled = filled(template, |_| "x".to_owned());
    if let Some(at) = filled.find(['{', '}']) {
        let places = PLACES.join("}, {");
        return problem(format!("{:?} is no placeholder; there are {{{places}}}", &filled[at..]));
    }
    topic_problem(&filled).and_then(problem)
}

/// The template with its values. A value is never read as a template.
fn filled(template: &str, value: impl Fn(&str) -> String) -> String {
    let (mut topic, mut rest) = (String::new(), template);
    while let Some((before, after)) = rest.split_once('{') {
        topic += before;
        let place = after.split_once('}').filter(|(name, _)| PLACES.contains(name));
        let Some((name, after)) = place else {
            topic.push('{');
            rest = after;
            continue;
        };
        topic += &value(name);
        rest = after;
    }
    topic + rest
}

/// A text as one level of a topic. Different texts are different levels.
fn level(text: &str) -> String {
    let mut level = String::new();
    for c in text.chars() {
        match c {
            '/' | '+' | '#' | '%' => level += &format!("%{:02X}", c as u32),
            c if c.is_control() => level += &format!("%{:02X}", c as u32),
            c => level.push(c),
        }
    }
    if level.is_empty() { "none".into() } else { level }
}

pub(super) struct Mqtt {
    connection: Arc<Connection>,
    topic: String,
    state: Option<String>,
    resolved: Resolved,
}

impl Mqtt {
    pub(super) fn open(config: &Config, shared: &Shared) -> anyhow::Result<Self> {
        Ok(Mqtt {
            connection: shared.of::<Connections>().get(&config.broker)?,
            topic: config.topic().to_owned(),
            state: config.state().map(str::to_owned),
            resolved: config.resolved,
        })
    }

    fn topic(&self, template: &str, delivery: &Delivery) -> String {
        filled(template, |place| match (&delivery.content, place) {
            (_, "room") => level(&delivery.room),
            (_, "severity") => delivery.severity().to_string(),
            (Content::Message(message), "source") => level(&message.source),
            (Content::Message(message), "tag") => message.tag.as_str().replace('.', "/"),
            (Content::Message(message), "status") => level(&status(message)),
            (Content::Message(message), "key") => level(message.key.as_deref().unwrap_or_default()),
            (Content::Summary(summary), "source") => level(summary.source.as_deref().unwrap_or("relay")),
            (Content::Summary(_), "tag") => "relay/summary".into(),
            _ => level(""),
        })
    }

    /// The message of a delivery, and the state of its thing.
    fn parts(&self, delivery: &Delivery, post: &Post) -> Vec<Part> {
        let lone = Post { listed: vec![delivery.clone()], counted: None, ..post.clone() };
        let body = serde_json::to_string(&Entry::of(delivery, false)).unwrap_or_default();
        let topic = self.topic(&self.topic, delivery);
        let part =
            |shown: String, wire: String| Part { shown, wire, plain: None, id: post.id.clone(), file: None };
        let mut parts = vec![part(render::lines(&lone).join("\n"), format!("{PLAIN}{topic}\n{body}"))];
        if let (Some(state), Content::Message(message)) = (&self.state, &delivery.content)
            && message.key.is_some()
            && let Some(status) = message.status
        {
            let topic = self.topic(state, delivery);
            let clears = status == Status::Resolved && self.resolved == Resolved::Clear;
            let body = if clears { "" } else { body.as_str() };
            let shown = format!("retained at {}", service::text::one_line(&topic));
            parts.push(part(shown, format!("{RETAINED}{topic}\n{body}")));
        }
        parts
    }
}

fn status(message: &Message) -> String {
    message.status.map(|status| status.to_string()).unwrap_or_default()
}

#[async_trait]
impl Room for Mqtt {
    fn listed(&self) -> usize {
        MOST
    }

    fn most(&self) -> usize {
        MOST
    }

    /// One part a message. What is only counted, which a room without a limit never has, is a message of the relay.
    fn render(&self, post: &Post) -> Vec<Part> {
        let mut parts: Vec<Part> =
            post.listed.iter().flat_map(|delivery| self.parts(delivery, post)).collect();
        if let Some(counted) = &post.counted {
            let topic = filled(&self.topic, |place| match place {
                "room" => level(&post.room),
                "source" => "relay".into(),
                "tag" => "relay/counted".into(),
                "severity" => counted.worst.to_string(),
                _ => level(""),
            });
            let body = serde_json::json!({ "v": 1, "counted": counted });
            let shown = render::lines(post).pop().unwrap_or_default();
            parts.push(Part {
                shown,
                wire: format!("{PLAIN}{topic}\n{body}"),
                plain: None,
                id: post.id.clone(),
                file: None,
            });
        }
        parts
    }

    async fn send(&self, part: &Part) -> Result<Sent, Failure> {
        let unsendable = || Failure::Permanent { reason: "the message has no topic".into() };
        let (head, body) = part.wire.split_once('\n').ok_or_else(unsendable)?;
        let (topic, retain) = match (head.strip_prefix(RETAINED), head.strip_prefix(PLAIN)) {
            (Some(topic), _) => (topic, true),
            (_, Some(topic)) => (topic, false),
            _ => return Err(unsendable()),
        };
        self.connection.publish(topic, body.to_owned().into(), retain).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::net::TcpListener;

    use super::*;
    use crate::room::Settings as _;
    use crate::room::conformance::{self, Decision, decision};

    fn config(more: &str) -> Config {
        toml::from_str(&format!("url = 'mqtt://127.0.0.1:1'\n{more}")).unwrap()
    }

    fn open(config: &Config) -> Mqtt {
        Mqtt::open(config, &Shared::default()).unwrap()
    }

    #[test]
    fn conforms_to_the_kit() {
        conformance::renders(&open(&config("")), 2 << 20, &["\0", "\x01", "\x1b"]);
    }

    fn wires(more: &str, key: Option<&str>, status: Option<Status>) -> Vec<String> {
        let mut message = conformance::message("hello");
        (message.key, message.status) = (key.map(str::to_owned), status);
        let parts = open(&config(more)).render(&Post::single(conformance::delivery("m1", message)));
        let head = |part: Part| match part.wire.split_once('\n') {
            Some((head, "")) => format!("{head} cleared"),
            Some((head, body)) => {
                assert!(serde_json::from_str::<serde_json::Value>(body).unwrap()["text"] == "hello");
                head.to_owned()
            }
            None => part.wire,
        };
        parts.into_iter().map(head).collect()
    }

    #[test]
    fn a_message_of_a_thing_is_its_state() {
        let (failed, resolved) = (Some(Status::Failed), Some(Status::Resolved));
        for (more, key, status, wanted) in [
            ("", None, failed, &["message hal/ops/db1/backup/mysql"][..]),
            ("", Some("disk"), None, &["message hal/ops/db1/backup/mysql"]),
            (
                "",
                Some("disk"),
                resolved,
                &["message hal/ops/db1/backup/mysql", "retained hal/state/db1/disk"],
            ),
            (
                "topic = 'a/{status}/{severity}/{room}'\nresolved = 'clear'",
                Some("/var + 100%#\n{tag}"),
                resolved,
                &[
                    "message a/resolved/info/room",
                    "retained hal/state/db1/%2Fvar %2B 100%25%23%0A{tag} cleared",
                ],
            ),
            ("state = ''", Some("disk"), failed, &["message hal/ops/db1/backup/mysql"]),
        ] {
            assert_eq!(wires(more, key, status), wanted, "{more}");
        }
    }

    #[test]
    fn topics_that_cannot_be_are_refused_by_key() {
        for (more, wrong) in [
            ("", &[][..]),
            ("topic = 'x/{tag}'\nstate = 's/{source}/{key}/{tag}'", &[]),
            ("topic = '{tag}'\nstate = 's/{source}'", &["topic", "state"]),
            ("topic = 'x/+'", &["topic"]),
            ("topic = 'x/{host}'\nstate = 's/{source}/{key}/#'", &["topic", "state"]),
        ] {
            let keys: Vec<_> = config(more).problems().iter().map(|problem| problem.key).collect();
            assert_eq!(keys, wrong, "{more}");
        }
    }

    #[tokio::test]
    async fn a_broker_that_is_away_or_silent_is_tried_later() {
        let away = open(&config(""));
        let sent = conformance::send(&away, "hello").await;
        assert_eq!(decision(&sent), Decision::Later(None), "{sent:?}");
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("url = 'mqtt://{}'", silent.local_addr().unwrap());
        let room = open(&toml::from_str(&url).unwrap());
        let began = Instant::now();
        let sent = conformance::send(&room, "hello").await;
        assert_eq!(decision(&sent), Decision::Later(None), "{sent:?}");
        assert!(began.elapsed() < room.timeout());
    }
}
