//! The rights to give commands, by role, room and arguments. A command that no rule allows is denied.
//!
//! The rules of a command's own name decide, in their order; those of `*` only for commands without a rule of their own. The
//! first rule whose room and arguments fit decides alone: a later rule cannot allow what it denies.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use service::text::{cut, one_line};
use tellhal::audit::Kind;

use super::argument::{Argument, MASK, Value, bind, usage};
use super::flood::Limit;
use super::person::{People, Person};

/// The name of the rules for every other command that is served.
pub(crate) const ANY: &str = "*";
/// The bridge's own commands, which everybody may give; the last three look at rights themselves.
pub(crate) const OPEN: [&str; 5] = ["help", "whoami", "approve", "deny", "cancel"];

/// The consent that a command needs before it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Approval {
    #[default]
    None,
    /// The same person says so once more.
    Confirm,
    /// Another person who may give the command says so.
    SecondPerson,
}

impl fmt::Display for Approval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Approval::None => "at once",
            Approval::Confirm => "after a confirmation",
            Approval::SecondPerson => "after another person's approval",
        })
    }
}

/// One `[[commands]]` of the configuration.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    /// The place in the configuration, such as `bridge.toml:12:1 commands[0]`.
    pub(crate) at: String,
    /// The command's name, or [`ANY`].
    pub(crate) name: String,
    /// The arguments; `None` if any are taken as they are.
    pub(crate) arguments: Option<Vec<Argument>>,
    /// The values that arguments must have for the rule to fit.
    pub(crate) when: BTreeMap<String, Vec<String>>,
    /// The rooms in which it fits, such as `main/#ops`; every room if there are none.
    pub(crate) rooms: Vec<String>,
    /// The roles that may give the command.
    pub(crate) allow: Vec<String>,
    pub(crate) approval: Approval,
    pub(crate) assurance: Assurance,
    pub(crate) timeout: Duration,
}

/// How sure it is that an account has said something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Assurance {
    /// The chat's server says so, over a connection that somebody on the way can change.
    #[default]
    Low,
    /// It says so over TLS or on this machine, or the line is signed, or has the token of a person.
    High,
}

/// People and rules.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policy {
    pub(crate) people: People,
    pub(crate) rules: Vec<Rule>,
    /// The names of all chats.
    pub(crate) chats: BTreeSet<String>,
    /// The chats whose connection somebody on the way can change.
    pub(crate) unprotected: BTreeSet<String>,
    /// The address of the relay's page, for links to files.
    pub(crate) page_url: Option<String>,
    /// The kinds of the audit's entries that are told as ops messages too.
    pub(crate) told: BTreeSet<Kind>,
    pub(crate) limit: Limit,
}

/// A command that somebody gives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    /// The person, if the account is one's.
    pub(crate) person: Option<&'a Person>,
    /// Chat and room, such as `main/#ops`.
    pub(crate) room: &'a str,
    pub(crate) command: &'a str,
    pub(crate) words: &'a [String],
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Allowed {
        approval: Approval,
        timeout: Duration,
        values: Vec<Value>,
    },
    /// With the reason, as a sentence for the person.
    Denied(String),
    /// The person may give the command, but not with these words.
    Wrong(String),
}

/// A rule, and what it says to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Step {
    /// The rule's place in the configuration.
    pub(crate) at: String,
    pub(crate) decides: bool,
    pub(crate) words: String,
}

/// The longest word that is shown, in bytes.
const SHOWN: usize = 200;
/// The time of a command without a rule.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

impl Policy {
    /// Decides, and says which rules were looked at.
    pub(crate) fn decide(&self, request: &Request<'_>) -> (Verdict, Vec<Step>) {
        if OPEN.contains(&request.command) {
            let values = bind(None, request.words).map_or_else(Verdict::Wrong, |values| Verdict::Allowed {
                approval: Approval::None,
                timeout: OPEN_TIMEOUT,
                values,
            });
            return (values, Vec::new());
        }
        let mut steps = Vec::new();
        for rule in self.rules_of(request.command) {
            match rule.misfit(request) {
                Some(words) => steps.push(Step { at: rule.at.clone(), decides: false, words }),
                None => {
                    let (verdict, words) = match self.doubt(rule, request.room) {
                        Some(doubt) => (Verdict::Denied(doubt.clone()), doubt),
                        None => rule.decide(request),
                    };
                    steps.push(Step { at: rule.at.clone(), decides: true, words });
                    return (verdict, steps);
                }
            }
        }
        let command = request.command;
        let why = match steps.len() {
            0 => format!("no rule is about {command}"),
            _ => format!("no rule about {command} is for this room and these arguments"),
        };
        (Verdict::Denied(why), steps)
    }

