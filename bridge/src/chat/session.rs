//! One chat while this bridge holds its lease: what is said in it goes to `command`, and what comes of it is said back.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use service::lease::{Lease, campaign};
use service::process::drain;
use tellhal::command::Answer;
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::addressed::addressed;
use super::cursor::Cursor;
use super::door::Doors;
use super::registry::Config;
use super::{Chat, Heard, is_among};
use crate::command::Commands;
use crate::command::line::{Line, Out};
use crate::command::speakers::ROOM;

/// The number of commands of one chat at once; further ones are refused.
const AT_ONCE: usize = 256;
/// The pause before something on the bus is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// The time in which an answer is tried to be said.
const ANSWER: Duration = Duration::from_secs(120);
/// The times after which a chat that cannot edit is told that a command still runs, and the interval for one that can.
const STILL: [Duration; 4] =
    [Duration::from_secs(5), Duration::from_secs(30), Duration::from_secs(120), Duration::from_secs(600)];
const EDIT: Duration = Duration::from_secs(5);

/// One chat, and the commands that are given in it.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) name: String,
    pub(super) config: Config,
    /// The only rooms that are heard, in the environment `dev`.
    pub(super) rooms: Option<Vec<String>>,
    pub(super) commands: Commands,
    pub(super) doors: Doors,
    pub(super) state: Arc<std::sync::Mutex<State>>,
}

/// The state of a chat, for health and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Another bridge has it.
    StandingBy,
    /// It is ours; with the reason if it cannot be heard now.
    Held(Option<String>),
    /// The lease cannot be read.
    NoLease(String),
}

