//! Keeps the reminders of all bridges, says those that are due where they were asked for, and answers the commands about them. A
//! reminder is said once the bridge that speaks in its chat has taken it, which then tries for two minutes. A bridge that dies while it
//! says one may leave it to be said a second time.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use service::zone::Zone;
use tellhal::command::Answer;
use tellhal::message::{Message, Severity};
use tellhal::tag::Tag;
use tellhal::{Timestamp, nearest};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::asked::Asked;
use super::kept::{GIVEN_UP, MOST, Reminder, Reminders as Kept};
use crate::command::own::{Call, Own};
use crate::command::{Commands, new_id};
use crate::means::Means;
use crate::memory::{Entry, Memory};
use crate::outbox::{Outbox, SOURCE};

const COMMANDS: [(&str, &str); 3] = [
    ("remind me|ROOM in|at|every TIME to TEXT", "says a text here or in a room, at a time"),
    ("reminders", "lists the reminders that you have asked for"),
    ("forget ID", "drops one of them"),
];
/// The one entry with all reminders.
const ALL: &str = "all";
const TRIES: usize = 5;
/// The interval at which other bridges' changes are looked for.
const LOOK: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_secs(2);

/// The reminders. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Reminders {
    memory: Memory,
    commands: Commands,
    outbox: Outbox,
    /// The zone of times that name none.
    zone: watch::Receiver<Zone>,
    changed: Arc<Notify>,
}

impl Reminders {
    /// The reminders, whose commands are answered from now on.
    pub(crate) fn new(means: &Means, zone: watch::Receiver<Zone>) -> Reminders {
        let reminders = Reminders {
            memory: Memory::new(&means.bus, "reminder"),
            commands: means.commands.clone(),
            outbox: means.outbox.clone(),
            zone,
            changed: Arc::default(),
        };
        means.commands.owners.add(Arc::new(reminders.clone()));
        reminders
    }

