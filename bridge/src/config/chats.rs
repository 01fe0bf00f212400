//! Checks the chats of all files, and the rooms of the environment `dev`.

use std::collections::BTreeMap;

use service::config::{OneOrMany, joined};
use tellhal::nats::NatsConfig;
use tellhal::tag::is_token;

use super::raw::{Checks, Document, Environment};
use crate::chat::registry::Config;

/// Names that stand for something else in claims and rooms.
const RESERVED: [&str; 3] = ["page", "approval", "cursor"];
/// The first token of every subject in the environment `dev`.
const DEV: &str = "dev";

pub(super) fn check(checks: &mut Checks<'_>) -> BTreeMap<String, Config> {
    let (mut chats, mut owners) = (BTreeMap::new(), BTreeMap::<String, &Document>::new());
    for document in checks.documents {
        for name in document.names("chat") {
            let key = joined("chat", &name);
            if let Some(first) = owners.insert(name.clone(), document) {
                let what = format!("chat {name} is defined twice, here and at {}", first.at(&key));
                checks.problems.push(document.error(&key, what, "give one of them another name"));
                continue;
            }
            if !is_token(&name) || name.starts_with('_') || RESERVED.contains(&name.as_str()) {
                let hint = "one word of A-Z a-z 0-9 _ - that does not begin with _, other than page, approval and cursor";
                checks.problems.push(document.error(
                    &key,
                    format!("{name:?} is not a legal name for a chat"),
                    hint,
                ));
            }
            let Some(chat) = document.raw.chat.get(&name) else { continue };
            let key = format!("{key}.{}", chat.kind());
            checks.take(document, &key, chat.settings().problems(), chat.unresolved());
            chats.insert(name, chat.clone());
        }
    }
    chats
}

/// The rooms that are heard in the environment `dev`, whose subjects have a prefix of their own; `None` in production.
pub(super) fn dev_rooms(checks: &mut Checks<'_>, nats: &mut NatsConfig) -> Option<Vec<String>> {
    let environment = checks.only("environment", |raw| raw.environment).unwrap_or_default();
    let rooms = checks.only("dev_rooms", |raw| raw.dev_rooms.clone());
    if environment == Environment::Production {
        return None;
    }
    let rooms: Vec<String> =
        rooms.iter().flat_map(OneOrMany::items).map(|(_, room)| room.to_owned()).collect();
    if rooms.is_empty()
        && let Some(owner) = checks.owner("environment")
    {
        let hint = "such as dev_rooms = [\"main/#dev\"], the chat and the room in it";
        checks.problems.push(owner.error("environment", "\"dev\" needs dev_rooms, which are missing", hint));
    }
    if nats.prefix.as_deref() == Some(tellhal::subject::DEFAULT_PREFIX)
        && let Some(owner) = checks.owner("nats.prefix")
    {
        let what = "commands under development would reach the handlers of production";
        checks.problems.push(owner.error("nats.prefix", what, "leave it out for dev"));
    }
    nats.prefix.get_or_insert_with(|| DEV.to_owned());
    Some(rooms)
}
