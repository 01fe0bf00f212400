//! Checks the rooms of all files: their names, their settings, and that rooms of one connection agree.

use std::collections::BTreeMap;

use service::config::joined;
use tellhal::tag::{is_token, legal_token};

use super::raw::{Checks, Document};
use crate::room::registry::{self, Config};

/// The room that is always there.
const PAGE: &str = "page";

pub(super) fn check(checks: &mut Checks) -> BTreeMap<String, Config> {
    let mut rooms = BTreeMap::from([(PAGE.to_owned(), Config::Page)]);
    let mut owners: BTreeMap<String, &Document> = BTreeMap::new();
    checks.define("room", PAGE);
    for document in checks.documents {
        for name in document.names("rooms") {
            let key = joined("rooms", &name);
            if let Some(first) = owners.insert(name.clone(), document) {
                let what = format!("room {name} is defined twice, here and at {}", first.at(&key));
                checks.problems.push(document.error(&key, what, "give one of them another name"));
                continue;
            }
            // A room with mistakes counts too, so that a route that names it is not refused as well.
            checks.define("room", &name);
            check_name(checks, document, &key, &name);
            let Some(room) = document.raw.rooms.get(&name) else { continue };
            let key = format!("{key}.{}", room.kind());
            checks.take(document, &key, room.settings().problems(), room.unresolved());
            rooms.insert(name, room.clone());
        }
    }
    for (name, problem) in registry::clashes(&rooms) {
        let Some((document, room)) = owners.get(&name).zip(rooms.get(&name)) else { continue };
        let key = format!("{}.{}", joined("rooms", &name), room.kind());
        checks.take(document, &key, vec![problem], Vec::new());
    }
    rooms
}

fn check_name(checks: &mut Checks, document: &Document, key: &str, name: &str) {
    let (what, hint) = if name == PAGE {
        ("room page is built in".to_owned(), "remove it, or choose another name for this room".to_owned())
    } else if !is_token(name) || name.starts_with('_') {
        let rule = "one word of A-Z a-z 0-9 _ - that does not begin with _";
        let hint = match legal_token(name).trim_start_matches('_') {
            "" => rule.to_owned(),
            right => format!("such as {right}: {rule}"),
        };
        (format!("{name:?} is not a legal name for a room"), hint)
    } else {
        return;
    };
    checks.problems.push(document.error(key, what, hint));
}
