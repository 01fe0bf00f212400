//! The ids of deliveries. They are made from the message or the route and the room, so that the same fold makes the same
//! ids, and can be parsed.
//!
//! ```text
//! <message id>/<room>                 a message
//! <route>/<first id>/sum/<room>       the repeats that a throttle counted after the message <first id>
//! …/r<sequence>                       either, retried by this entry of the log
//! ```
//!
//! Message ids, routes and rooms contain no slash.

use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Serialize};

const SUMMARY: &str = "sum";
const RETRY: &str = "r";

/// The id of a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Id(String);

/// The parts of an id.
#[derive(Debug, PartialEq, Eq)]
struct Parts<'i> {
    message: &'i str,
    /// The id of the first delivery, before any retry.
    first: &'i str,
    /// The entry of the log that requested this retry.
    retry: Option<u64>,
}

impl Id {
    pub fn of_message(message: &str, room: &str) -> Self {
        Id(format!("{message}/{room}"))
    }

    pub fn of_summary(route: &str, first: &str, room: &str) -> Self {
        Id(format!("{route}/{first}/{SUMMARY}/{room}"))
    }

    /// The id of the same delivery, retried by the entry `sequence` of the log.
    pub fn again(&self, sequence: u64) -> Self {
        Id(format!("{}/{RETRY}{sequence}", read(&self.0).first))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The id of the message in a delivery's id. A message's own id is returned as it is.
pub fn message_id(id: &str) -> &str {
    read(id).message
}

/// True for the id of a throttle's summary.
pub fn is_summary(id: &str) -> bool {
    id.split('/').nth(2) == Some(SUMMARY) && id.split('/').nth(3).is_some()
}

/// The entry of the log that requested this retry; `None` for a first delivery.
pub fn retry_of(id: &str) -> Option<u64> {
    read(id).retry
}

fn read(id: &str) -> Parts<'_> {
    let mut words = id.split('/');
    let (first, second, third) = (words.next().unwrap_or(id), words.next(), words.next());
    let is_summary = third == Some(SUMMARY) && words.next().is_some();
    let last = if is_summary { words.next() } else { third };
    let number = |word: &str| word.strip_prefix(RETRY)?.parse::<u64>().ok();
    let retry = last.and_then(number);
    let message = second.filter(|_| is_summary).unwrap_or(first);
    let cut = last.filter(|_| retry.is_some()).map_or(0, |word| word.len() + 1);
    Parts { message, first: &id[..id.len().saturating_sub(cut)], retry }
}

impl Deref for Id {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Id> for String {
    fn from(id: Id) -> String {
        id.0
    }
}

/// An id from a payload or a command line; any text is one.
impl From<&str> for Id {
    fn from(text: &str) -> Id {
        Id(text.to_owned())
    }
}

impl From<String> for Id {
    fn from(text: String) -> Id {
        Id(text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_deliverys_id_tells_its_message() {
        for id in ["m-1", "m-1/ops", "m-1/ops/r7", "backups/m-1/sum/ops", "backups/m-1/sum/ops/r9"] {
            assert_eq!(message_id(id), "m-1", "{id}");
        }
        // Rooms and routes may be named `sum` or `r7` too.
        assert_eq!(message_id("m-1/sum"), "m-1");
        assert_eq!(message_id("m-1/sum/r7"), "m-1");
    }

    #[test]
    fn a_retry_replaces_the_retry_before_and_a_room_may_be_named_like_one() {
        let id = Id::of_message("m-1", "r9");
        assert_eq!((id.as_str(), retry_of(&id)), ("m-1/r9", None));
        let again = id.again(7).again(8);
        assert_eq!((again.as_str(), retry_of(&again)), ("m-1/r9/r8", Some(8)));
        let summary = Id::of_summary("backups", "m-1", "ops");
        assert_eq!(summary.as_str(), "backups/m-1/sum/ops");
        assert_eq!(summary.again(7).again(9).as_str(), "backups/m-1/sum/ops/r9");
    }

    proptest! {
        #[test]
        fn what_is_made_is_read_again(
            message in "[a-z0-9:@._-]{1,8}", room in "[a-z0-9_-]{1,4}|r[0-9]|sum", route in "[a-z0-9_-]{1,4}|sum",
            retry in any::<Option<u64>>(),
        ) {
            for id in [Id::of_message(&message, &room), Id::of_summary(&route, &message, &room)] {
                let tried = retry.map_or(id.clone(), |sequence| id.again(sequence));
                let expected = Parts { message: &message, first: id.as_str(), retry };
                prop_assert_eq!(read(&tried), expected);
            }
        }
    }
}
