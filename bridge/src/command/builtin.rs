//! The bridge's own commands: `help`, `whoami`, `approve`, `deny`, `cancel`. Everybody may give them; what each of them does
//! looks at rights itself.

use std::fmt::Write as _;

use tellhal::Timestamp;
use tellhal::audit::Kind;
use tellhal::command::Answer;

use super::approval::Pending;
use super::line::Out;
use super::own::first;
use super::policy::{Approval, OPEN, Verdict};
use super::{Commands, Given, handlers, pending};

/// The bridge's own commands, as `help` shows them.
const OWN: [(&str, &str); 5] = [
    ("help [COMMAND]", "lists the commands that you may give now"),
    ("whoami", "says who you are here"),
    ("approve ID", "lets a command run that waits for it"),
    ("deny ID", "drops a command that waits for approval"),
    ("cancel ID", "ends a command that runs"),
];

impl Commands {
    /// The end of a command of the bridge's own; `None` for any other.
    pub(super) async fn builtin(&self, given: &Given<'_>, out: &dyn Out) -> Option<(Kind, Answer)> {
        if !OPEN.contains(&given.command.as_str()) {
            return None;
        }
        let answer = match (given.command.as_str(), given.words.as_slice()) {
            ("help", []) => self.help(given).await,
            ("help", [command]) => self.help_about(given, command).await,
            ("whoami", []) => whoami(given),
            ("approve", [id]) => match self.approve(given, id, out).await {
                Ok(answer) => answer,
                Err(why) => return Some((Kind::Denied, Answer::failed(why))),
            },
            ("deny", [id]) => self.deny(given, id).await,
            ("cancel", [id]) => self.cancel(given, id).await,
            (command, _) => {
                let usage = OWN.iter().find(|(usage, _)| first(usage) == command);
                Answer::failed(format!("it is {}", usage.map_or(command, |(usage, _)| usage)))
            }
        };
        Some((if answer.failed { Kind::Failed } else { Kind::Done }, answer))
    }

    async fn help(&self, given: &Given<'_>) -> Answer {
        let place = given.line.place();
        let alive = handlers::alive(&self.bus.handlers, &self.bus.names).await;
        let yours = alive.iter().filter(|(name, _)| given.policy.may(given.person(), &place, name));
        let served = yours.map(|(_, served)| (served.usage.as_str(), served.help.as_str()));
        let owned = self.owners.table();
        let may = |(usage, _): &(&str, &str)| given.policy.may(given.person(), &place, first(usage));
        let owned = owned.into_iter().filter(may);
        Answer { fixed_width: true, ..Answer::done(table(served.chain(owned).chain(OWN))) }
    }

    async fn help_about(&self, given: &Given<'_>, command: &str) -> Answer {
        if let Some((usage, help)) = OWN.iter().find(|(usage, _)| first(usage) == command) {
            return Answer::done(format!("{usage}: {help}"));
        }
        let place = given.line.place();
        if !given.policy.may(given.person(), &place, command) {
            return Answer::failed(format!("you may not give {command} here"));
        }
        if let Some((usage, help)) =
            self.owners.table().into_iter().find(|(usage, _)| first(usage) == command)
        {
            return Answer::done(format!("{usage}: {help}"));
        }
        let alive = handlers::alive(&self.bus.handlers, &self.bus.names).await;
        let Some(served) = alive.get(command) else {
            return Answer::failed(format!("nobody answers {command} now"));
        };
        let mut text = served.usage.clone();
        if !served.help.is_empty() {
            let _ = write!(text, ": {}", served.help);
        }
        if let Some(arguments) = given.policy.usage(command) {
            let _ = write!(text, "\nthe rules take {command} {arguments}");
        }
        if !served.hosts.is_empty() {
            let hosts: Vec<&str> = served.hosts.iter().map(String::as_str).take(20).collect();
            let _ = write!(text, "\nserved on {}", hosts.join(", "));
        }
        Answer::done(text)
    }

