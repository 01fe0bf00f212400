//! The rooms that a message would go to, and the reasons, found by the rules and the fold that decide about real messages.
//! Does not send or change anything.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use service::zone::Zone;
use tellhal::message::{Message, Received};
use tellhal::timestamp::Timestamp;

use crate::delivery::Delivery;
use crate::engine::entry::{Entry, Happening};
use crate::engine::routing::Route;
use crate::engine::rule::condition::{Asked, Reason};
use crate::engine::state::throttle;
use crate::engine::{Engine, Output, Rules, decide};
use crate::render;
use crate::room::{Post, Room};

/// One message, the verdicts on it, and its deliveries.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Explanation {
    pub message: Message,
    #[serde(flatten)]
    pub verdicts: Verdicts,
    #[serde(skip)]
    pub deliveries: Vec<Delivery>,
}

/// The verdicts of the rules on a message.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Verdicts {
    /// All routes in order, including those that do not match.
    pub routes: Vec<RouteVerdict>,
    /// The names of the routes that drop the message.
    pub dropped_by: Vec<String>,
    /// True if no route takes the message, so that it goes to the default room.
    pub by_default: bool,
    /// In the environment `dev`: the room that gets the message, and the rooms that do not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instead_of: Option<InsteadOf>,
}

/// The effect of the environment `dev` on a message.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct InsteadOf {
    pub dev_room: String,
    /// The rooms it would go to in production.
    pub rooms: Vec<String>,
}

/// The verdict of one route on a message.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RouteVerdict {
    pub name: String,
    pub verdict: Verdict,
    /// The conditions that held, in words.
    pub held: Vec<String>,
    /// The first condition that did not hold, in words, or the earlier route that stopped.
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

/// The key by which a throttle recognizes repeats of a message.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Throttled {
    pub within: String,
    /// Such as `tag=backup.mysql source=db1`.
    pub key: String,
}

/// A message as one room would show it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Shown {
    pub room: String,
    /// Such as `irc`.
    pub kind: &'static str,
    /// The routes that name it; none when it is the default room.
    pub routes: Vec<String>,
    /// The text that a reader sees, part by part.
    pub shown: Vec<String>,
    /// The reason why the text is shown without the room's own format.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plain_because: Option<String>,
}

/// The delivery as its room renders it, or as plain lines if the room could not be opened.
pub fn shown(delivery: &Delivery, zone: &Zone, kind: &'static str, room: Result<&dyn Room, String>) -> Shown {
    let post = Post { zone: zone.clone(), ..Post::single(delivery.clone()) };
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
    let routes = routes.map(|(route, reason, stopped)| verdict(route, reason, stopped, &message)).collect();
    let instead_of = decision.dev_room().map(|dev_room| InsteadOf {
        dev_room: dev_room.to_owned(),
        rooms: decision.rooms_before_dev().into_iter().map(str::to_owned).collect(),
    });
    let dropped_by = decision.drops().map(|route| route.name.clone()).collect();
    let verdicts = Verdicts { routes, dropped_by, by_default: decision.is_default(), instead_of };

    let received = Received { message: message.clone(), marks: Vec::new() };
    let entry = Entry { sequence: 1, at, what: Happening::Message(received) };
    let outputs = Engine::new(rules.clone()).apply(entry);
    let deliveries = outputs.into_iter().filter_map(delivery).collect();
    Explanation { message, verdicts, deliveries }
}

fn delivery(output: Output) -> Option<Delivery> {
    match output {
        Output::Deliver(delivery) => Some(*delivery),
        Output::Note(_) => None,
    }
}

fn verdict(route: &Route, reason: Reason, stopped: Option<&Route>, message: &Message) -> RouteVerdict {
    let Reason { held, refused } = reason;
    let (verdict, refused) = match (refused, stopped) {
        (Some(refused), _) => (Verdict::Refuses, Some(refused)),
        (None, Some(by)) => {
            (Verdict::NotAsked, Some(format!("would match, but the earlier route {} stops", by.name)))
        }
        (None, None) => (Verdict::Matches, None),
    };
    RouteVerdict {
        name: route.name.clone(),
        verdict,
        held,
        refused,
        rooms: route.rooms.clone(),
        stop: route.stop,
        drop: route.drop,
        throttle: route.throttle.map(|within| Throttled {
            within: humantime::format_duration(within).to_string(),
            key: throttle::words(route, message),
        }),
    }
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
    fn a_verdict_has_the_conditions_that_held_and_the_first_that_refused() {
        let fits = |message: &mut Message| {
            message.severity = tellhal::Severity::Error;
            message.fields.insert("env".into(), "prod".into());
        };
        let yes = about("", "backup.mysql", fits);
        assert_eq!(rooms(&yes), ["ops", "dba"]);
        let [backups, slow, noise] = &yes.verdicts.routes[..] else { panic!("{:?}", yes.verdicts.routes) };
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
        assert_eq!(slow.refused.as_deref(), Some("would match, but the earlier route backups stops"));

        let no = about("", "backup.mysql", |message| {
            fits(message);
            message.fields.insert("env".into(), "dev".into());
        });
        assert_eq!(
            no.verdicts.routes[0].refused.as_deref(),
            Some("field env is \"dev\", not \"prod\" or \"stage\"")
        );
        assert_eq!(rooms(&no), ["dba"]);
    }

    #[test]
    fn verdicts_name_the_default_room_the_drop_and_the_dev_room() {
        let alone = about("", "deploy", |message| message.text = "fine".into());
        assert!(alone.verdicts.by_default);
        assert_eq!(rooms(&alone), ["page"]);

        let dropped = about("", "noise", |message| message.text = "fine".into());
        assert!(rooms(&dropped).is_empty());
        assert_eq!(dropped.verdicts.dropped_by, ["noise"]);

        let dev = about("environment = \"dev\"\ndev_room = \"page\"\n", "deploy", |_| {});
        assert_eq!(rooms(&dev), ["page"]);
        assert_eq!(dev.verdicts.instead_of.unwrap().rooms, ["dba"]);
    }
}
