//! Slack: who speaks is workspace and user id, for which Slack vouches. What is said comes over a connection that we open (Socket
//! Mode), or as signed requests to the bridge's port.
//!
//! Files of an answer are uploaded before its text is posted, and shown behind it, in its thread. If one is not taken, nothing is posted
//! yet and the answer comes with links. Once the text is there, nothing is said again: a bridge that ends in between, or a share whose
//! answer is lost, may leave an answer without its picture, and none twice. Without the scope `files:write` answers have links.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use axum::Json;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use schemars::JsonSchema;
use serde::Deserialize;
use service::config::{KeyProblem, OneOrMany, PATH};
use service::platform::slack::{
    Api, Client, Delivery, Heard as Said, Incoming, Message, SIGNATURE, Socket, TIMESTAMP, Uploaded, Uploads,
    Us, channel_problem, command_form, event, slash_answer, verify,
};
use service::platform::{Failure, Limiter};
use service::secret::{Pair, Secret};
use tellhal::Timestamp;
use tellhal::command::Answer;
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::cursor::Cursor;
use super::shown::shown;
use super::{Chat, Heard, Settings, is_among};
use crate::command::person::Account;

/// The most lines of one answer, and the most characters of a post and of an edit, which Slack would refuse above 4,000.
const LINES: usize = 200;
const POST: usize = 20_000;
const EDIT: usize = 3_900;
/// About one post a second and channel, with short bursts.
const EVERY: Duration = Duration::from_secs(1);
const BURST: u32 = 10;
/// The number of lines that wait to be read.
const WAITING: usize = 64;
/// Slack waits three seconds for an answer.
const DEADLINE: Duration = Duration::from_millis(2500);
/// An older line is of a time when no bridge listened; a command that comes so late is no longer meant.
const LATE: u64 = 300;
/// The pause before the bot's name is asked for again.
const PAUSE: Duration = Duration::from_secs(2);
/// Further refused requests of a second are counted, but not in the log.
const REFUSALS: u32 = 5;
/// Signs that Slack reads as markup where it cannot be told not to.
const MARKUP: [char; 5] = ['*', '_', '~', '`', '>'];

/// `[chat.NAME.slack]`: with the app's token over Socket Mode, with its signing secret by requests to `/slack/NAME`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[schemars(extend("additionalProperties" = false))]
pub(crate) struct Config {
    #[serde(flatten)]
    api: Api,
    /// The app's token (`xapp-…`) with the scope `connections:write`, for Socket Mode.
    #[serde(default)]
    app_token: Option<Secret>,
    /// A file with the app's token.
    #[serde(default)]
    #[schemars(extend("format" = PATH))]
    app_token_file: Option<PathBuf>,
    /// The app's signing secret, for events and slash commands that Slack sends to `/slack/NAME` of the bridge's HTTP port, through a
    /// proxy with TLS.
    #[serde(default)]
    signing_secret: Option<Secret>,
    /// A file with the app's signing secret.
    #[serde(default)]
    #[schemars(extend("format" = PATH))]
    signing_secret_file: Option<PathBuf>,
    /// The only channels to listen in, by id; every one that the bot is in when absent. Private conversations are always heard.
    #[serde(default)]
    channels: Option<OneOrMany>,
    /// The sign before a command; `!` when absent.
    #[serde(default = "trigger")]
    trigger: String,
}

fn trigger() -> String {
    "!".into()
}

impl Config {
    fn app_token(&self) -> Pair<'_> {
        Pair::new("app_token", "app_token_file", &self.app_token, &self.app_token_file)
    }

    fn signing_secret(&self) -> Pair<'_> {
        Pair::new("signing_secret", "signing_secret_file", &self.signing_secret, &self.signing_secret_file)
    }

    fn channels(&self) -> Option<Vec<String>> {
        let channels = self.channels.as_ref()?.items();
        Some(channels.into_iter().map(|(_, channel)| channel.to_owned()).collect())
    }

    fn way_problem(&self) -> Option<KeyProblem> {
        let what = match (self.app_token().is_set(), self.signing_secret().is_set()) {
            (true, false) | (false, true) => return None,
            (true, true) => "an app has one way in, Socket Mode or requests, not both",
            (false, false) => "there is no way in: neither the app's token nor its signing secret is set",
        };
        let hint = "write app_token_file for Socket Mode, or signing_secret_file for requests";
        Some(KeyProblem::new("app_token", what, hint))
    }
}

