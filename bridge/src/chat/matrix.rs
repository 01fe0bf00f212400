//! Matrix, in rooms that are not encrypted: who speaks is the sender's whole user id, for which the homeserver vouches. Each event
//! has an id, and the place up to which events were heard is kept, so that a takeover misses none.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use service::config::{KeyProblem, OneOrMany};
use service::platform::Failure;
use service::platform::matrix::content::block;
use service::platform::matrix::{
    Client, Content, File, Heard as Said, Listener, Message, Server, room_problem,
};
use service::secret::Pair;
use service::text::clean;
use tellhal::Timestamp;
use tellhal::attached::File as Attached;
use tellhal::command::Answer;
use tellhal::fingerprint::fingerprint;
use tokio::sync::{Mutex as AsyncMutex, mpsc};
use tokio::task::JoinHandle;

use super::cursor::Cursor;
use super::shown::shown;
use super::{Chat, Heard, Settings, is_among};
use crate::command::person::Account;

/// The most lines, and bytes, of one answer.
const LINES: usize = 200;
const LONGEST: usize = 20_000;
/// An older event is of a time when no bridge listened; a command that comes so late is no longer meant.
const LATE: Duration = Duration::from_secs(300);
/// The pause before a room that could not be joined is tried again.
const PAUSE: Duration = Duration::from_secs(20);

/// `[chat.NAME.matrix]`. The rooms must not be encrypted.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[schemars(extend("additionalProperties" = false))]
pub(crate) struct Config {
    #[serde(flatten)]
    server: Server,
    /// The rooms to listen in, by alias, such as `#ops:example.com`, or by id. A room that is not public has to invite the account.
    #[serde(default)]
    rooms: Option<OneOrMany>,
    /// Join every room that the account is invited to, so that people can talk to it in private.
    #[serde(default)]
    accept_invites: bool,
    /// The sign before a command; `!` when absent.
    #[serde(default = "trigger")]
    trigger: String,
}

fn trigger() -> String {
    "!".into()
}

impl Config {
    fn rooms(&self) -> Vec<String> {
        self.rooms.iter().flat_map(OneOrMany::items).map(|(_, room)| room.to_owned()).collect()
    }
}

impl Settings for Config {
    fn problems(&self) -> Vec<KeyProblem> {
        let rooms = self.rooms();
        self.server
            .problems()
            .into_iter()
            .chain(rooms.iter().filter_map(|room| room_problem("rooms", room)))
            .collect()
    }

    fn secrets(&self) -> Vec<Pair<'_>> {
        vec![self.server.token()]
    }

    fn tls_ca(&self) -> Option<&Path> {
        self.server.tls_ca.as_deref()
    }

    fn trigger(&self) -> &str {
        &self.trigger
    }

    fn open(&self, name: &str, rooms: Option<&[String]>, cursor: Cursor) -> anyhow::Result<Arc<dyn Chat>> {
        let client = Arc::new(Client::open(&self.server.settings()?)?);
        let mut joined = self.rooms();
        joined.retain(|room| rooms.is_none_or(|rooms| is_among(room, rooms)));
        let state =
            Arc::new(Mutex::new(State { trouble: Some("not connected yet".into()), ..State::default() }));
        let (sender, heard) = mpsc::channel(1);
        let ears = Ears {
            chat: name.to_owned(),
            client: client.clone(),
            state: state.clone(),
            heard: sender,
            // A bridge under development joins nothing that it is not told to.
            accept_invites: self.accept_invites && rooms.is_none(),
        };
        let from = cursor.clone();
        let work = tokio::spawn(async move { match ears.run(joined, from).await {} });
        Ok(Arc::new(Matrix { client, cursor, state, heard: AsyncMutex::new(heard), work }))
    }
}

/// The account and its rooms, as far as they are known.
#[derive(Default)]
struct State {
    us: Option<String>,
    /// The names that the configuration has for rooms, by their ids.
    rooms: BTreeMap<String, String>,
    trouble: Option<String>,
}

