//! Checks the people and the rules of commands, of all files.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use service::config::{OneOrMany, duration_in};
use tellhal::command::is_name;
use tellhal::nearest;
use tellhal::tag::is_token;

use super::raw::{self, Chat, Checks, Document};
use crate::command::argument::{Argument, Pattern};
use crate::command::flood::Limit;
use crate::command::person::{Account, People, Person};
use crate::command::policy::{ANY, Approval, Assurance, OPEN, Policy, Rule};

/// The time of a command without a `timeout`.
const TIMEOUT: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(86_400);

pub(super) fn check(checks: &mut Checks<'_>) -> Policy {
    let people = people(checks);
    let mut rules = Vec::new();
    for document in checks.documents {
        for (i, raw) in document.raw.commands.iter().enumerate() {
            let key = format!("commands[{i}]");
            rules.push(RuleCheck { checks, document, key: &key, people: &people }.rule(raw));
        }
    }
    let chats = checks.documents.iter().flat_map(|document| &document.raw.chat);
    let names = chats.clone().map(|(name, _)| name.clone()).collect();
    let unprotected = chats.filter(|(_, chat)| !chat.settings().is_protected()).map(|(name, _)| name.clone());
    let told = checks.only("audit", |raw| raw.audit.clone()).unwrap_or_default().tell.into_iter().collect();
    Policy {
        people,
        rules,
        chats: names,
        unprotected: unprotected.collect(),
        told,
        page_url: page_url(checks),
        limit: limit(checks),
    }
}

fn page_url(checks: &mut Checks<'_>) -> Option<String> {
    let url = checks.only("page_url", |raw| raw.page_url.clone())?;
    let is_address = url.starts_with("https://") || url.starts_with("http://");
    if (!is_address || url.contains(char::is_whitespace))
        && let Some(document) = checks.owner("page_url")
    {
        let problem = document.error(
            "page_url",
            format!("{url:?} is no address"),
            "such as \"https://hal.example.com\"",
        );
        checks.problems.push(problem);
    }
    Some(url)
}

fn limit(checks: &mut Checks<'_>) -> Limit {
    let raw = checks.only("flood", |raw| raw.flood.clone()).unwrap_or_default();
    let Limit { burst, every } = Limit::default();
    let burst = raw.burst.unwrap_or(burst);
    let mut wrong = |key: &str, what: String, hint: String| {
        if let Some(document) = checks.owner(key) {
            checks.problems.push(document.error(key, what, hint));
        }
    };
    if !(1..=1000).contains(&burst) {
        wrong("flood.burst", format!("{burst} is out of range"), "1 to 1000".into());
    }
    let (least, most) = (Duration::from_millis(1), Duration::from_secs(3600));
    let every =
        raw.every.map_or(Ok(every), |text| duration_in(&text, least, most, "from 1ms to 1h, such as 2s"));
    let every = every.unwrap_or_else(|(what, hint)| {
        wrong("flood.every", what, hint);
        least
    });
    Limit { burst, every }
}

