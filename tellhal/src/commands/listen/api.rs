//! Questions to JetStream's API through plain requests, and its errors by what a listener does about them.

use std::time::Duration;

use async_nats::Client;
use async_nats::client::RequestErrorKind;
use serde::Deserialize;
use serde_json::Value;
use tellhal::client::Link;
use tellhal::{Publisher, Refusal};
use tokio::sync::{broadcast, watch};

use crate::commands::no_jetstream;
use crate::exit::{Exit, Failure};

/// JetStream as a listener asks it.
#[derive(Clone)]
pub(super) struct Api {
    publisher: Publisher,
    timeout: Duration,
}

/// The reason why a request failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("there is no such stream")]
    NoStream,
    #[error("no JetStream answers")]
    NoJetStream,
    #[error("the consumer is gone")]
    Gone,
    #[error("the consumer exists with other settings")]
    Exists,
    /// An existing consumer reads these subjects, and not those that were asked for.
    #[error("the consumer reads {0}")]
    Reads(String),
    #[error("there is no such message")]
    NoMessage,
    #[error("not permitted: {0}")]
    Denied(String),
    #[error("{0}")]
    Other(String),
}

#[derive(Deserialize)]
struct ApiError {
    code: u64,
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

impl Api {
    /// `timeout` is for each question.
    pub(super) fn new(publisher: &Publisher, timeout: Duration) -> Api {
        Api { publisher: publisher.clone(), timeout }
    }

    pub(super) fn client(&self) -> &Client {
        self.publisher.client()
    }

    /// The connection's state and its changes.
    pub(super) fn link(&self) -> watch::Receiver<Link> {
        self.publisher.link()
    }

    /// The subject of `question`.
    pub(super) fn subject(&self, question: &str) -> String {
        format!("{}.{question}", self.publisher.api())
    }

    /// The answer to `body` on `question`, which is a subject without the prefix.
    pub(super) async fn ask(&self, question: &str, body: Value) -> Result<Value, Trouble> {
        let subject = self.subject(question);
        let mut denials = self.publisher.denials();
        let asked = self.client().request(subject.clone(), body.to_string().into());
        let asked = tokio::time::timeout(self.timeout, asked);
        let answer = tokio::select! {
            answer = asked => answer,
            denial = denied(&mut denials, &subject) => return Err(Trouble::Denied(denial)),
        };
        let answer = match answer {
            Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => {
                return Err(Trouble::NoJetStream);
            }
            Ok(answer) => answer.map_err(other)?,
            Err(_) => return Err(Trouble::Other("the server did not answer".into())),
        };
        let mut answer: Value = serde_json::from_slice(&answer.payload).map_err(other)?;
        let Some(error) = answer.get_mut("error") else { return Ok(answer) };
        Err(match serde_json::from_value(error.take()).map_err(other)? {
            ApiError { err_code: 10059, .. } => Trouble::NoStream,
            ApiError { err_code: 10014, .. } => Trouble::Gone,
            ApiError { err_code: 10148, .. } => Trouble::Exists,
            ApiError { err_code: 10037, .. } => Trouble::NoMessage,
            ApiError { code, err_code, description } => {
                Trouble::Other(format!("{description} (code {code}, error {err_code})"))
            }
        })
    }
}

impl Trouble {
    /// The failure of the command that asked.
    pub(super) fn into_failure(self, publisher: &Publisher) -> Failure {
        let names = publisher.names();
        let stream = names.ops_stream();
        match self {
            Trouble::NoStream => Refusal::NoStream { subject: names.all_ops(), stream }.into(),
            Trouble::NoJetStream => Failure::new(Exit::CONFIG, no_jetstream(publisher)),
            Trouble::Denied(denial) => lacking(&denial),
            Trouble::Other(why) => {
                let what = format!("cannot read {stream}: {why}; listening needs a listener's credentials");
                Failure::new(Exit::TEMPORARY, what)
            }
            trouble => Failure::new(Exit::TEMPORARY, format!("cannot read {stream}: {trouble}")),
        }
    }
}

/// Waits until the server has denied a message to `subject`.
async fn denied(denials: &mut broadcast::Receiver<String>, subject: &str) -> String {
    loop {
        match denials.recv().await {
            Ok(denial) if concerns(&denial, subject) => return denial,
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// The failure of a listener with another's credentials.
pub(super) fn lacking(denial: &str) -> Failure {
    let what = "listening needs a listener's credentials: a host's may only publish, and a listener's only hear what comes from now on, \
                or by the durable names it was added with; --since without --durable takes an operator's";
    Failure::new(Exit::NOT_PERMITTED, format!("not permitted: {denial}; {what}"))
}

/// True if the server's error is about `subject`.
pub(super) fn concerns(denial: &str, subject: &str) -> bool {
    denial.contains(&format!("\"{subject}\""))
}

pub(super) fn other(error: impl std::fmt::Display) -> Trouble {
    Trouble::Other(error.to_string())
}
