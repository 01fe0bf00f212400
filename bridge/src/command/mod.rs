//! Chat commands, from a line to its answer. The bridge runs nothing itself: handlers do, which it asks over NATS.
//!
//! ```text
//! line ─▶ claim ─▶ words ─▶ policy (person, room, command, arguments) ─▶ audit ─▶ handler ─▶ answer ─▶ audit
//!                               │                    │
//!                               └▶ denied            └▶ waits for a confirmation or another person's approval
//! ```
//!
//! `words`, `argument`, `person`, `policy` and `approval` are pure; `claims`, `pending`, `handlers` and `dispatch` are each one
//! thing on the bus. Without an acknowledged claim and an acknowledged entry of the audit, nothing is asked.

pub(crate) mod approval;
pub(crate) mod argument;
mod attached;
mod builtin;
pub(crate) mod claims;
pub(crate) mod dispatch;
mod files;
pub(crate) mod flood;
mod given;
pub(crate) mod handlers;
mod left;
pub(crate) mod line;
pub(crate) mod own;
mod peers;
mod pending;
pub(crate) mod person;
pub(crate) mod policy;
pub(crate) mod speakers;
mod told;
pub(crate) mod words;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tellhal::audit::{Entry, Kind};
use tellhal::command::{Answer, FRESH, Request, VERSION, is_name};
use tellhal::{Timestamp, nearest};
use tokio::sync::{Mutex as AsyncMutex, Notify, watch};

use self::approval::Pending;
use self::argument::Value;
use self::claims::{Asked, Claims, Held};
use self::dispatch::{Dispatch, End};
use self::flood::{Admission, Flood};
use self::given::{EACH, Given};
use self::line::{Line, Out};
use self::own::Owners;
use self::policy::{Approval, Policy, Verdict};
use self::speakers::Speakers;
use crate::bus::Bus;
use crate::metrics::{CommandOutcome, Metrics};
use crate::outbox::Outbox;

/// The commands that run for somebody, by the ids of their requests.
type Running = Arc<Mutex<HashMap<String, RunningCommand>>>;

struct RunningCommand {
    command: String,
    person: Option<String>,
    cancelled: Arc<Notify>,
}

/// Everything that lines need. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Commands {
    pub(crate) bus: Bus,
    pub(crate) claims: Claims,
    policy: watch::Receiver<Arc<Policy>>,
    flood: Arc<Mutex<Flood>>,
    running: Running,
    outbox: Outbox,
    pub(crate) speakers: Speakers,
    /// The bridge's parts that answer commands themselves.
    pub(crate) owners: Owners,
    metrics: Arc<Metrics>,
}

/// A line that this bridge answers, and nobody else.
pub(crate) struct Taken {
    id: String,
    line: Line,
    /// The time to wait, if it is one too many.
    flooded: Option<Duration>,
    /// Absent if nothing could be claimed: then the answer says so.
    held: Option<Held>,
}

impl Commands {
    pub(crate) fn new(
        bus: Bus,
        owner: String,
        policy: watch::Receiver<Arc<Policy>>,
        outbox: Outbox,
        metrics: Arc<Metrics>,
    ) -> Commands {
        let claims = Claims::new(bus.clone(), owner);
        Commands {
            bus,
            claims,
            policy,
            flood: Arc::default(),
            running: Arc::default(),
            outbox,
            speakers: Speakers::default(),
            owners: Owners::default(),
            metrics,
        }
    }

    /// True if some arguments exist with which the person may give the command there.
    pub(crate) fn may(&self, person: &str, room: &str, command: &str) -> bool {
        let policy = self.policy.borrow();
        policy.may(policy.people.named(person), room, command)
    }

    /// True if the configuration has a chat of this name.
    pub(crate) fn is_chat(&self, name: &str) -> bool {
        self.policy.borrow().chats.contains(name)
    }

    /// Handles one line to its end. At most one bridge does so for one event of a platform; false if this one did not.
    pub(crate) async fn handle(&self, line: Line, out: &dyn Out) -> bool {
        let taken = self.take(line).await;
        let is_taken = taken.is_some();
        if let Some(taken) = taken {
            self.finish(taken, out).await;
        }
        is_taken
    }

    /// Claims a line; `None` if a bridge has it already, and for all but the first line of a flood.
    pub(crate) async fn take(&self, line: Line) -> Option<Taken> {
        let limit = self.policy.borrow().limit;
        let admission = self.flood().admit(&flood_key(&line), limit);
        let flooded = match admission {
            Admission::Passes => None,
            Admission::Told(wait) => Some(wait),
            Admission::Dropped => {
                let label = CommandOutcome { chat: line.kind, outcome: "dropped" };
                self.metrics.commands.get_or_create(&label).inc();
                return None;
            }
        };
        let id = new_id();
        let held = match self.claims.claim(&line, &id).await {
            Ok(held) => Some(held?),
            Err(error) => {
                tracing::error!(
                    room = line.place(),
                    error = format!("{error:#}"),
                    "a command is not run: it cannot be claimed"
                );
                None
            }
        };
        Some(Taken { id, line, flooded, held })
    }

