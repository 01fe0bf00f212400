//! The rules in force: which routes take a message, and which rooms read it. They hold no state: what is counted or held back is `state`'s.

pub mod condition;
pub mod decide;
pub mod matcher;
pub mod routing;

use std::sync::Arc;

use tellhal::fingerprint::fingerprint;

use matcher::Matcher;
use routing::Routing;

/// One configuration, ready to be asked.
#[derive(Debug)]
pub struct Rules {
    /// Content hash of the routing's text.
    pub hash: String,
    pub routing: Routing,
    matcher: Matcher,
    /// For each route its rooms, as a summary will need them.
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
