//! A line between the room that says it and the connection's task that writes it.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::platform::stage::Stage;
use crate::platform::{Failure, Sent};
use crate::secret::Secret;

/// A line on its way, and the channel for its result.
#[derive(Debug)]
pub(super) struct Say {
    /// The id of the post: the same line of the same post again is a retry.
    pub(super) id: String,
    pub(super) channel: String,
    pub(super) key: Option<Secret>,
    /// The whole command.
    pub(super) line: String,
    pub(super) stage: Arc<Stage>,
    pub(super) reply: oneshot::Sender<Result<Sent, Failure>>,
}
