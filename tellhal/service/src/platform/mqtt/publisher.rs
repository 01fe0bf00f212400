//! A connection that publishes, shared by all rooms of one broker: opened by the first post, closed with the last room.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};

use super::client::Client;
use super::config::{Broker, Settings};
use super::wire::{Event, Keep};
use crate::platform::attempt::{Attempt, State};
use crate::platform::{Failure, Sent, TIMEOUT};

/// Shorter than [`TIMEOUT`], so that the connection can say whether the message was sent.
const DEADLINE: Duration = TIMEOUT.saturating_sub(Duration::from_millis(300));
/// The longest time that connecting may take; a message that waits for it gives up earlier and is tried again.
const CONNECT: Duration = Duration::from_secs(15);
/// The number of messages that may wait for the connection's task.
const WAITING: usize = 16;

/// The connections that are in use, by the broker and all that is configured for it.
#[derive(Debug, Default)]
pub struct Connections(Mutex<HashMap<String, Weak<Connection>>>);

impl Connections {
    /// The connection with these settings; a new one if there is none.
    pub fn get(&self, broker: &Broker) -> anyhow::Result<Arc<Connection>> {
        let settings = broker.settings(&format!("hal-relay-{:016x}", fastrand::u64(..)))?;
        let secret = settings.password.as_ref().map(|password| password.reveal().to_owned());
        let key = format!("{broker:?} {secret:?}");
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, connection| connection.strong_count() > 0);
        if let Some(connection) = open.get(&key).and_then(Weak::upgrade) {
            return Ok(connection);
        }
        let connection = Arc::new(Connection { settings, attempt: Attempt::default() });
        open.insert(key, Arc::downgrade(&connection));
        Ok(connection)
    }
}

/// A connection, shared by all rooms with the same settings.
#[derive(Debug)]
pub struct Connection {
    settings: Settings,
    attempt: Attempt<Post>,
}

/// A message for the connection's task.
#[derive(Debug)]
struct Post {
    topic: String,
    payload: Bytes,
    retain: bool,
    reply: oneshot::Sender<Result<(), Failure>>,
}

impl Connection {
    /// Publishes a message, and waits until the broker has acknowledged or refused it.
    pub async fn publish(&self, topic: &str, payload: Bytes, retain: bool) -> Result<Sent, Failure> {
        let deadline = Instant::now() + DEADLINE;
        let start = |state| drop(tokio::spawn(run(self.settings.clone(), state)));
        let up = self.attempt.up(deadline, start, |reason| self.settings.transient(reason)).await?;
        let (reply, answer) = oneshot::channel();
        let post = Post { topic: topic.to_owned(), payload, retain, reply };
        if !matches!(timeout_at(deadline, up.send(post)).await, Ok(Ok(()))) {
            return Err(self.settings.transient("the connection was lost"));
        }
        match timeout_at(deadline, answer).await {
            Ok(Ok(answer)) => {
                answer.map(|()| Sent { answer: format!("acknowledged: {topic}"), ..Sent::default() })
            }
            Ok(Err(_)) | Err(_) => Err(self.settings.lost()),
        }
    }
}

/// A connection's whole life.
async fn run(settings: Settings, state: watch::Sender<State<Post>>) {
    let address = settings.address();
    let mut client = Client::new(settings.clone(), Keep::Nothing);
    let connected = tokio::select! {
        connected = timeout(CONNECT, connected(&mut client)) => connected,
        () = state.closed() => return,
    };
    if let Err(failure) = connected.unwrap_or_else(|_| Err(settings.transient("no way in in time"))) {
        tracing::debug!(broker = address, %failure, "mqtt connection failed");
        state.send_replace(State::Down(failure));
        return;
    }
    tracing::info!(broker = address, "mqtt connected");
    let (up, posts) = mpsc::channel(WAITING);
    state.send_replace(State::Up(up));
    match publish_all(&mut client, posts, &state).await {
        Ok(()) => client.end().await,
        Err(failure) => tracing::info!(broker = address, reason = %failure, "mqtt connection ended"),
    }
}

async fn connected(client: &mut Client) -> Result<(), Failure> {
    while !matches!(client.next().await?, Event::Connected { .. }) {}
    Ok(())
}

/// Publishes until the last user has gone; an error is the connection's end.
async fn publish_all(
    client: &mut Client,
    mut posts: mpsc::Receiver<Post>,
    state: &watch::Sender<State<Post>>,
) -> Result<(), Failure> {
    let mut waiting = FuturesUnordered::new();
    loop {
        tokio::select! {
            event = client.next() => drop(event?),
            Some(Post { topic, payload, retain, reply }) = posts.recv() => {
                match client.publish(&topic, payload, retain) {
                    Ok(answer) => waiting.push(async move { drop(reply.send(answer.await)) }),
                    Err(failure) => drop(reply.send(Err(failure))),
                }
            }
            Some(()) = waiting.next() => {}
            () = state.closed() => return Ok(()),
        }
    }
}