    /// Says what is due, until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        loop {
            let wait = match self.say_due().await {
                Ok(Some(next)) => next.since(Timestamp::now()).min(LOOK),
                Ok(None) => LOOK,
                Err(error) => {
                    tracing::debug!(error = format!("{error:#}"), "the reminders cannot be read");
                    PAUSE
                }
            };
            tokio::select! {
                () = sleep(wait.max(Duration::from_millis(100))) => {}
                () = self.changed.notified() => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn read(&self) -> anyhow::Result<Entry<Kept>> {
        let entry = self.memory.get::<Kept>(ALL).await?;
        Ok(entry.unwrap_or_else(|| Entry { value: Kept::default(), revision: 0 }))
    }

    /// Changes the reminders. `change` says what comes of it; an error leaves them as they are.
    async fn change<T, E>(&self, change: impl Fn(&mut Kept) -> Result<T, E>) -> anyhow::Result<Result<T, E>> {
        for _ in 0..TRIES {
            let Entry { value: mut kept, revision } = self.read().await?;
            match change(&mut kept) {
                Err(why) => return Ok(Err(why)),
                Ok(done) => {
                    if self.memory.change(ALL, &kept, revision).await?.is_some() {
                        self.changed.notify_one();
                        return Ok(Ok(done));
                    }
                }
            }
        }
        anyhow::bail!("the reminders change all the time")
    }

    async fn say_due(&self) -> anyhow::Result<Option<Timestamp>> {
        loop {
            let Entry { value: mut kept, revision } = self.read().await?;
            let Some(reminder) = kept.take(Timestamp::now()) else { return Ok(kept.next()) };
            if self.memory.change(ALL, &kept, revision).await?.is_none() {
                continue;
            }
            if self.say(&reminder).await {
                let (now, zone) = (Timestamp::now(), self.zone.borrow().clone());
                let said = |kept: &mut Kept| {
                    kept.said(&reminder.id, now, &zone);
                    Ok::<_, ()>(())
                };
                let _ = self.change(said).await?;
            }
        }
    }

    /// True if it need not be said again.
    async fn say(&self, reminder: &Reminder) -> bool {
        let text = format!("reminder of {}: {}", reminder.by, reminder.text);
        if self.commands.say(&reminder.id, &reminder.chat, &reminder.to, text.clone()).await {
            return true;
        }
        if Timestamp::now().since(reminder.due) < GIVEN_UP {
            return false;
        }
        let mut message = Message::new(SOURCE, Tag::nearest("bridge.reminder"), text);
        message.severity = Severity::Notice;
        message.fields.insert("room".into(), reminder.place.clone());
        self.outbox.publish("reminder", &message).await.is_kept()
    }

    async fn remind(&self, call: &Call<'_>) -> anyhow::Result<Answer> {
        let zone = self.zone.borrow().clone();
        let asked = match Asked::read(call.words, Timestamp::now(), &zone) {
            Ok(asked) => asked,
            Err(why) => return Ok(Answer::failed(why)),
        };
        let (chat, to, place) = match self.place(call, asked.room.as_deref()) {
            Ok(place) => place,
            Err(why) => return Ok(Answer::failed(why)),
        };
        let reminder = Reminder {
            id: new_id(),
            by: call.person.to_owned(),
            chat,
            to,
            place,
            text: asked.text,
            due: asked.due,
            every: asked.every,
            taken: None,
        };
        let kept = self.change(|kept| {
            if kept.0.len() >= MOST {
                return Err(format!("{MOST} reminders are kept already; forget one first"));
            }
            kept.0.push(reminder.clone());
            Ok(())
        });
        Ok(match kept.await? {
            Ok(()) => {
                let Reminder { id, place, due, .. } = &reminder;
                Answer::done(format!("{} in {place}; forget {id} drops it", zone.date_and_clock(*due)))
            }
            Err(why) => Answer::failed(why),
        })
    }

    /// Chat, place there, and the place's name for people.
    fn place(&self, call: &Call<'_>, room: Option<&str>) -> Result<(String, String, String), String> {
        let Some(room) = room else {
            return match call.to {
                "" => {
                    Err("the page cannot be reminded; name a room, such as remind main/#ops in 2h to …"
                        .into())
                }
                to => Ok((call.chat.to_owned(), to.to_owned(), call.room.to_owned())),
            };
        };
        let (chat, room) = room.split_once('/').unwrap_or((call.chat, room));
        let place = format!("{chat}/{room}");
        if !self.commands.may(call.person, &place, call.command) {
            return Err(format!("you may not give {} in {place}", call.command));
        }
        if !self.commands.is_chat(chat) {
            return Err(format!("there is no chat {chat}"));
        }
        Ok((chat.to_owned(), format!("{}{room}", crate::command::speakers::ROOM), place))
    }

    async fn list(&self, person: &str) -> anyhow::Result<Answer> {
        let Entry { value: kept, .. } = self.read().await?;
        let zone = self.zone.borrow().clone();
        let mut yours: Vec<&Reminder> = kept.0.iter().filter(|reminder| reminder.by == person).collect();
        if yours.is_empty() {
            return Ok(Answer::done("you have asked for no reminder"));
        }
        yours.sort_by_key(|reminder| reminder.due);
        let line = |reminder: &&Reminder| {
            let every = reminder.every.as_ref().map_or(String::new(), |every| format!(" every {every}"));
            let due = zone.date_and_clock(reminder.due);
            format!("{}  {due}{every}  {}  {}", reminder.id, reminder.place, reminder.text)
        };
        let lines: Vec<String> = yours.iter().map(line).collect();
        Ok(Answer { fixed_width: true, ..Answer::done(lines.join("\n")) })
    }

    async fn forget(&self, person: &str, id: &str) -> anyhow::Result<Answer> {
        let dropped = self.change(|kept| {
            let is_this = |reminder: &Reminder| reminder.id == id && reminder.by == person;
            match kept.0.iter().any(is_this) {
                true => {
                    kept.0.retain(|reminder| !is_this(reminder));
                    Ok(())
                }
                false => {
                    let yours = kept.0.iter().filter(|reminder| reminder.by == person);
                    let hint = nearest::hint(id, yours.map(|reminder| reminder.id.as_str()));
                    Err(format!("you have asked for no reminder {id}; {hint}"))
                }
            }
        });
        Ok(dropped.await?.map_or_else(Answer::failed, |()| Answer::done(format!("{id} is forgotten"))))
    }
}

#[async_trait]
impl Own for Reminders {
    fn commands(&self) -> &'static [(&'static str, &'static str)] {
        &COMMANDS
    }

    async fn answer(&self, call: &Call<'_>) -> Answer {
        let answer = match (call.command, call.words) {
            ("remind", _) => self.remind(call).await,
            ("reminders", []) => self.list(call.person).await,
            ("forget", [id]) => self.forget(call.person, id).await,
            ("reminders", _) => Ok(Answer::failed("it is reminders")),
            _ => Ok(Answer::failed("it is forget ID")),
        };
        answer.unwrap_or_else(|error| {
            tracing::error!(error = format!("{error:#}"), "the reminders cannot be read");
            Answer::failed("NATS does not answer; try again later")
        })
    }
}
