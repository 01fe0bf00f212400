//! A waiting delivery made again from the entry of the log that led to it: the counterpart of the fold for deliveries that
//! a queue holds without their content.

use std::sync::Arc;

use tellhal::message::{Mark, Message};

use super::entry::Happening;
use super::id_by_place;
use crate::delivery::waiting::{Kind, Reference};
use crate::delivery::{Content, Delivery, Id};

/// The delivery, from the entry at its place; `None` if that entry leads to no delivery.
pub fn reread(reference: &Reference, room: &str, entry: Happening) -> Option<Delivery> {
    let (id, content) = match entry {
        Happening::Message(received) => {
            let mut message = received.message;
            if reference.kind.marks.iter().any(|mark| matches!(mark, Mark::IdTaken(_))) {
                message.id = id_by_place(reference.place.sequence);
            }
            (Id::of_message(&message.id, room), Content::Message(Arc::new(message)))
        }
        Happening::Retry(retry) => {
            (retry.delivery.id.again(reference.place.sequence), retry.delivery.content)
        }
        Happening::Tick(_) | Happening::Config(_) | Happening::Unknown => return None,
    };
    Some(delivery(reference, room, id, content))
}

/// The delivery as far as it is known when the log has lost its entry.
pub fn without_content(reference: &Reference, room: &str) -> Delivery {
    let text = "the text of this message is lost: its entry is no longer in the log";
    let mut message = Message::new("unknown", reference.kind.tag.clone(), text);
    message.id = id_by_place(reference.place.sequence);
    message.time = reference.at;
    message.severity = reference.kind.severity;
    let id = Id::of_message(&message.id, room);
    delivery(reference, room, id, Content::Message(Arc::new(message)))
}

fn delivery(reference: &Reference, room: &str, id: Id, content: Content) -> Delivery {
    let Kind { routes, marks, .. } = (*reference.kind).clone();
    let (place, at, room) = (reference.place, reference.at, room.to_owned());
    Delivery { id, room, place, at, routes, marks, content }
}