impl Session {
    /// Wins the lease again and again, until `stop`. A chat without a connection needs none: the claims decide.
    pub(super) async fn run(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            if !self.config.settings().has_connection() {
                self.attend(&stop).await;
                continue;
            }
            tokio::select! {
                lease = self.win() => self.hold(lease, &stop).await,
                () = stop.cancelled() => return,
            }
        }
    }

    /// Hears what the platform sends to this bridge, until `stop`.
    async fn attend(&self, stop: &CancellationToken) {
        let chat = match self.open() {
            Ok(chat) => chat,
            Err(error) => return self.tell_unopened(&error, stop.cancelled()).await,
        };
        let (kind, tasks) = (self.config.kind(), TaskTracker::new());
        self.doors.open(kind, &self.name, chat.clone());
        tokio::select! {
            () = self.listen(&chat, &tasks) => {}
            () = self.watch_others(&chat) => {}
            () = stop.cancelled() => {}
        }
        self.doors.close(kind, &self.name);
        drain(&tasks, super::GRACE).await;
    }

    fn open(&self) -> anyhow::Result<Arc<dyn Chat>> {
        let cursor = Cursor::new(self.commands.bus.clone(), &self.name);
        self.config.settings().open(&self.name, self.rooms.as_deref(), cursor)
    }

    /// Says that the chat cannot be opened, and waits before another try.
    async fn tell_unopened(&self, error: &anyhow::Error, end: impl Future<Output = ()>) {
        tracing::error!(chat = self.name, error = format!("{error:#}"), "the chat cannot be opened");
        self.set_state(State::Held(Some(format!("{error:#}"))));
        tokio::select! {
            () = end => {}
            () = sleep(PAUSE * 30) => {}
        }
    }

    async fn win(&self) -> Lease {
        loop {
            match self.commands.bus.streams().await {
                Ok(streams) => {
                    self.set_state(State::StandingBy);
                    let key = format!("bridge-chat-{}", self.name);
                    return campaign(&streams.state, &key, &self.commands.claims.owner).await;
                }
                Err(error) => self.set_state(State::NoLease(format!("{error:#}"))),
            }
            sleep(PAUSE).await;
        }
    }

    fn set_state(&self, state: State) {
        *self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = state;
    }

    async fn hold(&self, lease: Lease, stop: &CancellationToken) {
        tracing::info!(chat = self.name, "this bridge speaks in the chat");
        match self.open() {
            Ok(chat) => {
                let tasks = TaskTracker::new();
                tasks.spawn(self.clone().tell_what_is_left(chat.clone()));
                let work = self.listen(&chat, &tasks);
                // Dropping it would give the lease up.
                let mut kept = pin!(lease.keep());
                let is_lost = tokio::select! {
                    _ = lease.bound(work) => !lease.is_held(),
                    () = &mut kept => true,
                    () = stop.cancelled() => false,
                };
                tasks.close();
                // Answers of commands that run are still said, while the connection is there.
                if !is_lost {
                    tokio::select! {
                        () = tasks.wait() => {}
                        () = sleep(super::GRACE) => {}
                        () = &mut kept => {}
                    }
                }
            }
            Err(error) => {
                let end = async {
                    tokio::select! {
                        () = lease.keep() => {}
                        () = stop.cancelled() => {}
                    }
                };
                self.tell_unopened(&error, end).await;
            }
        }
        lease.release().await;
        self.set_state(State::StandingBy);
    }

    async fn listen(&self, chat: &Arc<dyn Chat>, tasks: &TaskTracker) {
        let room = Arc::new(Semaphore::new(AT_ONCE));
        let mut others = self.commands.speakers.open(&self.name);
        let mut look = tokio::time::interval(PAUSE);
        loop {
            let heard = tokio::select! {
                heard = chat.next() => heard,
                // The answer to a command that was asked here and approved elsewhere.
                Some((to, answer)) = others.recv() => {
                    let to = to.strip_prefix(ROOM).map_or(to.clone(), |room| chat.place(room));
                    let speaker = Speaker::new(&self.commands, chat.clone(), to);
                    tasks.spawn(async move { speaker.answer(&answer).await });
                    continue;
                }
                _ = look.tick() => {
                    self.set_state(State::Held(chat.trouble()));
                    continue;
                }
            };
            let Some(line) = self.line(heard, chat.as_ref()) else { continue };
            let speaker = Speaker::new(&self.commands, chat.clone(), line.to.clone());
            let Ok(permit) = room.clone().try_acquire_owned() else {
                let text = format!("{AT_ONCE} commands of this chat run already; try again later");
                tasks.spawn(async move { speaker.answer(&Answer::failed(text)).await });
                continue;
            };
            // Taken before the next line is heard: a chat that keeps how far it has heard keeps no place before a line that no
            // bridge has taken.
            let Some(taken) = self.commands.take(line).await else { continue };
            let commands = self.commands.clone();
            tasks.spawn(async move {
                commands.finish(taken, &speaker).await;
                drop(permit);
            });
        }
    }

    /// A line for us, if it is one, in a room that may be heard.
    fn line(&self, heard: Heard, chat: &dyn Chat) -> Option<Line> {
        let trigger = self.config.settings().trigger();
        let text = addressed(&heard.text, trigger, &chat.names(), heard.room.is_none())?;
        let room = heard.room.unwrap_or_else(|| "private".into());
        let may_be_heard = self.rooms.as_deref().is_none_or(|rooms| is_among(&room, rooms));
        may_be_heard.then(|| Line {
            chat: self.name.clone(),
            kind: self.config.kind(),
            room,
            account: heard.account,
            speaker: heard.speaker,
            event: heard.event,
            text,
            to: heard.to,
        })
    }

    /// Says what came of the commands that the bridge before left, where they were given: none of them is run again.
    async fn tell_what_is_left(self, chat: Arc<dyn Chat>) {
        let left = match self.commands.left(&self.name).await {
            Ok(left) => left,
            Err(error) => {
                return tracing::error!(
                    chat = self.name,
                    error = format!("{error:#}"),
                    "the claims cannot be read"
                );
            }
        };
        for (to, answer) in left {
            Speaker::new(&self.commands, chat.clone(), to).answer(&answer).await;
        }
    }

    /// Says the same of the commands of other bridges that have died, without end.
    async fn watch_others(&self, chat: &Arc<dyn Chat>) {
        let (sender, mut left) = mpsc::channel(AT_ONCE);
        let watching = async {
            while let Err(error) = self.commands.claims.watch(&self.name, &sender).await {
                let error = format!("{error:#}");
                tracing::warn!(chat = self.name, error, "the claims of other bridges cannot be watched");
                sleep(PAUSE).await;
            }
        };
        let saying = async {
            while let Some(claim) = left.recv().await {
                let (to, answer) = self.commands.told(claim).await;
                Speaker::new(&self.commands, chat.clone(), to).answer(&answer).await;
            }
        };
        tokio::join!(watching, saying);
    }
}

