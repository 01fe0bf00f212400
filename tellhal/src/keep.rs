//! Keeping a message: the log's acknowledgement, or else the spool. One of the two, or an error.

use std::path::PathBuf;

use tokio::time::Instant;

use crate::client::{Ack, Publisher};
use crate::message::Message;
use crate::refusal::Refusal;
use crate::spool::{Spool, SpoolError};

/// The place where a message is safe now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// In the log.
    Acknowledged(Ack),
    /// In the spool, for this reason; a flush sends it later under the same id.
    Spooled(Refusal),
}

/// The reason why a message is not kept: only the caller has it.
#[derive(Debug, thiserror::Error)]
pub enum NotKept {
    /// The message can never be accepted, so it was not spooled either.
    #[error("{0}")]
    Final(Refusal),
    /// The log did not acknowledge the message, and the spool did not take it.
    #[error("{refusal}; and {spool}")]
    Both {
        /// The reason why the log did not take it.
        refusal: Refusal,
        /// The reason why the spool did not take it.
        spool: Box<SpoolError>,
    },
}

impl NotKept {
    /// The reason why the log did not take it.
    pub fn refusal(&self) -> &Refusal {
        match self {
            NotKept::Final(refusal) | NotKept::Both { refusal, .. } => refusal,
        }
    }
}

/// A service's way to send messages: `Outlet::new(publisher, spool path)`, then
/// `outlet.keep(&message, deadline).await` for each. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Outlet {
    publisher: Publisher,
    spool: PathBuf,
}

impl Outlet {
    /// Messages go through `publisher`, or into the spool at `spool`, which is created when it is needed.
    pub fn new(publisher: Publisher, spool: impl Into<PathBuf>) -> Self {
        Outlet { publisher, spool: spool.into() }
    }

    /// The connection.
    pub fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// The path of the spool.
    pub fn spool(&self) -> &std::path::Path {
        &self.spool
    }

    /// Publishes `message`. It is spooled if it is not acknowledged by `deadline`, or at once if there is
    /// no connection. The spool's fsyncs block the calling thread for about a millisecond.
    pub async fn keep(&self, message: &Message, deadline: Instant) -> Result<Kept, NotKept> {
        let refusal = if self.publisher.is_connected() {
            match self.publisher.publish(message, deadline).await {
                Ok(ack) => return Ok(Kept::Acknowledged(ack)),
                Err(refusal) => refusal,
            }
        } else {
            self.publisher.lost()
        };
        spool(message, refusal, || Spool::open(&self.spool))
    }
}

/// Spools a refused message, unless it can never be accepted.
pub fn spool(
    message: &Message,
    refusal: Refusal,
    open: impl FnOnce() -> Result<Spool, SpoolError>,
) -> Result<Kept, NotKept> {
    if refusal.is_final() {
        return Err(NotKept::Final(refusal));
    }
    match open().and_then(|spool| spool.keep(message)) {
        Ok(()) => Ok(Kept::Spooled(refusal)),
        Err(spool) => Err(NotKept::Both { refusal, spool: Box::new(spool) }),
    }
}
