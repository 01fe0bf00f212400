//! What would happen to a message under a configuration, and why: the same rules and the same fold that
//! decide about real messages, asked about one. Sends nothing and changes nothing.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use tellhal::message::{Message, Received};
use tellhal::timestamp::Timestamp;

use crate::delivery::Delivery;
use crate::engine::entry::{Entry, Happening};
use crate::engine::routing::{Route, ThrottleBy};
use crate::engine::rule::condition::{Asked, Reason};
use crate::engine::{Engine, Output, Rules, decide};
use crate::render;
use crate::room::{Post, Room};

/// Everything about one message.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Explanation {
    pub message: Message,
    #[serde(flatten)]
    pub said: Said,
    /// What is posted.
    #[serde(skip)]
    pub deliveries: Vec<Delivery>,
}

/// What the rules say to it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Said {
    /// Every route in order, those that do not match too.
    pub routes: Vec<RouteSaid>,
    /// The names of the routes that drop it.
    pub dropped_by: Vec<String>,
    /// No route takes it, so it goes to the default room.
    pub by_default: bool,
    /// The room that gets everything in the environment `dev`, instead of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instead_of: Option<InsteadOf>,
}

/// The environment `dev` at work.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct InsteadOf {
    pub dev_room: String,
    /// Where it would have gone.
    pub rooms: Vec<String>,
}

/// What one route says to the message.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RouteSaid {
    pub name: String,
    pub verdict: Verdict,
    /// The conditions that held, in words.
    pub held: Vec<String>,
    /// The first that did not, in words; or why the route was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    pub rooms: Vec<String>,
    pub stop: bool,
    pub drop: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttle: Option<Throttled>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Matches,
    Refuses,
    /// An earlier route stopped.
    NotAsked,
}

/// What a throttle would count as a repeat of this message.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Throttled {
    pub within: String,
    /// Such as `tag=backup.mysql source=db1`.
    pub key: String,
}

/// What one room would show.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Shown {
    pub room: String,
    /// Such as `irc`.
    pub kind: &'static str,
    /// The routes that name it; none when it is the default room.
    pub routes: Vec<String>,
    /// What a reader sees, part by part.
    pub shown: Vec<String>,
    /// Why the room's own look is not known here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plain_because: Option<String>,
}

/// The delivery as its room renders it; where the room could not be opened, as every room would read it.
pub fn shown(delivery: &Delivery, kind: &'static str, room: Result<&dyn Room, String>) -> Shown {
    let post = Post::single(delivery.clone());
    let (shown, plain_because) = match room {
        Ok(room) => (room.render(&post).into_iter().map(|part| part.shown).collect(), None),
        Err(reason) => (vec![render::lines(&post).join("\n")], Some(reason)),
    };
    let (room, routes) = (delivery.room.clone(), delivery.routes.clone());
    Shown { room, kind, routes, shown, plain_because }
}

/// Explains `message`, as if it came at `at` and nothing had come before.
pub fn explain(rules: &Arc<Rules>, message: Message, at: Timestamp) -> Explanation {
    let decision = decide(rules, &message, at);
    let asked = Asked { message: &message, at };
    let routes = decision.reasons(asked);
    let routes = routes.map(|(route, reason, stopped)| said(route, reason, stopped, &message)).collect();
    let instead_of = decision.dev_room().map(|dev_room| InsteadOf {
        dev_room: dev_room.to_owned(),
        rooms: decision.rooms_before_dev().into_iter().map(str::to_owned).collect(),
    });
    let dropped_by = decision.drops().map(|route| route.name.clone()).collect();
    let said = Said { routes, dropped_by, by_default: decision.is_default(), instead_of };

    let received = Received { message: message.clone(), marks: Vec::new() };
    let entry = Entry { sequence: 1, at, what: Happening::Message(received) };
    let outputs = Engine::new(rules.clone()).apply(entry);
    let deliveries = outputs.into_iter().filter_map(delivery).collect();
    Explanation { message, said, deliveries }
}

fn delivery(output: Output) -> Option<Delivery> {
    match output {
        Output::Deliver(delivery) => Some(*delivery),
        Output::Note(_) => None,
    }
}

fn said(route: &Route, reason: Reason, stopped: Option<&Route>, message: &Message) -> RouteSaid {
    let Reason { held, refused } = reason;
    let (verdict, refused) = match (refused, stopped) {
        (Some(refused), _) => (Verdict::Refuses, Some(refused)),
        (None, Some(by)) => {
            (Verdict::NotAsked, Some(format!("would match, but route {} said stop", by.name)))
        }
        (None, None) => (Verdict::Matches, None),
    };
    RouteSaid {
        name: route.name.clone(),
        verdict,
        held,
        refused,
        rooms: route.rooms.clone(),
        stop: route.stop,
        drop: route.drop,
        throttle: route.throttle.map(|within| Throttled {
            within: humantime::format_duration(within).to_string(),
            key: throttle_key(route, message),
        }),
    }
}