impl Settings for Config {
    fn problems(&self) -> Vec<KeyProblem> {
        let mut problems: Vec<KeyProblem> = self.api.token().required().into_iter().collect();
        problems.extend(self.api.address_problem());
        problems.extend([self.app_token(), self.signing_secret()].iter().filter_map(Pair::problem));
        problems.extend(self.way_problem());
        let channels = self.channels().unwrap_or_default();
        problems.extend(channels.iter().filter_map(|channel| channel_problem("channels", channel)));
        problems
    }

    fn secrets(&self) -> Vec<Pair<'_>> {
        vec![self.api.token(), self.app_token(), self.signing_secret()]
    }

    fn tls_ca(&self) -> Option<&Path> {
        self.api.tls_ca.as_deref()
    }

    fn is_protected(&self) -> bool {
        self.api.is_protected()
    }

    fn trigger(&self) -> &str {
        &self.trigger
    }

    fn has_connection(&self) -> bool {
        !self.signing_secret().is_set()
    }

    fn open(&self, name: &str, _: Option<&[String]>, _: Cursor) -> anyhow::Result<Arc<dyn Chat>> {
        let client = Arc::new(Client::open(&self.api)?);
        let socket = self.app_token().read()?.map(|token| Socket::open(&self.api, &token)).transpose()?;
        let state = State { us: Us::default(), trouble: Some("not connected yet".into()) };
        let (state, (sender, lines)) = (Arc::new(Mutex::new(state)), mpsc::channel(WAITING));
        let ears = Ears { chat: name.into(), client: client.clone(), state: state.clone() };
        let heard = sender.clone();
        let work = tokio::spawn(async move { ears.listen(socket, heard).await });
        Ok(Arc::new(Slack {
            chat: name.to_owned(),
            client,
            signing_secret: self.signing_secret().read()?,
            channels: self.channels(),
            state,
            sender,
            inbox: AsyncMutex::new(Inbox { lines, last: None }),
            limiter: Limiter::new(EVERY, BURST),
            uploads: Uploads::default(),
            refusals: Limiter::new(Duration::from_secs(1), REFUSALS),
            work,
        }))
    }
}

/// The bot, and the reason why it does not hear. An empty workspace: it is not known yet.
struct State {
    us: Us,
    trouble: Option<String>,
}

/// The lines that were delivered, and the way to say that the last one was taken.
struct Inbox {
    lines: mpsc::Receiver<Incoming>,
    last: Option<oneshot::Sender<()>>,
}

struct Slack {
    chat: String,
    client: Arc<Client>,
    signing_secret: Option<Secret>,
    channels: Option<Vec<String>>,
    state: Arc<Mutex<State>>,
    sender: mpsc::Sender<Incoming>,
    inbox: AsyncMutex<Inbox>,
    limiter: Limiter,
    uploads: Uploads,
    refusals: Limiter,
    work: JoinHandle<()>,
}