fn people(checks: &mut Checks<'_>) -> People {
    let chats: Vec<String> = checks
        .documents
        .iter()
        .flat_map(|document| document.raw.chat.iter())
        .filter(|(_, chat)| matches!(chat, Chat::Irc(_)))
        .map(|(name, _)| name.clone())
        .collect();
    let mut people = People::default();
    // Where each name and account was first.
    let (mut names, mut accounts) = (BTreeMap::new(), BTreeMap::new());
    for document in checks.documents {
        for (i, raw) in document.raw.people.iter().enumerate() {
            let key = format!("people[{i}]");
            let at = |part: &str| format!("{key}.{part}");
            let Some(name) = raw.name.clone().filter(|name| is_token(name)) else {
                let hint = "name = \"…\", one word of A-Z a-z 0-9 _ -";
                let (key, what) = match &raw.name {
                    Some(name) => (at("name"), format!("{name:?} is not a legal name for a person")),
                    None if document.has(&at("name")) => continue,
                    None => (key, "the person has no name".into()),
                };
                checks.problems.push(document.error(&key, what, hint));
                continue;
            };
            if let Some(first) = names.insert(name.clone(), document.at(&at("name"))) {
                let what = format!("person {name} is defined twice, here and at {first}");
                checks.problems.push(document.error(
                    &at("name"),
                    what,
                    "one entry has all accounts of a person",
                ));
            }
            let kinds = [
                ("irc", &raw.irc),
                ("slack", &raw.slack),
                ("matrix", &raw.matrix),
                ("xmpp", &raw.xmpp),
                ("page", &raw.page),
                ("schedule", &raw.schedule),
            ];
            let given = kinds.iter().filter_map(|(kind, texts)| Some((*kind, texts.as_ref()?)));
            for (kind, index, text) in given.flat_map(|(kind, texts)| {
                texts.items().into_iter().map(move |(index, text)| (kind, index, text.to_owned()))
            }) {
                let key = at(&format!("{kind}{index}"));
                let account = match Account::parse(kind, &text, &chats) {
                    Ok(account) => account,
                    Err((what, hint)) => {
                        checks.problems.push(document.error(&key, what, hint));
                        continue;
                    }
                };
                if matches!(account, Account::Schedule(_)) {
                    checks.defined(document, &key, "schedule", &text);
                }
                if let Some(first) = accounts.insert(account.clone(), document.at(&key)) {
                    let what = format!("{account} is another person's already, at {first}");
                    checks.problems.push(document.error(&key, what, "each account is of one person"));
                }
                people.by_account.insert(account, name.clone());
            }
            let roles: BTreeSet<String> = raw.roles.iter().cloned().collect();
            people.by_name.entry(name.clone()).or_insert(Person { name, roles });
        }
    }
    people
}

/// One rule of one file.
struct RuleCheck<'c, 'd> {
    checks: &'c mut Checks<'d>,
    document: &'d Document,
    key: &'c str,
    people: &'c People,
}

impl RuleCheck<'_, '_> {
    fn rule(&mut self, raw: &raw::Command) -> Rule {
        let arguments = raw.args.as_ref().map(|args| self.arguments(args));
        Rule {
            at: format!("{} {}", self.document.at(self.key), self.key),
            name: self.name(raw),
            when: self.when(raw, arguments.as_deref().unwrap_or_default()),
            arguments,
            rooms: self.rooms(raw),
            allow: self.allow(raw),
            approval: match raw.approve {
                None | Some(raw::Approve::None) => Approval::None,
                Some(raw::Approve::Confirm) => Approval::Confirm,
                Some(raw::Approve::SecondPerson) => Approval::SecondPerson,
            },
            assurance: match raw.assurance {
                None | Some(raw::Assurance::Low) => Assurance::Low,
                Some(raw::Assurance::High) => Assurance::High,
            },
            timeout: self.timeout(raw),
        }
    }

    fn wrong(&mut self, key: &str, what: impl Into<String>, hint: impl Into<String>) {
        let problem = self.document.error(&format!("{}.{key}", self.key), what, hint);
        self.checks.problems.push(problem);
    }

    fn has(&self, key: &str) -> bool {
        self.document.has(&format!("{}.{key}", self.key))
    }

    fn name(&mut self, raw: &raw::Command) -> String {
        let name = raw.name.clone().unwrap_or_default();
        if raw.name.is_none() && !self.has("name") {
            let hint = "name = \"…\"; \"*\" stands for every command without a rule of its own";
            self.checks.problems.push(self.document.error(self.key, "the rule has no name", hint));
        } else if OPEN.contains(&name.as_str()) {
            self.wrong("name", format!("everybody may give {name}"), "leave the rule out");
        } else if raw.name.is_some() && name != ANY && !is_name(&name) {
            let hint = "one word of a-z 0-9 _ -, or \"*\" for every command without a rule of its own";
            self.wrong("name", format!("{name:?} is not a legal name for a command"), hint);
        }
        name
    }

    fn arguments(&mut self, args: &[raw::Argument]) -> Vec<Argument> {
        let mut all: Vec<Argument> = Vec::new();
        for (i, raw) in args.iter().enumerate() {
            let argument = self.argument(raw, i);
            if all.iter().any(|earlier| earlier.name == argument.name) {
                let what = format!("there are two arguments {}", argument.name);
                self.wrong(&format!("args[{i}].name"), what, "give one of them another name");
            }
            if argument.default.is_none() && all.last().is_some_and(|earlier| earlier.default.is_some()) {
                let what = "an argument that must be given comes after one that need not";
                self.wrong(&format!("args[{i}]"), what, "put it first, or give it a default");
            }
            all.push(argument);
        }
        all
    }