    /// Lets a command run that waits for `id`. Its answer is the answer; an error is the reason why the person may not.
    async fn approve(&self, given: &Given<'_>, id: &str, out: &dyn Out) -> Result<Answer, String> {
        let (waiting, revision) = match self.waiting(id).await {
            Ok(found) => found,
            Err(answer) => return Ok(answer),
        };
        let asked = self.asked_for(given, &waiting);
        let (prefix, now) = (self.bus.names.prefix(), Timestamp::now());
        let doubt = given.policy.lacks_assurance(&asked.request(&waiting.room), &given.line.place());
        let may = waiting.may_be_approved(given.person(), &given.policy, prefix, now);
        if let Err(why) = doubt.map_or(may, Err) {
            return Err(format!("{} is not approved: {why}", asked.shown_line()));
        }
        match pending::consume(&self.bus, id, revision).await {
            Ok(true) => {}
            Ok(false) => {
                return Ok(Answer::failed(format!("{id} was approved or denied by somebody else just now")));
            }
            Err(error) => {
                tracing::error!(id, %error, "an approval cannot be consumed");
                return Ok(Answer::failed("NATS does not answer; try again later"));
            }
        }
        let by = given.person().map_or_else(String::new, |person| format!("by {}", person.name));
        let entry = match self.note(&asked.entry(Kind::Approved, &by)).await {
            Ok(entry) => entry,
            Err(error) => {
                tracing::error!(id, %error, "an approved command is not run: the audit does not take it");
                return Ok(Answer::failed(
                    "it is approved and not run, since the audit does not take it now; ask for it again",
                ));
            }
        };
        // As the person who asked, where it was asked: the rules of this moment give arguments and time.
        let Verdict::Allowed { timeout, values, .. } = asked.policy.decide(&asked.request(&waiting.room)).0
        else {
            return Ok(Answer::failed("the rules have changed; ask for it again"));
        };
        let (kind, answer) = self.ask(&asked, &values, timeout, entry, out).await;
        self.audit(&asked.ended(kind, &answer)).await;
        // Private conversations have no names: their places differ.
        let is_elsewhere = waiting.room != given.line.place() || waiting.room.ends_with("/private");
        if is_elsewhere && waiting.to != given.line.to && !waiting.to.is_empty() {
            let text = format!("{}, approved {by}:\n{}", asked.shown_line(), answer.answer);
            let (commands, id, chat, to) =
                (self.clone(), id.to_owned(), waiting.chat.clone(), waiting.to.clone());
            tokio::spawn(async move { commands.say(&id, &chat, &to, text).await });
        }
        let head = match waiting.approval {
            Approval::SecondPerson => format!("{}, asked by {}:", asked.shown_line(), waiting.person),
            _ => format!("{}:", asked.shown_line()),
        };
        Ok(Answer { answer: format!("{head}\n{}", answer.answer), ..answer })
    }

    async fn deny(&self, given: &Given<'_>, id: &str) -> Answer {
        let (waiting, revision) = match self.waiting(id).await {
            Ok(found) => found,
            Err(answer) => return answer,
        };
        let is_own = given.person().is_some_and(|person| person.name == waiting.person);
        if !is_own && !given.policy.may(given.person(), &waiting.room, &waiting.command) {
            return Answer::failed(format!("only a person who may give {} may deny it", waiting.command));
        }
        if !matches!(pending::consume(&self.bus, id, revision).await, Ok(true)) {
            return Answer::failed(format!("{id} was approved or denied by somebody else just now"));
        }
        let asked = self.asked_for(given, &waiting);
        let by = given.person().map_or_else(String::new, |person| format!("by {}", person.name));
        self.audit(&asked.entry(Kind::Declined, &by)).await;
        Answer::done(format!("{}, asked by {}, is dropped", asked.shown_line(), waiting.person))
    }

    async fn waiting(&self, id: &str) -> Result<(Pending, u64), Answer> {
        match pending::find(&self.bus, id).await {
            Ok(Some(found)) => Ok(found),
            Ok(None) => Err(Answer::failed(format!("no command waits for {id}"))),
            Err(error) => {
                tracing::error!(id, %error, "the commands that wait cannot be read");
                Err(Answer::failed("NATS does not answer; try again later"))
            }
        }
    }

    /// The command that waits, as it was given by the person who asked.
    fn asked_for<'a>(&self, given: &Given<'a>, waiting: &Pending) -> Given<'a> {
        Given {
            id: waiting.id.clone(),
            line: given.line,
            held: given.held,
            policy: given.policy.clone(),
            shown: given.policy.masked(&waiting.command, &waiting.words),
            command: waiting.command.clone(),
            words: waiting.words.clone(),
            each: waiting.each,
            asker: Some(waiting.person.clone()),
        }
    }
}

fn whoami(given: &Given<'_>) -> Answer {
    let Some(account) = &given.line.account else {
        let what = "nobody that the rules know: this chat vouches for no account of yours";
        return Answer::done(format!("{what}; log in with its services, and ask again"));
    };
    match given.person() {
        Some(person) if person.roles.is_empty() => {
            Answer::done(format!("{}, {account}, without a role", person.name))
        }
        Some(person) => {
            let roles: Vec<&str> = person.roles.iter().map(String::as_str).collect();
            Answer::done(format!("{}, {account}, with the roles {}", person.name, roles.join(", ")))
        }
        None => Answer::done(format!("{account}, which is no person's account in [[people]]")),
    }
}

/// Commands and what they do, in two columns.
fn table<'a>(rows: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let rows: Vec<(&str, &str)> = rows.collect();
    let widest = rows.iter().map(|(usage, _)| usage.chars().count()).filter(|width| *width <= 30).max();
    let width = widest.unwrap_or(0);
    let row = |(usage, help): &(&str, &str)| format!("{usage:width$}  {help}").trim_end().to_owned();
    rows.iter().map(row).collect::<Vec<_>>().join("\n")
}
