//! The rooms of a configuration after they were opened, for all who ask which rooms there are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use service::zone::Zone;

use crate::room::Room;

/// The rooms of one configuration, opened.
pub struct Rooms {
    pub open: BTreeMap<String, Open>,
    /// The room for deliveries to an unknown room, and the time after which they are moved there.
    pub default_room: String,
    pub stranded_after: Duration,
    /// The time zone of the times that posts show.
    pub zone: Zone,
    /// The time after which a failing room is told.
    pub failing_after: Duration,
    /// The number of deliveries that may wait for a failing room.
    pub max_waiting: usize,
}

/// A room that was opened.
#[derive(Clone)]
pub struct Open {
    /// The kind of the room, such as `irc`.
    pub kind: &'static str,
    pub room: Arc<dyn Room>,
}
