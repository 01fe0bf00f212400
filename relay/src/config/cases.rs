//! Runs the `[[tests]]` of the files against the rules, before anything is sent by them.

use std::collections::BTreeSet;

use tellhal::tag::BadTag;
use tellhal::{Message, Severity};

use super::raw::{Checks, Document, Test};
use crate::engine::routing::Routing;
use crate::engine::rule::condition::{severity, source};
use crate::engine::{Rules, decide};

/// Runs the tests and returns their number. A test that fails becomes a problem. If the rules are not sound, the tests are
/// only checked: their failures would repeat the mistakes in the rules. The environment `dev` does not count, so that the
/// same tests pass on a developer's machine.
pub(super) fn run(checks: &mut Checks, routing: &Routing, sound: bool) -> usize {
    let rules = sound.then(|| Rules::new(routing.clone()));
    let mut count = 0;
    for document in checks.documents {
        for (i, test) in document.raw.tests.iter().enumerate() {
            let mut case = Case { checks, document, key: format!("tests[{i}]") };
            let (message, want) = (case.message(test), case.want(test));
            if let (Some(message), Some(want), Some(rules)) = (message, want, &rules) {
                case.run(&message, &want, rules);
            }
            count += 1;
        }
    }
    count
}

struct Case<'c, 'd> {
    checks: &'c mut Checks<'d>,
    document: &'d Document,
    key: String,
}

impl Case<'_, '_> {
    fn run(&mut self, message: &Message, want: &BTreeSet<String>, rules: &Rules) {
        let decision = decide(rules, message, message.time);
        let got: BTreeSet<String> = decision.rooms_before_dev().into_iter().map(str::to_owned).collect();
        if got == *want {
            return;
        }
        let names: Vec<&str> = decision.routes().map(|route| route.name.as_str()).collect();
        let by = if names.is_empty() { "no route".to_owned() } else { format!("by {}", names.join(", ")) };
        let Message { tag, severity, .. } = message;
        let (got, want) = (set(&got), set(want));
        let what = format!("the test fails: {tag} ({severity}) goes to {got} ({by}), not to {want}");
        self.wrong("", (what, format!("hal-relay explain {tag} --severity {severity} shows the reasons")));
    }

    fn wrong(&mut self, end: &str, (what, hint): (String, String)) {
        let problem = self.document.error(&format!("{}{end}", self.key), what, hint);
        self.checks.problems.push(problem);
    }

    fn message(&mut self, test: &Test) -> Option<Message> {
        let Some(tag) = &test.tag else {
            if !self.document.has(&format!("{}.tag", self.key)) {
                self.wrong(
                    "",
                    ("the test has no tag".into(), "such as tag = \"backup.mysql.failed\"".into()),
                );
            }
            return None;
        };
        let tag = tag.parse().map_err(|bad: BadTag| self.wrong(".tag", (bad.what, bad.hint)));
        let sender = source::parse(test.source.as_deref().unwrap_or("test"));
        let sender = sender.map_err(|bad| self.wrong(".source", bad));
        let severity = test.severity.as_deref().map_or(Ok(Severity::Info), severity::parse);
        let severity = severity.map_err(|bad| self.wrong(".severity", bad));
        let mut message = Message::new(&sender.ok()?, tag.ok()?, test.text.clone().unwrap_or_default());
        message.severity = severity.ok()?;
        message.fields = test.fields.clone();
        Some(message)
    }

    fn want(&mut self, test: &Test) -> Option<BTreeSet<String>> {
        let Some(rooms) = &test.rooms else {
            if !self.document.has(&format!("{}.rooms", self.key)) {
                let hint = "rooms = [\"…\"], or [] for a message that must be dropped".into();
                self.wrong("", ("the test has no rooms".into(), hint));
            }
            return None;
        };
        let before = self.checks.problems.len();
        for (end, room) in rooms.items() {
            self.checks.defined(self.document, &format!("{}.rooms{end}", self.key), "room", room);
        }
        if self.checks.problems.len() > before {
            return None;
        }
        Some(rooms.items().into_iter().map(|(_, room)| room.to_owned()).collect())
    }
}

fn set(rooms: &BTreeSet<String>) -> String {
    match rooms.is_empty() {
        true => "no room".into(),
        false => rooms.iter().map(String::as_str).collect::<Vec<_>>().join(", "),
    }
}
