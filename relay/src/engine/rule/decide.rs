//! The one answer to "which rooms read this message": for the fold, the tests in a configuration, `explain` and
//! the page. What depends on earlier messages (throttles) is not decided here: the fold applies it to the decision.

use std::collections::BTreeSet;
use std::sync::Arc;

use tellhal::message::Message;
use tellhal::timestamp::Timestamp;

use super::Rules;
use super::condition::{Asked, Reason};
use super::routing::Route;

/// What the rules say to a message. Reasons are worked out only when they are asked for.
#[derive(Debug)]
pub struct Decision<'r> {
    rules: &'r Rules,
    /// The routes that take it, in order, up to and with the first that says `stop`.
    taken: Vec<usize>,
}

/// A room that is to read a message, and the routes that name it; none when it is the default room.
pub type Led<'r> = (&'r str, Vec<String>);

/// Decides about `message` at the stream's time `at`.
pub fn decide<'r>(rules: &'r Rules, message: &Message, at: Timestamp) -> Decision<'r> {
    let asked = Asked { message, at };
    let mut taken = rules.matcher.candidates(message);
    taken.retain(|&index| rules.routing.routes[index].conditions.hold_beside_trie(asked));
    if let Some(last) = taken.iter().position(|&index| rules.routing.routes[index].stop) {
        taken.truncate(last + 1);
    }
    Decision { rules, taken }
}

impl<'r> Decision<'r> {
    /// The routes that take it.
    pub fn routes(&self) -> impl Iterator<Item = &'r Route> {
        self.taken.iter().map(|&index| &self.rules.routing.routes[index])
    }

    /// The routes that take it and send it nowhere.
    pub fn drops(&self) -> impl Iterator<Item = &'r Route> {
        self.routes().filter(|route| route.drop)
    }

    /// Whether no route takes it, so that it goes to the default room.
    pub fn is_default(&self) -> bool {
        self.taken.is_empty()
    }

    /// The rooms that read it, in the order they are named. `admit` may keep a route's message from its rooms.
    pub fn rooms(&self, mut admit: impl FnMut(&'r Route, &'r Arc<[String]>) -> bool) -> Vec<Led<'r>> {
        let mut rooms: Vec<Led> = Vec::new();
        for &index in &self.taken {
            let (route, named) = (&self.rules.routing.routes[index], &self.rules.rooms[index]);
            if !route.drop && admit(route, named) {
                named.iter().for_each(|room| add(&mut rooms, room, &route.name));
            }
        }
        if self.is_default() {
            rooms.push((self.rules.routing.fallback(), Vec::new()));
        }
        rooms
    }

    /// The rooms that would read it if everything did not go to the dev room.
    pub fn rooms_before_dev(&self) -> BTreeSet<&'r str> {
        if self.is_default() {
            return [self.rules.routing.default_room.as_str()].into();
        }
        let leading = self.routes().filter(|route| !route.drop);
        leading.flat_map(|route| route.rooms.iter().map(String::as_str)).collect()
    }

    /// The room that gets everything in the environment `dev`, if this message goes anywhere.
    pub fn dev_room(&self) -> Option<&'r str> {
        self.rules.routing.dev_room.as_deref().filter(|_| !self.rooms_before_dev().is_empty())
    }

    /// Every route, those that do not take the message too, with what its conditions say to `asked`, and the route
    /// before it that stopped.
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
