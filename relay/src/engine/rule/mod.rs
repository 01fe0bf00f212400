//! The rules in force: which routes take a message. They hold no state: what is counted or held back is `state`'s.

pub mod matcher;
pub mod routing;

use std::sync::Arc;

use tellhal::message::Message;

use super::hash;
use matcher::Matcher;
use routing::Routing;

/// One configuration, ready to be asked.
#[derive(Debug)]
pub struct Rules {
    /// Content hash of the routing's text.
    pub hash: String,
    pub routing: Routing,
    pub matcher: Matcher,
    /// For each route its rooms, as a summary will need them.
    pub(super) rooms: Vec<Arc<[String]>>,
}

impl Rules {
    /// Fails on a regular expression that does not compile, which a checked configuration does not have.
    pub fn new(routing: Routing) -> Result<Self, regex::Error> {
        let text = routing.text();
        let matcher = Matcher::new(&routing)?;
        let rooms = routing.routes.iter().map(|route| routing.redirect(&route.rooms).into()).collect();
        Ok(Rules { hash: hash(&[text.as_bytes()]), routing, matcher, rooms })
    }

    /// The routes that take the message, in order, up to and with the first that says `stop`.
    pub fn routes(&self, message: &Message) -> Vec<usize> {
        let mut routes = self.matcher.matches(message);
        if let Some(last) = routes.iter().position(|&index| self.matcher.route(index).stop) {
            routes.truncate(last + 1);
        }
        routes
    }
}
