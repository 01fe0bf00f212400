//! The rules in force: the routes that take a message, and the rooms that get it. They hold no state: windows and counts are
//! in `state`.

pub mod condition;
pub mod decide;
pub mod matcher;
pub mod routing;

use std::sync::Arc;

use tellhal::fingerprint::fingerprint;

use matcher::Matcher;
use routing::Routing;

/// The rules of one configuration, with their index.
#[derive(Debug)]
pub struct Rules {
    /// Content hash of the routing's text.
    pub hash: String,
    pub routing: Routing,
    matcher: Matcher,
    /// The rooms of each route, shared with its summaries.
    rooms: Vec<Arc<[String]>>,
}

impl Rules {
    pub fn new(routing: Routing) -> Self {
        let text = routing.text();
        let matcher = Matcher::new(&routing);
        let rooms = routing.routes.iter().map(|route| routing.redirect(&route.rooms).into()).collect();
        Rules { hash: fingerprint(&[text.as_bytes()]), routing, matcher, rooms }
    }
}
