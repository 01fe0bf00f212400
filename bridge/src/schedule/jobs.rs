//! The jobs of the configuration in force: their clocks, and the chat commands about them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use service::config::duration_in;
use service::process::drain;
use service::zone::Zone;
use tellhal::command::Answer;
use tellhal::message::Message;
use tellhal::{Timestamp, nearest};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::clock::Clock;
use super::job::Job;
use super::listed::{Listed, table};
use super::record::{Firing, Paused, Record};
use crate::command::own::{Call, Own};
use crate::means::Means;
use crate::memory::{Entry, Memory};
use crate::outbox::SOURCE;

/// The kind of the records in the bridge's memory.
pub(crate) const RECORDS: &str = "job";
const COMMANDS: [(&str, &str); 4] = [
    ("jobs [NAME]", "lists the schedules: when they are due next, and how they went last"),
    ("run-job NAME", "lets a schedule be due now"),
    ("pause JOB [TIME]", "lets a schedule not be due, for a time such as 2h or until resume"),
    ("resume JOB", "ends the pause of a schedule"),
];
/// The times that a record is tried to be changed beside its clock.
const TRIES: usize = 5;
const LONGEST_PAUSE: Duration = Duration::from_secs(366 * 86_400);

/// The jobs on this bridge. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Jobs {
    records: Memory,
    open: Arc<Mutex<Open>>,
}

#[derive(Default)]
struct Open {
    jobs: BTreeMap<String, Running>,
    zone: Zone,
    /// The clocks of all jobs, and those of earlier ones that finish.
    tasks: TaskTracker,
}

/// One job with its clock.
struct Running {
    job: Job,
    changed: Arc<Notify>,
    stop: CancellationToken,
}

impl Jobs {
    /// No jobs yet; commands about them are answered from now on.
    pub(crate) fn new(means: &Means) -> Jobs {
        let jobs = Jobs { records: Memory::new(&means.bus, RECORDS), open: Arc::default() };
        means.commands.owners.add(Arc::new(jobs.clone()));
        jobs
    }

    /// Runs the clocks of `jobs`. Those that have not changed go on; a command of one that has changed is finished.
    pub(crate) fn change(&self, jobs: &[Job], zone: &Zone, means: &Means) {
        let mut open = self.lock();
        open.zone.clone_from(zone);
        open.jobs.retain(|_, running| {
            let stays = jobs.contains(&running.job);
            if !stays {
                running.stop.cancel();
                running.changed.notify_one();
            }
            stays
        });
        for job in jobs {
            if open.jobs.contains_key(&job.name) {
                continue;
            }
            let (changed, stop) = (Arc::new(Notify::new()), CancellationToken::new());
            let (outbox, commands) = (means.outbox.clone(), means.commands.clone());
            let clock = Clock::new(job.clone(), self.records.clone(), outbox, commands, changed.clone());
            open.tasks.spawn(clock.run(stop.clone()));
            open.jobs.insert(job.name.clone(), Running { job: job.clone(), changed, stop });
        }
    }