    fn argument(&mut self, raw: &raw::Argument, i: usize) -> Argument {
        let at = |part: &str| format!("args[{i}].{part}");
        let name = raw.name.clone().unwrap_or_default();
        if raw.name.is_none() && !self.has(&at("name"))
            || raw.name.as_ref().is_some_and(|name| !is_token(name))
        {
            let hint = "name = \"…\", one word of A-Z a-z 0-9 _ -";
            self.wrong(&format!("args[{i}]"), "the argument has no legal name", hint);
        }
        let pattern = raw.pattern.as_ref().and_then(|text| {
            let error = match Pattern::new(text) {
                Ok(pattern) => return Some(pattern),
                Err(error) => error.to_string(),
            };
            let last = error.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            self.wrong(&at("pattern"), format!("{text:?} is no pattern: {last}"), "such as [a-z0-9-]+");
            None
        });
        let argument = Argument {
            name,
            one_of: raw.one_of.clone(),
            pattern,
            default: raw.default.clone(),
            is_secret: raw.secret,
        };
        if let Some(default) = raw.default.as_ref().filter(|default| !argument.takes(default)) {
            let what = format!("the argument does not take its default {default:?}");
            self.wrong(&at("default"), what, "a value that one_of and pattern allow");
        }
        argument
    }

    fn when(&mut self, raw: &raw::Command, arguments: &[Argument]) -> BTreeMap<String, Vec<String>> {
        let mut when = BTreeMap::new();
        for (name, values) in &raw.when {
            let key = format!("when.{name}");
            let Some(argument) = arguments.iter().find(|argument| argument.name == *name) else {
                let names = arguments.iter().map(|argument| argument.name.as_str());
                let hint = if arguments.is_empty() {
                    format!("list it: args = [{{ name = \"{name}\" }}]")
                } else {
                    nearest::hint(name, names)
                };
                self.wrong(&key, format!("there is no argument {name}"), hint);
                continue;
            };
            for (index, value) in values.items().into_iter().filter(|(_, value)| !argument.takes(value)) {
                let what = format!("{name} is never {value:?}, so the rule would never fit");
                let hint = nearest::hint(value, argument.one_of.iter().map(String::as_str));
                self.wrong(&format!("{key}{index}"), what, hint);
            }
            when.insert(
                name.clone(),
                values.items().into_iter().map(|(_, value)| value.to_owned()).collect(),
            );
        }
        when
    }

    fn rooms(&mut self, raw: &raw::Command) -> Vec<String> {
        let rooms = raw.rooms.as_ref().map(OneOrMany::items).unwrap_or_default();
        for (index, room) in &rooms {
            if !room.split_once('/').is_some_and(|(chat, room)| is_token(chat) && !room.is_empty()) {
                let hint = "the chat and the room in it, such as main/#ops";
                self.wrong(&format!("rooms{index}"), format!("{room:?} is no room of a chat"), hint);
            }
        }
        rooms.into_iter().map(|(_, room)| room.to_owned()).collect()
    }

    fn allow(&mut self, raw: &raw::Command) -> Vec<String> {
        if raw.allow.is_empty() && !self.has("allow") {
            let hint = "allow = [\"…\"] with roles of [[people]]";
            let problem = self.document.error(self.key, "nobody may give the command", hint);
            self.checks.problems.push(problem);
        }
        let known = self.people.roles();
        for (i, role) in raw.allow.iter().enumerate().filter(|(_, role)| !known.contains(role.as_str())) {
            let hint = nearest::hint(role, known.iter().copied());
            let hint = if known.is_empty() { "give it to somebody: [[people]]".to_owned() } else { hint };
            let key = format!("{}.allow[{i}]", self.key);
            let what = format!("nobody has the role {role}, so it allows nobody");
            self.checks.problems.push(self.document.warning(&key, what, hint));
        }
        raw.allow.clone()
    }

    fn timeout(&mut self, raw: &raw::Command) -> Duration {
        let Some(text) = &raw.timeout else { return TIMEOUT };
        let range = "from 1s to 24h, such as 10m";
        duration_in(text, Duration::from_secs(1), LONGEST, range).unwrap_or_else(|(what, hint)| {
            self.wrong("timeout", what, hint);
            TIMEOUT
        })
    }
}
