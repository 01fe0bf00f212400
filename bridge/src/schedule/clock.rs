//! The clock of one job: waits for its next due time, and does as its record says. Every bridge runs one for every job; the record
//! makes them fire once.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::ensure;
use async_trait::async_trait;
use tellhal::Timestamp;
use tellhal::command::Answer;
use tellhal::message::Message;
use tokio::sync::Notify;
use tokio::time::{interval, sleep};
use tokio_util::sync::CancellationToken;

use super::job::Job;
use super::record::{Firing, Record, Running, Step, Why};
use crate::command::Commands;
use crate::command::line::{Line, Out};
use crate::command::person::Account;
use crate::memory::{Entry, Memory};
use crate::outbox::{Outbox, SOURCE};

/// The kind of source in metrics, and the chat of commands in rooms, claims and the audit.
pub(crate) const SCHEDULE: &str = "schedule";
/// The interval at which the wall clock is looked at, which may be set.
const LOOK: Duration = Duration::from_secs(1);
/// The pause after the bus has not answered.
const PAUSE: Duration = Duration::from_secs(2);
/// The time in which a command's bridge says that it lives, and the interval at which it does.
const ALIVE: Duration = Duration::from_secs(30);
const BEAT: Duration = Duration::from_secs(10);

/// One job on this bridge.
pub(super) struct Clock {
    pub(super) job: Job,
    pub(super) records: Memory,
    pub(super) outbox: Outbox,
    pub(super) commands: Commands,
    /// Signals that the record was changed by another task.
    pub(super) changed: Arc<Notify>,
    /// The record as this bridge knows it; `None` before it was read.
    known: Option<Entry<Option<Record>>>,
}

