//! The reminders as they are kept, all in one entry of the bridge's memory, and which of them are to be said now. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use service::zone::Zone;
use tellhal::Timestamp;

use super::asked::every;

/// The most that are kept.
pub(super) const MOST: usize = 500;
/// A reminder that a bridge has taken and not said is taken again after this time, by any bridge: the chat may be between two.
const AGAIN: Duration = Duration::from_secs(10);
/// The time after which one that no chat takes becomes an ops message.
pub(super) const GIVEN_UP: Duration = Duration::from_secs(24 * 3600);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reminder {
    /// A short word, which people type to forget it.
    pub(super) id: String,
    /// The person who asked for it.
    pub(super) by: String,
    pub(super) chat: String,
    /// The place in the chat, as the chat knows it.
    pub(super) to: String,
    /// The same for people.
    pub(super) place: String,
    pub(super) text: String,
    pub(super) due: Timestamp,
    #[serde(default)]
    pub(super) every: Option<String>,
    /// The last time at which a bridge took it to say it.
    #[serde(default)]
    pub(super) taken: Option<Timestamp>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reminders(pub(super) Vec<Reminder>);

impl Reminders {
    /// The first reminder to be said now, marked as taken.
    pub(super) fn take(&mut self, now: Timestamp) -> Option<Reminder> {
        let may = |reminder: &&mut Reminder| {
            reminder.due <= now && reminder.taken.is_none_or(|taken| now.since(taken) >= AGAIN || taken > now)
        };
        let reminder = self.0.iter_mut().filter(may).min_by_key(|reminder| reminder.due)?;
        reminder.taken = Some(now);
        Some(reminder.clone())
    }

    /// Removes a reminder that was said, or puts it to its next time.
    pub(super) fn said(&mut self, id: &str, now: Timestamp, zone: &Zone) {
        let next = |reminder: &Reminder| every(reminder.every.as_deref()?, zone).ok()?.next_after(now);
        let Some(reminder) = self.0.iter_mut().find(|reminder| reminder.id == id) else { return };
        match next(reminder) {
            Some(due) => (reminder.due, reminder.taken) = (due, None),
            None => self.0.retain(|reminder| reminder.id != id),
        }
    }

    /// The next time at which there may be something to say.
    pub(super) fn next(&self) -> Option<Timestamp> {
        let next = |reminder: &Reminder| match reminder.taken {
            Some(taken) => taken.plus(AGAIN),
            None => reminder.due,
        };
        self.0.iter().map(next).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> Timestamp {
        Timestamp(1_800_000_000_000 + minutes * 60_000)
    }

    fn reminder(id: &str, due: i64, every: Option<&str>) -> Reminder {
        let text = |text: &str| text.to_owned();
        Reminder {
            id: text(id),
            by: text("ann"),
            chat: text("main"),
            to: text("#ops ann"),
            place: text("main/#ops"),
            text: text("x"),
            due: at(due),
            every: every.map(text),
            taken: None,
        }
    }

    #[test]
    fn a_reminder_is_taken_by_one_bridge_until_it_is_said_or_left() {
        let mut kept = Reminders(vec![reminder("b", 5, None), reminder("a", 3, None)]);
        assert_eq!(kept.take(at(2)), None);
        assert_eq!(kept.next(), Some(at(3)));
        assert_eq!(kept.take(at(5)).unwrap().id, "a");
        assert_eq!(kept.take(at(5)).unwrap().id, "b");
        assert_eq!(kept.take(at(5)), None);
        // The bridge that took them has died.
        assert_eq!(kept.next(), Some(at(5).plus(AGAIN)));
        assert_eq!(kept.take(at(6)).unwrap().id, "a");
        kept.said("a", at(6), &Zone::default());
        assert_eq!(kept.0.len(), 1);
    }

    #[test]
    fn one_that_repeats_is_due_again() {
        let mut kept = Reminders(vec![reminder("a", 3, Some("1h"))]);
        kept.take(at(3)).unwrap();
        kept.said("a", at(3), &Zone::default());
        assert_eq!((kept.0[0].taken, kept.0[0].due.0 % 3_600_000), (None, 0));
        assert!(kept.0[0].due > at(3));
    }
}