impl Drop for Slack {
    fn drop(&mut self) {
        self.work.abort();
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The part that learns who we are, and listens if the way in is Socket Mode.
struct Ears {
    chat: String,
    client: Arc<Client>,
    state: Arc<Mutex<State>>,
}

impl Ears {
    async fn listen(self, socket: Option<Socket>, heard: mpsc::Sender<Incoming>) {
        let us = self.whoami().await;
        lock(&self.state).us = us.clone();
        match socket {
            Some(socket) => match socket.stay(&us, &heard, |state| self.tell(state)).await {},
            None => self.tell(Ok(())),
        }
    }

    async fn whoami(&self) -> Us {
        loop {
            match self.client.whoami().await {
                Ok(us) => return us,
                Err(failure) => {
                    self.tell(Err(&failure));
                    tokio::time::sleep(PAUSE.max(failure.wait())).await;
                }
            }
        }
    }

    fn tell(&self, state: Result<(), &Failure>) {
        let trouble = state.err().map(ToString::to_string);
        if let Some(reason) = &trouble {
            tracing::warn!(chat = self.chat, reason, "the chat is not heard; connecting again");
        }
        lock(&self.state).trouble = trouble;
    }
}

#[async_trait]
impl Chat for Slack {
    async fn next(&self) -> Heard {
        let mut inbox = self.inbox.lock().await;
        loop {
            // Asked for the next one, we know that the one before was taken. If nobody waits for that, it is delivered again.
            let _ = inbox.last.take().map(|taken| taken.send(()));
            let Some(Incoming { heard: said, taken }) = inbox.lines.recv().await else {
                return std::future::pending().await;
            };
            inbox.last = Some(taken);
            if self.is_meant(&said) {
                return heard(said);
            }
        }
    }

    async fn reply(&self, to: &str, text: &Answer, earlier: Option<&str>) -> Result<Option<String>, Failure> {
        let files = self.upload(text).await?;
        self.turn().await;
        let mut parts = to.split(' ');
        let mut part = || parts.next().unwrap_or_default();
        let (channel, user, thread) = (part(), part(), part());
        let thread = Some(thread).filter(|ts| !ts.is_empty());
        if let Some((channel, ts)) = earlier.and_then(|earlier| earlier.split_once(' ')) {
            let mut edit = message(text, true);
            (edit.channel, edit.ts) = (Some(channel), Some(ts));
            match self.client.update(&edit.json()).await {
                // A post that can no longer be edited leaves the answer a post of its own.
                Err(Failure::Permanent { reason }) => {
                    tracing::info!(chat = self.chat, reason, "a post cannot be edited")
                }
                done => {
                    done?;
                    self.share(&files, channel, thread).await;
                    return Ok(earlier.map(str::to_owned));
                }
            }
        }
        let mut post = message(text, false);
        (post.channel, post.thread_ts) = (Some(channel), thread);
        let posted = match self.client.post(&post.json()).await {
            // A slash command can be given where the bot is not: its answer is for the one who asked.
            Err(Failure::Auth { .. }) if !user.is_empty() => {
                post.channel = Some(user);
                self.client.post(&post.json()).await
            }
            posted => posted,
        }?;
        // It may be the conversation with the one who asked.
        self.share(&files, posted.channel.as_deref().unwrap_or(channel), thread).await;
        Ok(posted.channel.zip(posted.sent.post).map(|(channel, ts)| format!("{channel} {ts}")))
    }

    async fn deliver(&self, headers: &HeaderMap, body: Bytes) -> Response {
        let Some(secret) = &self.signing_secret else { return StatusCode::NOT_FOUND.into_response() };
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let now = u64::try_from(Timestamp::now().0 / 1000).unwrap_or_default();
        if let Err(refusal) = verify(secret, header(TIMESTAMP), header(SIGNATURE), &body, now) {
            return self.refuse(&refusal.to_string());
        }
        let us = lock(&self.state).us.clone();
        let is_form = header(CONTENT_TYPE.as_str()).is_some_and(|kind| kind.contains("form-urlencoded"));
        let delivery = if is_form { command_form(&body, &us) } else { event(&body, &us) };
        match delivery {
            Delivery::Challenge(challenge) => challenge.into_response(),
            // Slack tries again later.
            _ if us.team.is_empty() => StatusCode::SERVICE_UNAVAILABLE.into_response(),
            Delivery::Foreign => self.refuse("it is of another workspace"),
            Delivery::Other => StatusCode::OK.into_response(),
            Delivery::Line(said) => self.hand_on(said).await,
        }
    }

    fn edits(&self) -> bool {
        true
    }

    fn takes_files(&self) -> bool {
        self.uploads.are_open()
    }

    fn names(&self) -> Vec<String> {
        let name = lock(&self.state).us.name.clone();
        if name.is_empty() { Vec::new() } else { vec![name] }
    }

    fn trouble(&self) -> Option<String> {
        lock(&self.state).trouble.clone()
    }
}

impl Slack {
    /// Waits for the next post.
    async fn turn(&self) {
        while let Err(wait) = self.limiter.take() {
            tokio::time::sleep(wait).await;
        }
    }

    /// Uploads the files of an answer, which nobody sees yet. After an error files are links for a while, so that the next try says
    /// the answer without them.
    async fn upload(&self, answer: &Answer) -> Result<Vec<Uploaded>, Failure> {
        let mut uploaded = Vec::new();
        for file in &answer.files {
            match self.client.upload(&file.name, &file.data).await {
                Ok(file) => uploaded.push(file),
                Err(why) => {
                    self.uploads.close(&self.chat, &why);
                    return Err(Failure::transient("a file is not taken; the answer will have links"));
                }
            }
        }
        Ok(uploaded)
    }

    /// Shows files behind an answer that is posted, and must not be posted again whatever comes of them.
    async fn share(&self, files: &[Uploaded], channel: &str, thread: Option<&str>) {
        for file in files {
            let Err(failure) = self.client.share(file, channel, thread).await else { continue };
            let is_refused = !matches!(failure, Failure::Transient { ambiguous: true, .. });
            self.uploads.close(&self.chat, &failure.into());
            if is_refused {
                let mut line =
                    Message::plain(&format!("{}: not taken by Slack; the page has it", file.title));
                (line.channel, line.thread_ts) = (Some(channel), thread);
                // The line is not worth another try.
                let _ = self.client.post(&line.json()).await;
            }
        }
    }

    /// Passes on a line, and answers once it is taken: a line whose answer fails is delivered again, perhaps to another bridge.
    async fn hand_on(&self, said: Said) -> Response {
        let is_slash = said.is_slash;
        let (taken, is_taken) = oneshot::channel();
        let handed_on = async {
            let incoming = Incoming { heard: said, taken };
            self.sender.send(incoming).await.is_ok() && is_taken.await.is_ok()
        };
        match tokio::time::timeout(DEADLINE, handed_on).await {
            Ok(true) if is_slash => Json(slash_answer()).into_response(),
            Ok(true) => StatusCode::OK.into_response(),
            Ok(false) | Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        }
    }

    fn refuse(&self, why: &str) -> Response {
        if self.refusals.take().is_ok() {
            tracing::warn!(chat = self.chat, why, "a request is refused");
        }
        StatusCode::UNAUTHORIZED.into_response()
    }

    /// True for a line of a channel that is listened to, said just now.
    fn is_meant(&self, said: &Said) -> bool {
        let now = u64::try_from(Timestamp::now().0 / 1000).unwrap_or_default();
        let is_late = said.at.is_some_and(|at| now.saturating_sub(at) > LATE);
        if is_late {
            tracing::info!(chat = self.chat, event = said.event, "too old for a command");
        }
        let is_here = self.channels.as_ref().is_none_or(|channels| is_among(&said.channel, channels));
        !is_late && (is_here || said.is_private)
    }
}

fn heard(said: Said) -> Heard {
    // The one who asked is named where the bot may not be in the channel.
    let user = if said.is_slash { said.user.as_str() } else { "" };
    let to = format!("{} {user} {}", said.channel, said.thread.unwrap_or_default());
    Heard {
        room: (!said.is_private).then_some(said.channel),
        speaker: said.user.clone(),
        account: Some(Account::Slack { team: said.team, user: said.user.clone() }),
        event: Some(said.event),
        text: said.text,
        to: to.trim_end().to_owned(),
    }
}

/// An answer as a post or an edit. What is edited cannot be told to be no markup, so that a code block does it.
fn message(answer: &Answer, is_edit: bool) -> Message<'static> {
    let most = if is_edit { EDIT } else { POST };
    let mut longest = most;
    loop {
        let lines = shown(answer, longest, LINES);
        let is_marked = is_edit && lines.iter().any(|line| line.contains(MARKUP));
        let message = match is_marked || answer.fixed_width && lines.len() > 1 {
            true => Message::table(&lines),
            false => Message::plain(&lines.join("\n")),
        };
        if message.text().chars().count() <= most {
            return message;
        }
        longest = longest / 4 * 3;
    }
}

#[cfg(test)]
mod tests;