    /// The reason why a person may not approve a command from this place; `None` if it is as sure there as the rule wants.
    pub(crate) fn lacks_assurance(&self, request: &Request<'_>, place: &str) -> Option<String> {
        let rule = self.rules_of(request.command).into_iter().find(|rule| rule.misfit(request).is_none())?;
        self.doubt(rule, place)
    }

    fn doubt(&self, rule: &Rule, place: &str) -> Option<String> {
        let chat = place.split('/').next().unwrap_or_default();
        let is_unsure = rule.assurance == Assurance::High && self.unprotected.contains(chat);
        is_unsure.then(|| format!("it needs a chat over TLS, which {chat} is not"))
    }

    /// True if some arguments exist with which the person may give the command here.
    pub(crate) fn may(&self, person: Option<&Person>, room: &str, command: &str) -> bool {
        let Some(person) = person else { return false };
        let fits = |rule: &&Rule| rule.is_for(room);
        let allows = |rule: &Rule| rule.allow.iter().any(|role| person.roles.contains(role));
        self.rules_of(command).into_iter().filter(fits).any(allows)
    }

    /// The words after a command as they may be shown: those that a rule calls secret are masked, and so are those beyond the
    /// arguments of such a rule.
    pub(crate) fn masked(&self, command: &str, words: &[String]) -> Vec<String> {
        let rules = self.rules_of(command);
        let secrets = |index: usize| {
            rules.iter().filter_map(|rule| rule.arguments.as_deref()).any(|arguments| {
                let beyond = arguments.iter().any(|argument| argument.is_secret);
                arguments.get(index).map_or(beyond, |argument| argument.is_secret)
            })
        };
        let shown = |(index, word): (usize, &String)| {
            if secrets(index) { MASK.to_owned() } else { cut(&one_line(word), SHOWN) }
        };
        words.iter().enumerate().map(shown).collect()
    }

    /// The arguments that the first rule about a command takes, as they are typed; `None` if it takes any.
    pub(crate) fn usage(&self, command: &str) -> Option<String> {
        self.rules_of(command).into_iter().find_map(|rule| rule.arguments.as_deref()).map(usage)
    }

    /// The rules that are about a command.
    fn rules_of(&self, command: &str) -> Vec<&Rule> {
        let named = |name: &str| self.rules.iter().filter(|rule| rule.name == name).collect::<Vec<_>>();
        // A command that is typed as `*` has only the rules for any other, as every command without its own.
        let own = named(command);
        if own.is_empty() { named(ANY) } else { own }
    }
}

impl Rule {
    /// True if the rule is about this room. Platforms do not tell rooms apart by the case of their names.
    fn is_for(&self, room: &str) -> bool {
        self.rooms.is_empty() || self.rooms.iter().any(|one| one.eq_ignore_ascii_case(room))
    }

    /// The reason why the rule is not about this request; `None` if it is.
    fn misfit(&self, request: &Request<'_>) -> Option<String> {
        if !self.is_for(request.room) {
            return Some(format!("it is for {}", self.rooms.join(", ")));
        }
        let arguments = self.arguments.as_deref().unwrap_or_default();
        self.when.iter().find_map(|(name, values)| {
            let index = arguments.iter().position(|argument| argument.name == *name)?;
            let argument = arguments.get(index)?;
            let value = request.words.get(index).or(argument.default.as_ref());
            let fits = value.is_some_and(|value| values.contains(value));
            (!fits).then(|| format!("it is for {name} = {}", values.join(" or ")))
        })
    }