    /// Begins nothing further, and waits at most `grace` for what is under way.
    pub(crate) async fn stop(&self, grace: Duration) {
        let tasks = {
            let open = self.lock();
            open.jobs.values().for_each(|running| running.stop.cancel());
            open.tasks.clone()
        };
        drain(&tasks, grace).await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn list(&self, only: Option<&String>) -> anyhow::Result<Answer> {
        let (jobs, zone) = {
            let open = self.lock();
            (open.jobs.values().map(|running| running.job.clone()).collect::<Vec<_>>(), open.zone.clone())
        };
        if jobs.is_empty() {
            return Ok(Answer::done("there are no schedules"));
        }
        let mut rows = Vec::new();
        for job in jobs.iter().filter(|job| only.is_none_or(|name| job.name == *name)) {
            let record = self.records.get::<Record>(&job.name).await?.map(|entry| entry.value);
            rows.push(Listed::new(job, record.as_ref(), Timestamp::now()));
        }
        if let (Some(name), []) = (only, rows.as_slice()) {
            return Ok(self.no_such(name));
        }
        Ok(Answer { fixed_width: true, ..Answer::done(table(&rows, &zone)) })
    }

    fn no_such(&self, name: &str) -> Answer {
        let open = self.lock();
        let hint = nearest::hint(name, open.jobs.keys().map(String::as_str));
        Answer::failed(format!("there is no schedule {name}; {hint}"))
    }

    /// Changes a job's record, and lets its clock know. `change` says what is answered, and the new record if there is one.
    async fn change_record(
        &self,
        name: &str,
        change: impl Fn(&Job, Record) -> (String, Option<Record>),
    ) -> anyhow::Result<Answer> {
        let found = self.lock().jobs.get(name).map(|running| (running.job.clone(), running.changed.clone()));
        let Some((job, changed)) = found else { return Ok(self.no_such(name)) };
        for _ in 0..TRIES {
            let Some(Entry { value, revision }) = self.records.get::<Record>(name).await? else { break };
            let (text, record) = change(&job, value);
            let Some(record) = record else { return Ok(Answer::failed(text)) };
            if self.records.change(name, &record, revision).await?.is_some() {
                changed.notify_one();
                return Ok(Answer::done(text));
            }
        }
        Ok(Answer::failed(format!("{name} changes at this moment; try again")))
    }

    async fn run(&self, name: &str, by: &str) -> anyhow::Result<Answer> {
        let now = Timestamp::now();
        self.change_record(name, |job, record| {
            if record.firing.is_some() || record.running.is_some() {
                return (format!("{name} runs already"), None);
            }
            let id = Message::new(SOURCE, job.tag.clone(), "").id;
            let firing = Firing { due: now, at: now, id, missed: 0, by: Some(by.to_owned()) };
            (format!("{name} is due now"), Some(Record { firing: Some(firing), ..record }))
        })
        .await
    }

    async fn pause(&self, name: &str, time: Option<&String>, by: &str) -> anyhow::Result<Answer> {
        let now = Timestamp::now();
        let range = "from 1s to 366 days, such as 2h";
        let time = time.map(|text| duration_in(text, Duration::from_secs(1), LONGEST_PAUSE, range));
        let until = match time.transpose() {
            Ok(time) => time.map(|time| now.plus(time)),
            Err((what, hint)) => return Ok(Answer::failed(format!("{what}; {hint}"))),
        };
        let zone = self.lock().zone.clone();
        self.change_record(name, |_, record| {
            let paused = Some(Paused { by: by.to_owned(), since: now, until });
            let end = until.map_or("until somebody resumes it".to_owned(), |until| {
                format!("until {}", zone.date_and_clock(until))
            });
            (format!("{name} is paused {end}"), Some(Record { paused, ..record }))
        })
        .await
    }

    async fn resume(&self, name: &str) -> anyhow::Result<Answer> {
        self.change_record(name, |_, record| match record.paused {
            None => (format!("{name} is not paused"), None),
            // Due times of the pause are not caught up.
            Some(_) => {
                let handled = record.handled.max(Timestamp::now());
                (format!("{name} goes on"), Some(Record { paused: None, handled, ..record }))
            }
        })
        .await
    }
}

#[async_trait]
impl Own for Jobs {
    fn commands(&self) -> &'static [(&'static str, &'static str)] {
        &COMMANDS
    }

    async fn answer(&self, call: &Call<'_>) -> Answer {
        let answer = match (call.command, call.words) {
            ("jobs", words @ ([] | [_])) => self.list(words.first()).await,
            ("run-job", [name]) => self.run(name, call.person).await,
            ("pause", [name, time @ ..]) if time.len() <= 1 => {
                self.pause(name, time.first(), call.person).await
            }
            ("resume", [name]) => self.resume(name).await,
            (command, _) => {
                let usage = COMMANDS.iter().map(|(usage, _)| *usage).find(|usage| usage.starts_with(command));
                Ok(Answer::failed(format!("it is {}", usage.unwrap_or(command))))
            }
        };
        answer.unwrap_or_else(|error| {
            tracing::error!(error = format!("{error:#}"), "the schedules' records cannot be read");
            Answer::failed("NATS does not answer; try again later")
        })
    }
}
