//! Entries of the audit as ops messages, for those kinds that the configuration wants told in rooms. Pure.

use service::text::{cut, one_line};
use tellhal::Message;
use tellhal::audit::{Entry, Kind};
use tellhal::message::Severity;
use tellhal::tag::Tag;

use crate::outbox::SOURCE;

/// The most of an entry's text that is told, in bytes.
const LONGEST: usize = 300;

/// The message about an entry, with the tag `bridge.command.<kind>`.
pub(super) fn message(entry: &Entry) -> Message {
    let who = match (&entry.person, &entry.account) {
        (Some(person), _) => person.clone(),
        (None, Some(account)) => account.clone(),
        (None, None) => format!("somebody who is called {}", entry.speaker),
    };
    let command = [entry.command.clone()].into_iter().chain(entry.args.iter().cloned());
    let command = one_line(&command.collect::<Vec<_>>().join(" "));
    let kind = entry.kind.as_str();
    let mut text = format!("{who} in {}: {command}: {kind}", entry.room);
    let detail = cut(&one_line(entry.text.lines().next().unwrap_or_default()), LONGEST);
    if !detail.is_empty() {
        text += &format!(": {detail}");
    }
    let mut message = Message::new(SOURCE, Tag::nearest(&format!("bridge.command.{kind}")), text);
    message.severity = match entry.kind {
        Kind::Denied | Kind::Failed | Kind::Unknown => Severity::Warning,
        _ => Severity::Notice,
    };
    // The same by the same person again can be throttled.
    message.key = Some(cut(&format!("{who} {}", entry.command), 200));
    message
}

#[cfg(test)]
mod tests {
    use tellhal::Timestamp;

    use super::*;

    #[test]
    fn an_entry_is_told_in_one_line() {
        let entry = Entry {
            v: 1,
            id: "abc".into(),
            time: Timestamp(0),
            kind: Kind::Denied,
            room: "main/#ops".into(),
            person: None,
            account: Some("irc main/eve".into()),
            speaker: "oncall".into(),
            command: "deploy".into(),
            args: vec!["production\nx".into()],
            text: "you may not give deploy\nat all".into(),
            files: Vec::new(),
        };
        let told = message(&entry);
        assert_eq!(
            told.text,
            "irc main/eve in main/#ops: deploy production x: denied: you may not give deploy"
        );
        assert_eq!((told.tag.as_str(), told.severity), ("bridge.command.denied", Severity::Warning));
        let own = message(&Entry {
            person: Some("ann".into()),
            kind: Kind::Approved,
            text: String::new(),
            ..entry
        });
        assert_eq!(own.text, "ann in main/#ops: deploy production x: approved");
    }
}