    /// Answers a line that was taken.
    pub(crate) async fn finish(&self, Taken { id, line, flooded, held }: Taken, out: &dyn Out) {
        let Some(held) = held else {
            let text = "this is not run: NATS does not take the note that a command leaves; try again later";
            return out.answer(&Answer::failed(text)).await;
        };
        let held = AsyncMutex::new(held);
        let policy = self.policy.borrow().clone();
        let given = Given {
            id,
            line: &line,
            held: &held,
            policy,
            command: String::new(),
            words: vec![],
            each: false,
            shown: vec![],
            asker: None,
        };
        let work = async {
            let answer = self.answered(given, flooded, out).await;
            out.answer(&answer).await;
        };
        self.claims.during(&held, work).await;
        self.claims.done(held.into_inner()).await;
    }

    async fn answered(&self, mut given: Given<'_>, flooded: Option<Duration>, out: &dyn Out) -> Answer {
        let line = given.line;
        if let Some(wait) = flooded {
            let text = format!("too many commands; further ones are dropped for {}", whole_seconds(wait));
            return self.refuse(&given, Kind::Refused, &text).await;
        }
        let mut words = match words::words(&line.text) {
            Ok(words) => words,
            Err(unclear) => return self.refuse(&given, Kind::Refused, &unclear.to_string()).await,
        };
        if words.is_empty() {
            words.push("help".into());
        }
        given.command = words.remove(0).to_lowercase();
        given.each = words.first().is_some_and(|word| word == EACH);
        given.words = words.split_off(usize::from(given.each));
        given.shown = given.policy.masked(&given.command, &given.words);
        if !is_name(&given.command) {
            let text = "a command is one word of a-z 0-9 _ -; help lists yours";
            return self.refuse(&given, Kind::Refused, text).await;
        }
        let place = line.place();
        match given.policy.decide(&given.request(&place)).0 {
            Verdict::Denied(why) => {
                let text = format!("you may not give {}: {why}", given.command);
                self.refuse(&given, Kind::Denied, &text).await
            }
            Verdict::Wrong(why) => self.refuse(&given, Kind::Refused, &why).await,
            Verdict::Allowed { approval: Approval::None, timeout, values } => {
                self.perform(&given, &values, timeout, out).await
            }
            Verdict::Allowed { approval, .. } => self.wait_for(&given, approval).await,
        }
    }

    /// The answer to a line that leads to nothing.
    async fn refuse(&self, given: &Given<'_>, kind: Kind, text: &str) -> Answer {
        self.audit(&given.entry(kind, text)).await;
        self.count(given, kind);
        Answer::failed(text)
    }

    /// Stores an entry of the audit, and tells it in rooms if its kind is to be told.
    async fn note(&self, entry: &Entry) -> anyhow::Result<u64> {
        let place = self.bus.audit(entry).await?;
        if self.policy.borrow().told.contains(&entry.kind) {
            let (outbox, message) = (self.outbox.clone(), told::message(entry));
            // A command does not wait for it.
            tokio::spawn(async move {
                outbox.publish("command", &message).await;
            });
        }
        Ok(place)
    }

    /// Notes what has happened. That it is noted is no condition of anything.
    async fn audit(&self, entry: &Entry) {
        if let Err(error) = self.note(entry).await {
            let (id, kind) = (&entry.id, entry.kind.as_str());
            tracing::error!(id, kind, %error, "an entry of the audit is lost");
        }
    }

    /// Runs an allowed command, after the audit has it.
    async fn perform(&self, given: &Given<'_>, values: &[Value], timeout: Duration, out: &dyn Out) -> Answer {
        let entry = match self.note(&given.entry(Kind::Asked, "")).await {
            Ok(entry) => entry,
            Err(error) => {
                tracing::error!(id = given.id, %error, "a command is not run: the audit does not take it");
                return Answer::failed(
                    "this is not run, since the audit does not take it now; try again later",
                );
            }
        };
        let (kind, answer) = match self.builtin(given, out).await {
            Some(ended) => ended,
            None => self.ask(given, values, timeout, entry, out).await,
        };
        self.audit(&given.ended(kind, &answer)).await;
        self.count(given, kind);
        answer
    }