/// An event on its way from the listening part.
enum Item {
    Line(Heard),
    /// All lines up to this place were told.
    Through(String),
}

struct Matrix {
    client: Arc<Client>,
    cursor: Cursor,
    state: Arc<Mutex<State>>,
    heard: AsyncMutex<mpsc::Receiver<Item>>,
    work: JoinHandle<()>,
}

impl Drop for Matrix {
    fn drop(&mut self) {
        self.work.abort();
    }
}

/// The part that listens.
struct Ears {
    chat: String,
    client: Arc<Client>,
    state: Arc<Mutex<State>>,
    heard: mpsc::Sender<Item>,
    accept_invites: bool,
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ears {
    async fn run(self, rooms: Vec<String>, cursor: Cursor) -> Infallible {
        let since = loop {
            match cursor.load().await {
                Ok(since) => break since,
                Err(error) => lock(&self.state).trouble = Some(format!("{error:#}")),
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        };
        // Before the first line is heard: rules know rooms by the names of the configuration.
        let missing = self.join(rooms).await;
        let mut listener = Listener::new(self.client.clone(), since);
        tokio::join!(self.join_the_rest(missing), self.listen(&mut listener)).1
    }

    /// Joins rooms of the configuration, and learns their ids. Returns those that could not be joined.
    async fn join(&self, rooms: Vec<String>) -> Vec<String> {
        let mut left = Vec::new();
        for room in rooms {
            match self.client.join(&room).await {
                Ok(id) => {
                    lock(&self.state).rooms.insert(id, room);
                }
                Err(failure) => {
                    tracing::warn!(chat = self.chat, room, %failure, "cannot join a room to listen in");
                    left.push(room);
                }
            }
        }
        left
    }

    async fn join_the_rest(&self, mut missing: Vec<String>) {
        while !missing.is_empty() {
            tokio::time::sleep(PAUSE).await;
            missing = self.join(missing).await;
        }
    }

    async fn listen(&self, listener: &mut Listener) -> Infallible {
        loop {
            if lock(&self.state).us.is_none()
                && let Ok(us) = self.client.whoami().await
            {
                lock(&self.state).us = Some(us);
            }
            match listener.next().await {
                Ok(said) => {
                    lock(&self.state).trouble = None;
                    self.hear(said).await;
                }
                Err(failure) => lock(&self.state).trouble = Some(failure.to_string()),
            }
        }
    }

    async fn hear(&self, said: Said) {
        match said {
            Said::Message(message) if Timestamp::now().since(message.at) > LATE => {
                tracing::info!(chat = self.chat, event = message.event_id, "too old for a command");
            }
            Said::Message(message) => {
                let heard = self.heard_of(message);
                // An error means that the chat is closed, and with it this task.
                let _ = self.heard.send(Item::Line(heard)).await;
            }
            Said::Invite { room, by } if self.accept_invites => match self.client.join(&room).await {
                Ok(_) => tracing::info!(chat = self.chat, room, by, "joined by invitation"),
                Err(failure) => {
                    tracing::warn!(chat = self.chat, room, %failure, "an invitation could not be accepted")
                }
            },
            Said::Invite { .. } => {}
            Said::Gap { room } => {
                tracing::warn!(
                    chat = self.chat,
                    room,
                    "the homeserver has left out events: a command may be missed"
                );
            }
            Said::Through(token) => {
                let _ = self.heard.send(Item::Through(token)).await;
            }
        }
    }

    fn heard_of(&self, message: Message) -> Heard {
        let room =
            lock(&self.state).rooms.get(&message.room).cloned().unwrap_or_else(|| message.room.clone());
        let thread = message.thread.map(|root| format!(" {root}")).unwrap_or_default();
        Heard {
            room: (!message.is_private).then_some(room),
            account: Some(Account::Matrix(message.sender.clone())),
            speaker: message.sender,
            to: format!("{} {}{thread}", message.room, message.event_id),
            event: Some(message.event_id),
            text: message.text,
        }
    }
}

#[async_trait]
impl Chat for Matrix {
    async fn next(&self) -> Heard {
        let mut heard = self.heard.lock().await;
        loop {
            match heard.recv().await {
                Some(Item::Line(heard)) => return heard,
                // Asked for the next one, we know that all lines before were taken.
                Some(Item::Through(token)) => self.cursor.save(&token).await,
                None => std::future::pending().await,
            }
        }
    }

    async fn reply(&self, to: &str, text: &Answer, earlier: Option<&str>) -> Result<Option<String>, Failure> {
        let mut parts = to.split(' ');
        let (room, event) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let content = match (parts.next(), earlier) {
            (_, Some(earlier)) => content(text).replacing(earlier),
            (Some(root), None) => content(text).in_thread(root, event),
            (None, None) if event.is_empty() => content(text),
            (None, None) => content(text).replying_to(event),
        };
        self.turn().await;
        let content = content.to_string();
        // The same reply is the same transaction, however often it is tried.
        let transaction = fingerprint(&[to.as_bytes(), content.as_bytes()]);
        let sent = self.client.send(room, &transaction, &content).await?;
        for (number, file) in text.files.iter().enumerate() {
            self.upload(room, &format!("{transaction}-{number}"), file).await?;
        }
        // An edit is of the first event, never of an edit.
        Ok(earlier.map(str::to_owned).or(sent.post))
    }

    fn edits(&self) -> bool {
        true
    }

    fn takes_files(&self) -> bool {
        true
    }

    fn names(&self) -> Vec<String> {
        let us = lock(&self.state).us.clone().unwrap_or_default();
        let whole = us.trim_start_matches('@').to_owned();
        let local = whole.split(':').next().unwrap_or_default().to_owned();
        [whole, local].into_iter().filter(|name| !name.is_empty()).collect()
    }

    fn trouble(&self) -> Option<String> {
        lock(&self.state).trouble.clone()
    }
}

impl Matrix {
    /// Waits for the account's next post.
    async fn turn(&self) {
        while let Err(wait) = self.client.limiter.take() {
            tokio::time::sleep(wait).await;
        }
    }

    /// Shows a file in a room. The event is the same, however often it is tried.
    async fn upload(&self, room: &str, transaction: &str, file: &Attached) -> Result<(), Failure> {
        let file = File::new(&file.name, file.media_type(), file.data.clone());
        let address = self.client.upload(&file).await?;
        self.turn().await;
        self.client.send(room, transaction, &Content::file(&file, &address).to_string()).await?;
        Ok(())
    }
}

/// An answer as robots write: a notice, with a block of fixed width where columns must line up.
fn content(answer: &Answer) -> Content {
    let shown = shown(answer, LONGEST, LINES);
    let html = (answer.fixed_width && shown.len() > 1).then(|| block(&shown));
    Content::notice(&clean(&shown.join("\n")), html.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_shows_its_text_and_pings_nobody() {
        let table = Answer { fixed_width: true, ..Answer::failed("<b>a</b>  1\n@room  2\n") };
        let text = content(&table).to_string();
        assert!(text.contains("<pre><code>✗ &lt;b&gt;a&lt;/b&gt;  1\\n@room  2</code></pre>"), "{text}");
        assert!(text.contains("\"m.mentions\":{}") && text.contains("m.notice"), "{text}");
        let plain = content(&Answer::done("up")).to_string();
        assert!(!plain.contains("formatted_body") && plain.contains("\"body\":\"up\""), "{plain}");
        assert!(content(&Answer::done("")).to_string().contains("\"done\""));
        let long = content(&Answer::done("x\n".repeat(100_000))).to_string();
        assert!(long.len() < 60_000 && long.contains("more lines, which the page shows"));
    }
}
