//! The state that the handlers of all requests share.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use service::http::problem::Problem;
use tellhal::message::Message;
use tellhal::tag::Tag;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::access::Access;
use super::answers::Answers;
use super::shared::Shared;
use super::tail::Tail;
use crate::index::Index;
use crate::status::RoomState;

/// The longest headline, in characters.
const LONGEST: usize = 256;

/// The state shared by all requests.
pub(super) struct Site {
    pub(super) shared: Shared,
    pub(super) access: Access,
    pub(super) tail: Tail,
    pub(super) readers: Arc<Semaphore>,
    pub(super) answers: Answers,
    pub(super) exports: Arc<Semaphore>,
    pub(super) told: Mutex<Told>,
    /// The headlines of the open problems, by sequence.
    pub(super) headlines: Mutex<HashMap<u64, Arc<Headline>>>,
    pub(super) shutdown: CancellationToken,
}

/// The last answer of the server to a question that every open page asks.
#[derive(Default)]
pub(super) struct Told {
    pub(super) at: Option<Instant>,
    /// The number of dead letters; absent if the server did not tell it.
    pub(super) dead: Option<u64>,
    /// The states of the rooms as the leading relay has told them last.
    pub(super) rooms: BTreeMap<String, RoomState>,
}

/// The parts of a message that name the thing it is about.
#[derive(Serialize, JsonSchema)]
pub(super) struct Headline {
    id: String,
    source: String,
    key: String,
    tag: Tag,
    /// Its title, or the first line of its text, shortened.
    headline: String,
}

impl Headline {
    pub(super) fn of(message: &Message) -> Headline {
        Headline {
            id: message.id.clone(),
            source: message.source.clone(),
            key: message.key.clone().unwrap_or_default(),
            tag: message.tag.clone(),
            headline: message.headline().chars().take(LONGEST).collect(),
        }
    }
}

impl Site {
    pub(super) fn index(&self) -> Result<&Arc<Index>, Problem> {
        let none = |reason: &String| Problem::unavailable(format!("there is no index: {reason}"));
        self.shared.index.as_ref().map_err(none)
    }
}
