//! One connection for many users: the running one, or the one attempt to get it. The first use starts the attempt, and
//! the first use after its end starts the next. Connecting itself is the platform's.

use std::sync::Mutex;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};

use super::Failure;

/// The state of an attempt to connect. `Up` takes what the users of the connection ask for.
#[derive(Debug)]
pub(super) enum State<Request> {
    Connecting,
    Up(mpsc::Sender<Request>),
    Down(Failure),
}

/// The latest attempt. Its task learns by `closed()` of its sender that the last user has gone.
#[derive(Debug)]
pub(super) struct Attempt<Request>(Mutex<Option<watch::Receiver<State<Request>>>>);

impl<Request> Default for Attempt<Request> {
    fn default() -> Self {
        Attempt(Mutex::new(None))
    }
}

impl<Request> Attempt<Request> {
    /// The running connection, or the attempt that `start` begins. `transient` makes a failure of a reason.
    pub(super) async fn up(
        &self,
        deadline: Instant,
        start: impl FnOnce(watch::Sender<State<Request>>),
        transient: impl Fn(&str) -> Failure,
    ) -> Result<mpsc::Sender<Request>, Failure> {
        let mut attempt = self.latest(start);
        let decided = attempt.wait_for(|state| !matches!(state, State::Connecting));
        match timeout_at(deadline, decided).await {
            Ok(Ok(state)) => match &*state {
                State::Up(up) => Ok(up.clone()),
                State::Down(failure) => Err(failure.clone()),
                State::Connecting => Err(transient("still connecting")),
            },
            Ok(Err(_)) => Err(transient("the connection was lost")),
            Err(_) => Err(transient("the server is slow to let us in; still trying")),
        }
    }

    /// The reason why there is no connection now; `None` if there is one.
    pub(super) fn trouble(&self) -> Option<String> {
        let latest = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match latest.as_ref().map(watch::Receiver::borrow).as_deref() {
            Some(State::Up(up)) if !up.is_closed() => None,
            Some(State::Up(_)) => Some("the connection was lost".into()),
            Some(State::Down(failure)) => Some(failure.to_string()),
            Some(State::Connecting) | None => Some("not connected yet".into()),
        }
    }

    fn latest(&self, start: impl FnOnce(watch::Sender<State<Request>>)) -> watch::Receiver<State<Request>> {
        let mut latest = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let usable = |attempt: &&watch::Receiver<State<Request>>| match &*attempt.borrow() {
            State::Connecting => attempt.has_changed().is_ok(),
            State::Up(up) => !up.is_closed(),
            State::Down(_) => false,
        };
        if let Some(attempt) = latest.as_ref().filter(usable) {
            return attempt.clone();
        }
        let (tx, rx) = watch::channel(State::Connecting);
        start(tx);
        *latest = Some(rx.clone());
        rx
    }
}