/// Says what comes of one command where it was given.
struct Speaker {
    commands: Commands,
    chat: Arc<dyn Chat>,
    to: String,
    begun: Instant,
    said: Mutex<Said>,
}

/// The posts about a command that still runs.
#[derive(Default)]
struct Said {
    /// The post that may be edited.
    post: Option<String>,
    times: usize,
    last: Option<Instant>,
}

impl Speaker {
    fn new(commands: &Commands, chat: Arc<dyn Chat>, to: String) -> Speaker {
        Speaker { commands: commands.clone(), chat, to, begun: Instant::now(), said: Mutex::default() }
    }
}

/// True if it is time to say once more that a command runs. Pure.
fn is_due(edits: bool, times: usize, since_begin: Duration, since_last: Option<Duration>) -> bool {
    match edits {
        true => since_begin >= STILL[0] && since_last.is_none_or(|since| since >= EDIT),
        false => {
            let wanted = STILL.iter().filter(|still| since_begin >= **still).count();
            let again = STILL[STILL.len() - 1];
            times < wanted || since_last.is_some_and(|since| since >= again)
        }
    }
}

#[async_trait]
impl Out for Speaker {
    async fn progress(&self, id: &str, line: &str) {
        let mut said = self.said.lock().await;
        let elapsed = self.begun.elapsed();
        if !is_due(self.chat.edits(), said.times, elapsed, said.last.map(|last| last.elapsed())) {
            return;
        }
        let seconds = humantime::format_duration(Duration::from_secs(elapsed.as_secs()));
        let text = match line {
            "" => format!("running, {seconds} … (cancel {id} ends it)"),
            line => format!("running, {seconds}: {line} (cancel {id} ends it)"),
        };
        said.times += 1;
        said.last = Some(Instant::now());
        // Progress that cannot be said now is not worth another try.
        if let Ok(post) = self.chat.reply(&self.to, &Answer::done(text), said.post.as_deref()).await {
            said.post = post.or(said.post.take());
        }
    }

    async fn answer(&self, answer: &Answer) {
        let until = Instant::now() + ANSWER;
        let mut pause = PAUSE;
        let said = self.said.lock().await;
        loop {
            // A chat may have learnt at the last try that it takes no files.
            let answer = &self.commands.shown(answer, self.chat.takes_files());
            let reply = timeout_at(until, self.chat.reply(&self.to, answer, said.post.as_deref()));
            let (failure, wish) = match reply.await {
                Ok(Ok(_)) => return,
                Ok(Err(failure)) => (failure.to_string(), failure.wait()),
                Err(_) => ("no time is left".into(), Duration::ZERO),
            };
            let wait = pause.max(wish);
            if Instant::now() + wait >= until {
                return tracing::error!(to = self.to, reason = failure, "an answer could not be said");
            }
            tracing::warn!(to = self.to, reason = failure, "an answer is not said yet");
            sleep(wait).await;
            pause = (pause * 2).min(Duration::from_secs(15));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chat_that_cannot_edit_is_told_seldom() {
        let due = |times, begin, last: Option<u64>| {
            is_due(false, times, Duration::from_secs(begin), last.map(Duration::from_secs))
        };
        assert!(!due(0, 4, None) && due(0, 5, None) && !due(1, 29, Some(24)) && due(1, 30, Some(25)));
        assert!(due(2, 120, Some(90)) && due(3, 600, Some(480)));
        assert!(!due(4, 1199, Some(599)) && due(4, 1200, Some(600)));
        assert!(is_due(true, 9, Duration::from_secs(60), Some(Duration::from_secs(5))));
    }
}
