//! A room as it is written in a configuration, by id or alias. It is joined when that is needed, and once for a post.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::client::{Client, Refusal};
use crate::http::Bounds;
use crate::platform::{Failure, Sent};

/// The server's word for a room that we are not in, or in which we may not speak.
const FORBIDDEN: &str = "M_FORBIDDEN";

/// A room to send to.
#[derive(Debug)]
pub struct Target {
    room: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The room's id; an alias has none before it is joined.
    id: Option<String>,
    /// The room was joined, and no post has been answered since: another refusal is not for want of joining.
    is_fresh: bool,
}

impl Target {
    pub fn new(room: &str) -> Self {
        let id = room.starts_with('!').then(|| room.to_owned());
        Target { room: room.to_owned(), state: Mutex::new(State { id, is_fresh: false }) }
    }

    /// Sends an event, once. If the room does not let us because we are not in it, it is joined, and the failure says that
    /// the next attempt may succeed.
    pub async fn send(&self, client: &Client, transaction: &str, content: &str) -> Result<Sent, Failure> {
        let bounds = Bounds::of_post();
        let known = self.state().id.clone();
        let id = match known {
            Some(id) => id,
            None => self.join(client, bounds).await?,
        };
        let answer = client.send_within(&id, transaction, content, bounds).await;
        let is_forbidden = matches!(&answer, Err(Refusal { code: Some(code), .. }) if code == FORBIDDEN);
        let is_final = is_forbidden && std::mem::take(&mut self.state().is_fresh);
        match answer {
            Err(_) if is_forbidden && !is_final => {
                self.join(client, bounds).await?;
                Err(client.later(&format!("was not in the room {}, and has joined it", self.room)))
            }
            Err(refusal) => Err(refusal.failure),
            Ok(sent) => {
                self.state().is_fresh = false;
                Ok(sent)
            }
        }
    }

    /// Joins the room. An alias may lead to another one by now.
    async fn join(&self, client: &Client, bounds: Bounds) -> Result<String, Failure> {
        let id = client.join_within(&self.room, bounds).await?;
        *self.state() = State { id: Some(id.clone()), is_fresh: true };
        Ok(id)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
