//! The record of one broker's session: the topics that it is subscribed to, and the messages that were taken from it and are
//! not acknowledged yet. Pure.
//!
//! A broker delivers again, marked as repeated and under the same packet, what was not acknowledged when a connection ended. A
//! message that is repeated is the same as one in the record with its packet and its content, and is published under that
//! one's id, so that the log has it once. Anything else is a message of its own: two equal ones in a row are two. An entry
//! leaves the record before its acknowledgement is sent: if the bridge ends in between, the message is told twice, which is
//! better than that a later equal one is taken for it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use service::platform::mqtt::Arrived;

use crate::hash::hash;

/// The record as it is stored in `HAL_BRIDGE`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Record {
    /// The filters that the broker has accepted for this session.
    pub(super) topics: Vec<String>,
    taken: BTreeMap<u16, Taken>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Taken {
    /// Topic and payload.
    content: String,
    /// The id of the message.
    id: String,
}

impl Record {
    /// Takes what has arrived in a packet, and returns the id to publish it under: `id`, or that of the same message.
    pub(super) fn take(&mut self, packet: u16, arrived: &Arrived, id: &str) -> String {
        let payload = String::from_utf8_lossy(&arrived.payload);
        let content = hash(&format!("{}\n{payload}", arrived.topic));
        let same = self.taken.get(&packet).filter(|taken| arrived.is_repeated && taken.content == content);
        let id = same.map_or_else(|| id.to_owned(), |taken| taken.id.clone());
        self.taken.insert(packet, Taken { content, id: id.clone() });
        id
    }

    /// Forgets a packet, whose acknowledgement comes next.
    pub(super) fn settle(&mut self, packet: u16) {
        self.taken.remove(&packet);
    }

    /// The filters of `topics` that are not subscribed to, and the subscriptions that are not among them.
    pub(super) fn differences(&self, topics: &[String]) -> (Vec<String>, Vec<String>) {
        let without = |these: &[String], others: &[String]| {
            these.iter().filter(|topic| !others.contains(topic)).cloned().collect()
        };
        (without(topics, &self.topics), without(&self.topics, topics))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrived(payload: &'static str, is_repeated: bool) -> Arrived {
        Arrived {
            topic: "a".into(),
            payload: payload.as_bytes().into(),
            is_retained: false,
            is_repeated,
            packet: Some(1),
        }
    }

    #[test]
    fn only_what_is_repeated_before_its_acknowledgement_is_the_same() {
        let mut record = Record::default();
        assert_eq!(record.take(1, &arrived("on", false), "A"), "A");
        assert_eq!(record.take(1, &arrived("on", true), "B"), "A", "delivered again");
        assert_eq!(record.take(1, &arrived("off", true), "C"), "C", "another content");
        assert_eq!(record.take(1, &arrived("off", false), "D"), "D", "an equal message of its own");
        assert_eq!(record.take(2, &arrived("off", true), "E"), "E", "another packet");
        record.settle(1);
        assert_eq!(record.take(1, &arrived("off", true), "F"), "F", "its packet was used again");
        let stored: Record = serde_json::from_str(&serde_json::to_string(&record).unwrap()).unwrap();
        assert_eq!(stored, record);
    }

    #[test]
    fn changed_topics_are_known() {
        let topics = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let record = Record { topics: topics(&["a", "b"]), ..Record::default() };
        assert_eq!(record.differences(&topics(&["b", "c"])), (topics(&["c"]), topics(&["a"])));
    }
}
