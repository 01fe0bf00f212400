//! The meaning of an error that a server or a room answers with: whether a later attempt may succeed. Pure.

use std::time::Duration;

use tokio_xmpp::minidom::Element;
use tokio_xmpp::parsers::ns;

use super::Settings;
use crate::platform::Failure;

/// The pause after a server says that messages come too fast.
const TOO_FAST: Duration = Duration::from_secs(30);

/// The request that was refused.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum About {
    /// Logging in.
    Account,
    /// Entering a room.
    Join,
    /// A message to a room that we were in.
    Message,
    /// A message to a person.
    Person,
}

/// An `<error/>` in its parts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Refusal {
    /// `forbidden`, `not-acceptable`, …
    pub(super) condition: String,
    /// The error says that it will pass.
    wait: bool,
    text: String,
}

impl Refusal {
    /// The error in a stanza.
    pub(super) fn of(stanza: &Element) -> Refusal {
        let Some(error) = stanza.children().find(|child| child.name() == "error") else {
            return Refusal::default();
        };
        let mut refusal = Refusal { wait: error.attr("type") == Some("wait"), ..Refusal::default() };
        for child in error.children().filter(|child| child.has_ns(ns::XMPP_STANZAS)) {
            match child.name() {
                "text" => refusal.text = child.text(),
                name => refusal.condition = name.to_owned(),
            }
        }
        refusal
    }

    /// True if a room's answer to a message says that we are not in the room.
    pub(super) fn says_outside(&self) -> bool {
        matches!(
            self.condition.as_str(),
            "not-acceptable" | "item-not-found" | "recipient-unavailable" | "gone"
        )
    }

    /// The answer to a ping to ourselves through the room (XEP-0410): an error that does not say that we are outside only
    /// says that no ping is answered there.
    pub(super) fn says_inside(&self) -> bool {
        matches!(
            self.condition.as_str(),
            "service-unavailable" | "feature-not-implemented" | "item-not-found"
        )
    }

    /// The failure of what was refused.
    pub(super) fn failure(&self, about: About, settings: &Settings) -> Failure {
        let before = if about == About::Join { "no way into the room: " } else { "" };
        let condition = if self.condition.is_empty() { "an error without a name" } else { &self.condition };
        let text = if self.text.is_empty() { String::new() } else { format!(" ({})", self.text) };
        let reason = settings.reason(&format!("{before}{condition}{text}"));
        let later = |wait| Failure::Transient { reason: reason.clone(), wait, ambiguous: false };
        match (condition, about) {
            ("resource-constraint", _) => later(Some(TOO_FAST)),
            ("policy-violation", _) if self.wait => later(Some(TOO_FAST)),
            ("remote-server-timeout" | "internal-server-error", _) => later(None),
            _ if self.wait => later(None),
            (_, About::Message) if self.says_outside() => later(None),
            // A room that somebody is making now is locked until it is made.
            ("item-not-found", About::Join) => later(None),
            (
                "bad-request" | "policy-violation" | "jid-malformed" | "feature-not-implemented",
                About::Message,
            )
            | (_, About::Person) => Failure::Permanent { reason },
            _ => Failure::Auth { reason },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::xmpp::stanza::tests::settings;

    #[test]
    fn every_answer_has_its_meaning() {
        use About::{Join, Message, Person};
        let table = [
            ("wait", "resource-constraint", Message, "later 30"),
            ("wait", "policy-violation", Message, "later 30"),
            ("modify", "policy-violation", Message, "permanent"),
            ("cancel", "not-acceptable", Message, "later"),
            ("cancel", "item-not-found", Message, "later"),
            ("modify", "bad-request", Message, "permanent"),
            ("auth", "forbidden", Message, "auth"),
            ("wait", "service-unavailable", Join, "later"),
            ("cancel", "remote-server-timeout", Join, "later"),
            ("cancel", "remote-server-not-found", Join, "auth"),
            ("auth", "not-authorized", Join, "auth"),
            ("auth", "registration-required", Join, "auth"),
            ("auth", "forbidden", Join, "auth"),
            ("cancel", "item-not-found", Join, "later"),
            ("cancel", "service-unavailable", Person, "permanent"),
            ("wait", "recipient-unavailable", Person, "later"),
            ("cancel", "never-heard-of", Join, "auth"),
        ];
        for (kind, condition, about, wanted) in table {
            let stanza = format!(
                "<message xmlns='jabber:client' type='error'><error type='{kind}'><{condition} \
                 xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><text \
                 xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>the pa\u{202e}ssword</text></error></message>"
            );
            let failure = Refusal::of(&stanza.parse().unwrap()).failure(about, &settings());
            let meaning = match &failure {
                Failure::Transient { wait: Some(wait), .. } => format!("later {}", wait.as_secs()),
                Failure::Transient { .. } => "later".into(),
                Failure::Permanent { .. } => "permanent".into(),
                Failure::Auth { .. } => "auth".into(),
            };
            assert_eq!(meaning, wanted, "{kind} {condition} {about:?}");
            let reason = failure.to_string();
            assert!(
                reason.starts_with("x.test: ") && reason.ends_with(&format!("{condition} (the password)")),
                "{reason}"
            );
        }
        let nameless = Refusal::of(&"<message xmlns='jabber:client'/>".parse().unwrap());
        assert!(matches!(nameless.failure(About::Join, &settings()), Failure::Auth { .. }));
    }
}