fn throttle_key(route: &Route, message: &Message) -> String {
    let by: &[ThrottleBy] = match route.throttle_by.as_slice() {
        [] => &[ThrottleBy::Tag, ThrottleBy::Source],
        by => by,
    };
    let part = |by: &ThrottleBy| {
        let (name, value): (&str, Option<&str>) = match by {
            ThrottleBy::Tag => ("tag", Some(message.tag.as_str())),
            ThrottleBy::Source => ("source", Some(&message.source)),
            ThrottleBy::Severity => ("severity", Some(message.severity.as_str())),
            ThrottleBy::Key => ("key", message.key.as_deref()),
            ThrottleBy::Status => ("status", message.status.map(|status| status.as_str())),
            ThrottleBy::Title => ("title", message.title.as_deref()),
            ThrottleBy::Host => ("host", message.host.as_deref()),
            ThrottleBy::Field(name) => {
                let value = message.fields.get(name).map_or("-", String::as_str);
                return format!("field.{name}={value}");
            }
        };
        format!("{name}={}", value.unwrap_or("-"))
    };
    by.iter().map(part).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use service::config::Configuration as _;

    use crate::config::Config;

    const RULES: &str = r#"
        default_room = "page"
        [rooms.ops.console]
        [rooms.dba.console]
        [[routes]]
        name = "backups"
        tag = "backup.>"
        severity = "warning"
        fields = { env = ["prod", "stage"] }
        rooms = ["ops", "dba"]
        throttle = "10m"
        stop = true
        [[routes]]
        name = "slow"
        text = "slow \\d+"
        rooms = "dba"
        [[routes]]
        name = "noise"
        tag = "noise"
        drop = true
    "#;

    fn about(more: &str, tag: &str, change: impl Fn(&mut Message)) -> Explanation {
        let text = more.to_owned() + RULES;
        let config = Config::from_texts(&[("relay.toml".into(), text)]).unwrap();
        let mut message = Message::new("db1", tag.parse().unwrap(), "slow 7");
        change(&mut message);
        explain(&Arc::new(Rules::new(config.routing)), message, Timestamp(0))
    }

    fn rooms(explanation: &Explanation) -> Vec<&str> {
        explanation.deliveries.iter().map(|delivery| delivery.room.as_str()).collect()
    }

    #[test]
    fn says_what_held_and_which_condition_refused_first() {
        let fits = |message: &mut Message| {
            message.severity = tellhal::Severity::Error;
            message.fields.insert("env".into(), "prod".into());
        };
        let yes = about("", "backup.mysql", fits);
        assert_eq!(rooms(&yes), ["ops", "dba"]);
        let [backups, slow, noise] = &yes.said.routes[..] else { panic!("{:?}", yes.said.routes) };
        assert_eq!(
            backups.held,
            [
                "tag backup.mysql is covered by backup.>",
                "severity error is warning or above",
                "field env is \"prod\""
            ]
        );
        assert_eq!(backups.throttle.as_ref().unwrap().key, "tag=backup.mysql source=db1");
        assert_eq!((slow.verdict, noise.verdict), (Verdict::NotAsked, Verdict::Refuses));
        assert_eq!(slow.refused.as_deref(), Some("would match, but route backups said stop"));

        let no = about("", "backup.mysql", |message| {
            fits(message);
            message.fields.insert("env".into(), "dev".into());
        });
        assert_eq!(
            no.said.routes[0].refused.as_deref(),
            Some("field env is \"dev\", not \"prod\" or \"stage\"")
        );
        assert_eq!(rooms(&no), ["dba"]);
    }

    #[test]
    fn says_where_it_goes_by_default_by_drop_and_in_dev() {
        let alone = about("", "deploy", |message| message.text = "fine".into());
        assert!(alone.said.by_default);
        assert_eq!(rooms(&alone), ["page"]);

        let dropped = about("", "noise", |message| message.text = "fine".into());
        assert!(rooms(&dropped).is_empty());
        assert_eq!(dropped.said.dropped_by, ["noise"]);

        let dev = about("environment = \"dev\"\ndev_room = \"page\"\n", "deploy", |_| {});
        assert_eq!(rooms(&dev), ["page"]);
        assert_eq!(dev.said.instead_of.unwrap().rooms, ["dba"]);
    }
}
