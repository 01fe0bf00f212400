//! The state that the handlers of all requests share.

use std::sync::Arc;

use service::http::problem::Problem;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::access::Access;
use super::answers::Answers;
use super::shared::Shared;
use super::tail::Tail;
use crate::index::Index;

/// The state shared by all requests.
pub(super) struct Site {
    pub(super) shared: Shared,
    pub(super) access: Access,
    pub(super) tail: Tail,
    pub(super) readers: Arc<Semaphore>,
    pub(super) answers: Answers,
    pub(super) shutdown: CancellationToken,
}

impl Site {
    pub(super) fn index(&self) -> Result<&Arc<Index>, Problem> {
        let none = |reason: &String| Problem::unavailable(format!("there is no index: {reason}"));
        self.shared.index.as_ref().map_err(none)
    }
}
