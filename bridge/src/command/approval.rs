//! A command that waits for a confirmation or an approval, and who may give it. Pure.
//!
//! An approval is bound to a hash over all that the approver was shown: another request, person, room or argument has another
//! hash. Rights are looked at again with the rules of the moment.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tellhal::Timestamp;

use super::person::Person;
use super::policy::{Approval, Policy, Request, Verdict};
use crate::hash::hash;

/// The time in which a command must be approved.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// A command that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pending {
    /// The id by which it is approved.
    pub(crate) id: String,
    /// The person who asked.
    pub(crate) person: String,
    pub(crate) command: String,
    /// The words after the command, as they were typed.
    pub(crate) words: Vec<String>,
    /// All machines are asked, not one of them.
    pub(crate) each: bool,
    /// Chat and room.
    pub(crate) room: String,
    /// First token of the subjects: environments differ in it.
    /// The chat and the place in it where it was asked, for the answer.
    #[serde(default)]
    pub(crate) chat: String,
    #[serde(default)]
    pub(crate) to: String,
    pub(crate) prefix: String,
    pub(crate) approval: Approval,
    pub(crate) expires: Timestamp,
    /// Over all of the above.
    pub(crate) hash: String,
}

impl Pending {
    /// A command that waits from `now` on; `hash` is set here.
    pub(crate) fn new(mut pending: Pending, now: Timestamp) -> Pending {
        pending.expires = now.plus(PATIENCE);
        pending.hash = pending.fingerprint();
        pending
    }

    fn fingerprint(&self) -> String {
        let bound = Pending { hash: String::new(), ..self.clone() };
        hash(&serde_json::to_string(&bound).unwrap_or_default())
    }

    /// Checks that `approver` may let it run. The error is the reason against it, as a sentence.
    pub(crate) fn may_be_approved(
        &self,
        approver: Option<&Person>,
        policy: &Policy,
        prefix: &str,
        now: Timestamp,
    ) -> Result<(), String> {
        if self.hash != self.fingerprint() || self.prefix != prefix {
            return Err("it is not what was asked for".into());
        }
        if now.since(self.expires) > Duration::ZERO {
            return Err("it has expired; ask for it again".into());
        }
        let Some(approver) = approver else {
            return Err("only a person of the configuration may approve".into());
        };
        match (self.approval, approver.name == self.person) {
            (Approval::SecondPerson, true) => {
                return Err("another person must approve it, not the one who asked".into());
            }
            (Approval::Confirm | Approval::None, false) => {
                return Err(format!("{} must confirm it, who asked for it", self.person));
            }
            _ => {}
        }
        let asked_by = policy.people.named(&self.person);
        for person in [asked_by, Some(approver)] {
            match policy.decide(&self.request(person)).0 {
                Verdict::Allowed { approval, .. } if approval == self.approval => {}
                Verdict::Allowed { .. } => {
                    return Err("the rule about it has changed; ask for it again".into());
                }
                Verdict::Denied(why) | Verdict::Wrong(why) => {
                    let who = person.map_or(self.person.as_str(), |person| person.name.as_str());
                    return Err(format!("{who} may not give {}: {why}", self.command));
                }
            }
        }
        Ok(())
    }

    fn request<'a>(&'a self, person: Option<&'a Person>) -> Request<'a> {
        Request { person, room: &self.room, command: &self.command, words: &self.words }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::command::person::People;
    use crate::command::policy::{Assurance, Rule};

    fn policy(approval: Approval) -> Policy {
        let person = |name: &str, role: &str| {
            (name.to_owned(), Person { name: name.into(), roles: [role.to_owned()].into() })
        };
        let people =
            [person("ann", "operator"), person("bob", "operator"), person("dev", "developer")].into();
        let rule = Rule {
            at: String::new(),
            name: "deploy".into(),
            arguments: None,
            when: BTreeMap::new(),
            rooms: Vec::new(),
            allow: vec!["operator".into()],
            approval,
            assurance: Assurance::Low,
            timeout: Duration::from_secs(60),
        };
        Policy {
            people: People { by_name: people, by_account: BTreeMap::new() },
            rules: vec![rule],
            ..Policy::default()
        }
    }

    fn pending(approval: Approval) -> Pending {
        let pending = Pending {
            id: "a".into(),
            person: "ann".into(),
            command: "deploy".into(),
            words: vec!["production".into()],
            each: false,
            room: "main/#ops".into(),
            chat: "main".into(),
            to: "#ops ann".into(),
            prefix: "hal".into(),
            approval,
            expires: Timestamp(0),
            hash: String::new(),
        };
        Pending::new(pending, Timestamp(0))
    }

    fn answer(pending: &Pending, who: &str, policy: &Policy, minutes: i64) -> Result<(), String> {
        pending.may_be_approved(policy.people.named(who), policy, "hal", Timestamp(minutes * 60_000))
    }

    #[test]
    fn a_second_person_with_the_right_approves_and_nobody_else() {
        let (policy, deploy) = (policy(Approval::SecondPerson), pending(Approval::SecondPerson));
        assert_eq!(answer(&deploy, "bob", &policy, 14), Ok(()));
        for (who, minutes, why) in [
            ("ann", 1, "another person must approve it, not the one who asked"),
            ("dev", 1, "dev may not give deploy: only a person with the role operator may"),
            ("?", 1, "only a person of the configuration may approve"),
            ("bob", 16, "it has expired; ask for it again"),
        ] {
            assert_eq!(answer(&deploy, who, &policy, minutes).unwrap_err(), why);
        }
    }

    #[test]
    fn only_the_one_who_asked_confirms() {
        let (policy, deploy) = (policy(Approval::Confirm), pending(Approval::Confirm));
        assert_eq!(answer(&deploy, "ann", &policy, 1), Ok(()));
        assert_eq!(answer(&deploy, "bob", &policy, 1).unwrap_err(), "ann must confirm it, who asked for it");
    }

    #[test]
    fn what_was_changed_is_not_what_was_approved() {
        let (policy, deploy) = (policy(Approval::SecondPerson), pending(Approval::SecondPerson));
        let changed = [
            Pending { words: vec!["staging".into()], ..deploy.clone() },
            Pending { person: "dev".into(), ..deploy.clone() },
            Pending { room: "main/#chat".into(), ..deploy.clone() },
            Pending { command: "reboot".into(), ..deploy.clone() },
            Pending { approval: Approval::Confirm, ..deploy.clone() },
            Pending { expires: Timestamp(i64::MAX), ..deploy.clone() },
            Pending { each: true, ..deploy.clone() },
            Pending { prefix: "dev".into(), ..deploy.clone() },
        ];
        for changed in changed {
            assert_eq!(answer(&changed, "bob", &policy, 1).unwrap_err(), "it is not what was asked for");
        }
        let elsewhere = deploy.may_be_approved(policy.people.named("bob"), &policy, "dev", Timestamp(0));
        assert_eq!(elsewhere.unwrap_err(), "it is not what was asked for");
    }

    #[test]
    fn rights_are_looked_at_again() {
        let deploy = pending(Approval::SecondPerson);
        let mut without = policy(Approval::SecondPerson);
        without.people.by_name.remove("ann");
        let why = answer(&deploy, "bob", &without, 1).unwrap_err();
        assert!(why.starts_with("ann may not give deploy: "), "{why}");
        let changed = policy(Approval::None);
        assert_eq!(
            answer(&deploy, "bob", &changed, 1).unwrap_err(),
            "the rule about it has changed; ask for it again"
        );
    }
}
