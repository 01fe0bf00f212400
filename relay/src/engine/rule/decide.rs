//! Decides which rooms get a message: for the fold, the tests in a configuration, `explain` and the page. Throttles depend on
//! earlier messages, so they are not applied here but by the fold.

use std::collections::BTreeSet;
use std::sync::Arc;

use tellhal::message::Message;
use tellhal::timestamp::Timestamp;

use super::Rules;
use super::condition::{Asked, Reason};
use super::routing::Route;

/// The source of the relay's own messages.
pub const OWN_SOURCE: &str = "relay";

/// The decision of the rules about a message. Reasons are computed only on request.
#[derive(Debug)]
pub struct Decision<'r> {
    rules: &'r Rules,
    /// The routes that take the message, in order, up to and including the first with `stop`.
    taken: Vec<usize>,
    /// The message is about the relay's own health: the default room gets it too, whatever the routes say, since the room that
    /// they name may be the one that fails.
    is_own_health: bool,
}

/// A room that gets a message, and the routes that name it; none if it is the default room.
pub type Led<'r> = (&'r str, Vec<String>);

/// Decides about `message` at the stream's time `at`.
pub fn decide<'r>(rules: &'r Rules, message: &Message, at: Timestamp) -> Decision<'r> {
    let asked = Asked { message, at };
    let mut taken = rules.matcher.candidates(message);
    taken.retain(|&index| rules.routing.routes[index].conditions.hold_beside_trie(asked));
    if let Some(last) = taken.iter().position(|&index| rules.routing.routes[index].stop) {
        taken.truncate(last + 1);
    }
    Decision { rules, taken, is_own_health: is_own_health(message) }
}

fn is_own_health(message: &Message) -> bool {
    let mut words = message.tag.as_str().split('.');
    message.source == OWN_SOURCE && matches!(words.next(), Some("room" | "config"))
}

impl<'r> Decision<'r> {
    /// The routes that take the message.
    pub fn routes(&self) -> impl Iterator<Item = &'r Route> {
        self.taken.iter().map(|&index| &self.rules.routing.routes[index])
    }

    /// The routes that drop the message.
    pub fn drops(&self) -> impl Iterator<Item = &'r Route> {
        self.routes().filter(|route| route.drop)
    }

    /// True if no route takes the message, so that it goes to the default room.
    pub fn is_default(&self) -> bool {
        self.taken.is_empty()
    }

    /// The rooms that get the message, in the order they are named. `admit` may keep a route's message from its rooms.
    pub fn rooms(&self, mut admit: impl FnMut(&'r Route, &'r Arc<[String]>) -> bool) -> Vec<Led<'r>> {
        let mut rooms: Vec<Led> = Vec::new();
        for &index in &self.taken {
            let (route, named) = (&self.rules.routing.routes[index], &self.rules.rooms[index]);
            if !route.drop && admit(route, named) {
                named.iter().for_each(|room| add(&mut rooms, room, &route.name));
            }
        }
        let fallback = self.rules.routing.fallback();
        if self.goes_to_default() && !rooms.iter().any(|(room, _)| *room == fallback) {
            rooms.push((fallback, Vec::new()));
        }
        rooms
    }

    /// The rooms that would get the message in production.
    pub fn rooms_before_dev(&self) -> BTreeSet<&'r str> {
        let leading = self.routes().filter(|route| !route.drop);
        let default = self.goes_to_default().then_some(self.rules.routing.default_room.as_str());
        leading.flat_map(|route| route.rooms.iter().map(String::as_str)).chain(default).collect()
    }

    fn goes_to_default(&self) -> bool {
        self.is_default() || self.is_own_health
    }

    /// In the environment `dev`: the dev room, unless the message goes to no room.
    pub fn dev_room(&self) -> Option<&'r str> {
        self.rules.routing.dev_room.as_deref().filter(|_| !self.rooms_before_dev().is_empty())
    }

    /// All routes, including those that do not take the message, each with the verdict of its conditions and the earlier
    /// route that stopped.
    pub fn reasons<'d>(
        &'d self,
        asked: Asked<'d>,
    ) -> impl Iterator<Item = (&'r Route, Reason, Option<&'r Route>)> + 'd {
        let routes = &self.rules.routing.routes;
        let stopped = self.taken.last().copied().filter(|&last| routes[last].stop);
        routes.iter().enumerate().map(move |(index, route)| {
            let stopped = stopped.filter(|&stopped| stopped < index).map(|stopped| &routes[stopped]);
            (route, route.conditions.reason(asked), stopped)
        })
    }
}

fn add<'r>(rooms: &mut Vec<Led<'r>>, room: &'r str, route: &str) {
    match rooms.iter_mut().find(|(known, _)| *known == room) {
        Some((_, routes)) => routes.push(route.to_owned()),
        None => rooms.push((room, vec![route.to_owned()])),
    }
}