impl Clock {
    pub(super) fn new(
        job: Job,
        records: Memory,
        outbox: Outbox,
        commands: Commands,
        changed: Arc<Notify>,
    ) -> Clock {
        Clock { job, records, outbox, commands, changed, known: None }
    }

    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut is_told = false;
        loop {
            // A firing that is begun is finished: a command may run.
            let next = self.handle().await;
            if stop.is_cancelled() {
                return;
            }
            let wait = async {
                match &next {
                    Ok(next) => until(*next).await,
                    Err(_) => sleep(PAUSE).await,
                }
            };
            let job = self.job.name.as_str();
            match &next {
                Ok(_) if std::mem::take(&mut is_told) => {
                    tracing::info!(job, "the schedule's record can be read again")
                }
                Err(error) if !std::mem::replace(&mut is_told, true) => {
                    tracing::warn!(
                        job,
                        error = format!("{error:#}"),
                        "a schedule waits for the bus; due times are caught up later"
                    );
                }
                _ => {}
            }
            tokio::select! {
                () = wait => {}
                () = self.changed.notified() => self.known = None,
                () = stop.cancelled() => return,
            }
        }
    }

    /// Does all that is due, and says when there is more to do.
    async fn handle(&mut self) -> anyhow::Result<Option<Timestamp>> {
        loop {
            let Entry { value: record, revision } = match &self.known {
                Some(known) => known.clone(),
                None => self.read().await?,
            };
            // A message's id, of which nobody else can have the same.
            let new_id = Message::new(SOURCE, self.job.tag.clone(), "").id;
            match self.job.rule().step(record.as_ref(), Timestamp::now(), &new_id) {
                Step::Wait(next) => return Ok(next),
                Step::Store(record, why) => {
                    self.log(&record, why);
                    self.store(*record, revision).await?;
                }
                Step::Fire(firing) => self.fire(record.unwrap_or_default(), revision, firing).await?,
                Step::GiveUp(Running { firing, .. }) => {
                    self.give_up(record.unwrap_or_default(), revision, &firing).await?
                }
            }
        }
    }

    async fn read(&mut self) -> anyhow::Result<Entry<Option<Record>>> {
        let entry = self.records.get::<Record>(&self.job.name).await?;
        let entry = match entry {
            Some(Entry { value, revision }) => Entry { value: Some(value), revision },
            None => Entry { value: None, revision: 0 },
        };
        self.known = Some(entry.clone());
        Ok(entry)
    }

    /// Stores a record unless somebody else has changed it, which is then read. True if it is stored.
    async fn store(&mut self, record: Record, revision: u64) -> anyhow::Result<bool> {
        self.known = None;
        let stored = self.records.change(&self.job.name, &record, revision).await?;
        Ok(stored.is_some())
    }

    fn log(&self, record: &Record, why: Why) {
        let (job, handled) = (self.job.name.as_str(), record.handled.to_string());
        match why {
            Why::New | Why::Due | Why::Paused => tracing::debug!(job, handled, ?why, "a schedule's record"),
            Why::Resumed => tracing::info!(job, "the schedule's pause is over"),
            Why::Missed => tracing::warn!(job, due = handled, "a due time was missed, and is not caught up"),
            Why::Clock => tracing::warn!(job, "the schedule's record was of a clock far ahead of this one"),
        }
    }

    async fn fire(&mut self, record: Record, revision: u64, firing: Firing) -> anyhow::Result<()> {
        let Some(command) = self.job.command.clone() else {
            let is_kept = self.outbox.publish(SCHEDULE, &self.job.message(&firing)).await.is_kept();
            ensure!(is_kept, "its message is lost");
            let ended = record.ended(&firing, Timestamp::now(), false, "told".into());
            self.store(ended, revision).await?;
            return Ok(());
        };
        let line = Line {
            chat: SCHEDULE.into(),
            kind: SCHEDULE,
            room: self.job.name.clone(),
            account: Some(Account::Schedule(self.job.name.clone())),
            speaker: format!("schedule {}", self.job.name),
            event: Some(firing.id.clone()),
            text: command,
            to: String::new(),
        };
        match self.commands.take(line).await {
            Some(taken) => {
                let asked = record.asked(&firing, Timestamp::now().plus(ALIVE));
                self.store(asked, revision).await?;
                let said = Said::default();
                let commands = self.commands.clone();
                tokio::select! {
                    () = commands.finish(taken, &said) => {}
                    () = self.live() => {}
                }
                let answer = said.0.lock().unwrap_or_else(PoisonError::into_inner).take();
                self.end(&firing, answer.unwrap_or_else(|| Answer::failed("no answer"))).await
            }
            // Another bridge has taken it, and says so in the record.
            None if Timestamp::now().since(firing.at) < ALIVE => {
                self.known = None;
                sleep(LOOK).await;
                Ok(())
            }
            None => self.give_up(record, revision, &firing).await,
        }
    }

    /// Says in the record that the command's bridge lives, without end.
    async fn live(&mut self) {
        let mut beats = interval(BEAT);
        beats.tick().await;
        loop {
            beats.tick().await;
            let renewed = async {
                let Entry { value, revision } = self.read().await?;
                if let Some(record) = value
                    && let Some(running) = record.running.clone()
                {
                    let running = Some(Running { until: Timestamp::now().plus(ALIVE), ..running });
                    self.store(Record { running, ..record }, revision).await?;
                }
                anyhow::Ok(())
            };
            if let Err(error) = renewed.await {
                tracing::warn!(
                    job = self.job.name,
                    error = format!("{error:#}"),
                    "a schedule's command runs, and its record is not renewed"
                );
            }
        }
    }

    async fn give_up(&mut self, record: Record, revision: u64, firing: &Firing) -> anyhow::Result<()> {
        let ended = record.ended(firing, Timestamp::now(), true, "outcome unknown".into());
        self.tell(&self.job.unknown(firing)).await?;
        self.store(ended, revision).await?;
        Ok(())
    }

    /// Tells a command's answer, and notes how it went.
    async fn end(&mut self, firing: &Firing, answer: Answer) -> anyhow::Result<()> {
        let mut message = self.job.answered(firing, &answer.answer, answer.failed);
        self.commands.attach(&mut message, &answer.files);
        self.tell(&message).await?;
        let outcome = if answer.failed { "answered with an error" } else { "answered" };
        for _ in 0..5 {
            let Entry { value, revision } = self.read().await?;
            let record = value.unwrap_or_default();
            let ended = record.ended(firing, Timestamp::now(), answer.failed, outcome.into());
            if self.store(ended, revision).await? {
                break;
            }
        }
        Ok(())
    }

    async fn tell(&self, message: &Message) -> anyhow::Result<()> {
        let is_kept = self.outbox.publish(SCHEDULE, message).await.is_kept();
        ensure!(is_kept, "its message is lost");
        Ok(())
    }
}

/// Waits until the wall clock shows `next`, or was set back. Without a `next`, without end.
async fn until(next: Option<Timestamp>) {
    let Some(next) = next else { return std::future::pending().await };
    let begun = Timestamp::now();
    loop {
        let now = Timestamp::now();
        if now >= next || now < begun.minus(LOOK) {
            return;
        }
        sleep(next.since(now).min(LOOK)).await;
    }
}

/// The answer to a command.
#[derive(Default)]
struct Said(Mutex<Option<Answer>>);

#[async_trait]
impl Out for Said {
    async fn progress(&self, _: &str, _: &str) {}

    async fn answer(&self, answer: &Answer) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer.clone());
    }
}
