//! A delivery in its room's queue: whole, or a reference whose content is read from the log again. Pure.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tellhal::Tag;
use tellhal::message::{Mark, Severity};
use tellhal::timestamp::Timestamp;

use super::id::retry_of;
use super::{Content, Delivery, Place};

/// A delivery that waits for its room.
#[derive(Clone, Debug, PartialEq)]
pub enum Waiting {
    Whole(Arc<Delivery>),
    Reference(Reference),
}

/// A delivery without its content.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    pub place: Place,
    /// The stream's time of the entry that led to it.
    pub at: Timestamp,
    pub kind: Arc<Kind>,
}

/// The properties that many deliveries of a queue share.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Kind {
    pub tag: Tag,
    pub severity: Severity,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub marks: Vec<Mark>,
}

impl Waiting {
    pub fn place(&self) -> Place {
        match self {
            Waiting::Whole(delivery) => delivery.place,
            Waiting::Reference(reference) => reference.place,
        }
    }

    pub fn severity(&self) -> Severity {
        match self {
            Waiting::Whole(delivery) => delivery.severity(),
            Waiting::Reference(reference) => reference.kind.severity,
        }
    }

    /// The stream's time of the entry that led to it.
    pub fn at(&self) -> Timestamp {
        match self {
            Waiting::Whole(delivery) => delivery.at,
            Waiting::Reference(reference) => reference.at,
        }
    }
}

impl Delivery {
    /// True if the log's entry at its place has its content. A throttle's summary is in no entry, unless an operator
    /// had it delivered again.
    pub fn is_in_log(&self) -> bool {
        matches!(self.content, Content::Message(_)) || retry_of(&self.id) == Some(self.place.sequence)
    }
}

impl Kind {
    pub fn of(delivery: &Delivery) -> Self {
        let tag = match &delivery.content {
            Content::Message(message) => message.tag.clone(),
            Content::Summary(summary) => Tag::nearest(summary.tags.keys().next().map_or("", String::as_str)),
        };
        let (routes, marks) = (delivery.routes.clone(), delivery.marks.clone());
        Kind { tag, severity: delivery.severity(), routes, marks }
    }
}