    fn decide(&self, request: &Request<'_>) -> (Verdict, String) {
        let denied = |why: String| (Verdict::Denied(why.clone()), why);
        let who = self.allow.join(" or ");
        let Some(person) = request.person else {
            return denied(format!("only a person with the role {who} may, and this account is nobody's"));
        };
        let Some(role) = self.allow.iter().find(|role| person.roles.contains(*role)) else {
            return denied(format!("only a person with the role {who} may"));
        };
        match bind(self.arguments.as_deref(), request.words) {
            Err(wrong) => (Verdict::Wrong(wrong.clone()), wrong),
            Ok(values) => {
                let Rule { approval, timeout, .. } = *self;
                (Verdict::Allowed { approval, timeout, values }, format!("the role {role} may, {approval}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argument(name: &str, one_of: &[&str]) -> Argument {
        let one_of = one_of.iter().map(|one| (*one).to_owned()).collect();
        Argument { name: name.into(), one_of, pattern: None, default: None, is_secret: false }
    }

    fn rule(name: &str, allow: &[&str]) -> Rule {
        Rule {
            at: format!("bridge.toml {name}"),
            name: name.into(),
            arguments: None,
            when: BTreeMap::new(),
            rooms: Vec::new(),
            allow: allow.iter().map(|role| (*role).to_owned()).collect(),
            approval: Approval::None,
            assurance: Assurance::Low,
            timeout: Duration::from_secs(60),
        }
    }

    fn policy(rules: Vec<Rule>) -> Policy {
        let person = |name: &str, roles: &[&str]| {
            let roles: BTreeSet<String> = roles.iter().map(|role| (*role).to_owned()).collect();
            (name.to_owned(), Person { name: name.into(), roles })
        };
        let by_name = [person("oncall", &["operator"]), person("dev", &["developer"])].into();
        Policy { people: People { by_name, by_account: BTreeMap::new() }, rules, ..Policy::default() }
    }

    fn verdict(policy: &Policy, who: &str, room: &str, line: &str) -> Verdict {
        let mut words = line.split(' ').map(str::to_owned);
        let command = words.next().unwrap();
        let words: Vec<String> = words.collect();
        let request = Request { person: policy.people.named(who), room, command: &command, words: &words };
        policy.decide(&request).0
    }

    fn is_allowed(policy: &Policy, who: &str, room: &str, line: &str) -> bool {
        matches!(verdict(policy, who, room, line), Verdict::Allowed { .. })
    }

    #[test]
    fn without_a_rule_everybody_is_denied_all_but_help_and_whoami() {
        let nothing = policy(vec![]);
        for who in ["oncall", "dev", "nobody"] {
            assert!(is_allowed(&nothing, who, "main/#ops", "help"));
            assert!(is_allowed(&nothing, who, "main/#ops", "whoami"));
            let denied = Verdict::Denied("no rule is about deploy".into());
            assert_eq!(verdict(&nothing, who, "main/#ops", "deploy web"), denied);
        }
    }

    #[test]
    fn a_role_may_and_an_account_of_nobody_may_not() {
        let all = policy(vec![rule(ANY, &["operator"])]);
        assert!(is_allowed(&all, "oncall", "main/#ops", "uptime"));
        let denied = Verdict::Denied("only a person with the role operator may".into());
        assert_eq!(verdict(&all, "dev", "main/#ops", "uptime"), denied);
        let nobody = "only a person with the role operator may, and this account is nobody's";
        assert_eq!(verdict(&all, "?", "main/#ops", "uptime"), Verdict::Denied(nobody.into()));
    }

    #[test]
    fn a_commands_own_rules_take_the_place_of_those_for_any() {
        let rules = vec![rule(ANY, &["developer", "operator"]), rule("deploy", &["operator"])];
        let both = policy(rules);
        assert!(is_allowed(&both, "dev", "main/#ops", "uptime"));
        assert!(!is_allowed(&both, "dev", "main/#ops", "deploy"));
        assert!(both.may(both.people.named("dev"), "main/#ops", "uptime"));
        assert!(!both.may(both.people.named("dev"), "main/#ops", "deploy"));
        assert!(!both.may(None, "main/#ops", "uptime"));
        // A name that looks like the rule for any is a name like others.
        let own = policy(vec![rule("deploy", &["operator"])]);
        assert!(!is_allowed(&own, "oncall", "main/#ops", "*"));
    }

    #[test]
    fn the_first_rule_that_fits_room_and_arguments_decides_alone() {
        let target = argument("target", &["staging", "production"]);
        let production = Rule {
            arguments: Some(vec![target.clone()]),
            when: [("target".to_owned(), vec!["production".to_owned()])].into(),
            approval: Approval::SecondPerson,
            ..rule("deploy", &["operator"])
        };
        let other = Rule {
            arguments: Some(vec![target]),
            rooms: vec!["main/#ops".into()],
            ..rule("deploy", &["developer", "operator"])
        };
        let policy = policy(vec![production, other]);
        assert!(is_allowed(&policy, "dev", "main/#ops", "deploy staging"));
        assert!(is_allowed(&policy, "dev", "main/#OPS", "deploy staging"));
        assert!(!is_allowed(&policy, "dev", "main/#chat", "deploy staging"));
        // The second rule would allow it.
        let denied = Verdict::Denied("only a person with the role operator may".into());
        assert_eq!(verdict(&policy, "dev", "main/#ops", "deploy production"), denied);
        let Verdict::Allowed { approval, values, .. } =
            verdict(&policy, "oncall", "x/y", "deploy production")
        else {
            panic!("an operator may");
        };
        assert_eq!((approval, values[0].value.as_str()), (Approval::SecondPerson, "production"));
        let wrong = "target: \"web\" is not possible: it is one of staging, production";
        assert_eq!(verdict(&policy, "dev", "main/#ops", "deploy web"), Verdict::Wrong(wrong.into()));
        // A person who may not give the command is not told its arguments.
        assert!(matches!(verdict(&policy, "?", "main/#ops", "deploy web"), Verdict::Denied(_)));
    }

    #[test]
    fn a_rule_that_wants_assurance_takes_nothing_from_a_chat_that_others_can_change() {
        let mut policy = policy(vec![Rule { assurance: Assurance::High, ..rule("deploy", &["operator"]) }]);
        policy.unprotected = ["old".to_owned()].into();
        let doubt = "it needs a chat over TLS, which old is not";
        assert_eq!(verdict(&policy, "oncall", "old/#ops", "deploy"), Verdict::Denied(doubt.into()));
        assert!(is_allowed(&policy, "oncall", "main/#ops", "deploy"));
        // A command from a chat over TLS is not approved from one without it.
        let request = Request { person: None, room: "main/#ops", command: "deploy", words: &[] };
        assert_eq!(policy.lacks_assurance(&request, "old/private").as_deref(), Some(doubt));
        assert_eq!(policy.lacks_assurance(&request, "page/private"), None);
    }

    #[test]
    fn secret_words_are_masked_wherever_a_rule_calls_them_so() {
        let secret = Argument { is_secret: true, ..argument("password", &[]) };
        let rules = vec![Rule {
            arguments: Some(vec![argument("user", &[]), secret]),
            ..rule("passwd", &["operator"])
        }];
        let policy = policy(rules);
        let words: Vec<String> = ["bob", "hunter2", "hunter3"].map(str::to_owned).into();
        assert_eq!(policy.masked("passwd", &words), ["bob", MASK, MASK]);
        assert_eq!(policy.masked("uptime", &words), ["bob", "hunter2", "hunter3"]);
    }

    #[test]
    fn the_explanation_names_each_rule_that_was_looked_at() {
        let here = Rule { rooms: vec!["main/#ops".into()], ..rule("deploy", &["developer"]) };
        let policy = policy(vec![here, rule("deploy", &["operator"])]);
        let request = Request {
            person: policy.people.named("oncall"),
            room: "main/#chat",
            command: "deploy",
            words: &[],
        };
        let (_, steps) = policy.decide(&request);
        let told: Vec<(bool, &str)> = steps.iter().map(|step| (step.decides, step.words.as_str())).collect();
        assert_eq!(told, [(false, "it is for main/#ops"), (true, "the role operator may, at once")]);
    }
}