    /// Asks a handler, or all of them. `entry` is the place of the audit's entry that says so.
    async fn ask(
        &self,
        given: &Given<'_>,
        values: &[Value],
        timeout: Duration,
        entry: u64,
        out: &dyn Out,
    ) -> (Kind, Answer) {
        let asked = Asked { id: given.id.clone(), command: given.command.clone(), entry };
        match self.claims.asks(&mut *given.held.lock().await, asked).await {
            Ok(true) => {}
            Ok(false) => {
                let text = "this is not run: another bridge has taken over meanwhile; give it again";
                return (Kind::Failed, Answer::failed(text));
            }
            Err(error) => {
                tracing::error!(id = given.id, error = format!("{error:#}"), "a command is not run");
                let text =
                    "this is not run: NATS does not take the note that a command leaves; try again later";
                return (Kind::Failed, Answer::failed(text));
            }
        }
        if let Some(own) = self.owners.of(&given.command) {
            let mut answer = own.answer(&given.call(&given.line.place())).await;
            self.keep_files(&given.id, &mut answer).await;
            return (if answer.failed { Kind::Failed } else { Kind::Done }, answer);
        }
        let names = &self.bus.names;
        let each = match given.each {
            true => {
                let served = handlers::alive(&self.bus.handlers, names).await.remove(&given.command);
                Some(served.map_or(0, |served| served.instances))
            }
            false => None,
        };
        let person = given.person();
        let request = Request {
            v: VERSION,
            id: given.id.clone(),
            subject: if given.each { names.each(&given.command) } else { names.cmd(&given.command) },
            command: given.command.clone(),
            args: values.iter().map(|value| value.value.clone()).collect(),
            named: values
                .iter()
                .filter(|value| !value.name.is_empty())
                .map(|value| (value.name.clone(), value.value.clone()))
                .collect(),
            person: person.map(|person| person.name.clone()),
            roles: person.map(|person| person.roles.iter().cloned().collect()).unwrap_or_default(),
            room: given.line.place(),
            expires: Timestamp::now().plus(FRESH),
            timeout_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
            cancel: None,
        };
        let cancelled = Arc::new(Notify::new());
        let running = RunningCommand {
            command: given.command.clone(),
            person: request.person.clone(),
            cancelled: cancelled.clone(),
        };
        self.running().insert(given.id.clone(), running);
        let end = Dispatch { bus: &self.bus, request, each, cancelled: &cancelled }.ask(out).await;
        self.running().remove(&given.id);
        let (kind, mut answer) = match end {
            End::Answered(answer) if answer.failed => (Kind::Failed, answer),
            End::Answered(answer) => (Kind::Done, answer),
            End::NoHandler => (Kind::Failed, Answer::failed(self.nobody(given).await)),
            End::Unknown(why) => {
                (Kind::Unknown, Answer::failed(format!("{}: outcome unknown: {why}", given.command)))
            }
        };
        self.keep_files(&given.id, &mut answer).await;
        (kind, answer)
    }

    /// Says that a command is served by nobody, and which is meant perhaps.
    async fn nobody(&self, given: &Given<'_>) -> String {
        let alive = handlers::alive(&self.bus.handlers, &self.bus.names).await;
        let place = given.line.place();
        let allowed = |name: &&str| given.policy.may(given.person(), &place, name);
        let names: Vec<&str> = alive.keys().map(String::as_str).filter(allowed).collect();
        let what = format!("nobody answers {} now", given.command);
        match names.is_empty() {
            true => what,
            false => format!("{what}; {}", nearest::hint(&given.command, names)),
        }
    }

    /// Keeps a command until it is confirmed or approved.
    async fn wait_for(&self, given: &Given<'_>, approval: Approval) -> Answer {
        let Some(person) = given.person() else { return Answer::failed("only a person may ask for that") };
        let pending = Pending {
            id: given.id.clone(),
            person: person.name.clone(),
            command: given.command.clone(),
            words: given.words.clone(),
            each: given.each,
            room: given.line.place(),
            chat: given.line.chat.clone(),
            to: given.line.to.clone(),
            prefix: self.bus.names.prefix().to_owned(),
            approval,
            expires: Timestamp(0),
            hash: String::new(),
        };
        let pending = Pending::new(pending, Timestamp::now());
        let noted = async {
            self.note(&given.entry(Kind::Waiting, &approval.to_string())).await?;
            pending::keep(&self.bus, &pending).await
        };
        if let Err(error) = noted.await {
            tracing::error!(id = given.id, %error, "a command cannot wait for its approval");
            return Answer::failed(
                "this is not run: NATS does not keep it for an approval now; try again later",
            );
        }
        self.count(given, Kind::Waiting);
        let what = given.shown_line();
        let minutes = approval::PATIENCE.as_secs() / 60;
        let id = &given.id;
        Answer::done(match approval {
            Approval::SecondPerson => {
                format!("{what} needs another person: approve {id} (or deny {id}) within {minutes} minutes")
            }
            _ => format!("{what} needs your confirmation: approve {id} within {minutes} minutes"),
        })
    }

    fn count(&self, given: &Given<'_>, kind: Kind) {
        let label = CommandOutcome { chat: given.line.kind, outcome: kind.as_str() };
        self.metrics.commands.get_or_create(&label).inc();
    }

    fn flood(&self) -> std::sync::MutexGuard<'_, Flood> {
        self.flood.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self) -> std::sync::MutexGuard<'_, HashMap<String, RunningCommand>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A flood is counted by account; people without one share a count in their room.
fn flood_key(line: &Line) -> String {
    line.account.as_ref().map_or_else(|| line.place(), ToString::to_string)
}

fn whole_seconds(wait: Duration) -> String {
    humantime::format_duration(Duration::from_secs(wait.as_secs() + 1)).to_string()
}

/// A short id, which people type to approve or cancel: eight characters that look like no others.
pub(crate) fn new_id() -> String {
    const LETTERS: &[u8] = b"abcdefghjkmnpqrstuvwxyz23456789";
    (0..8).map(|_| char::from(LETTERS[fastrand::usize(..LETTERS.len())])).collect()
}
