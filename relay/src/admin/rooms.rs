//! The states of the rooms as operators see them: what the leading relay told last, and the dead letters.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Operator, dead};
use crate::lead::report;
use crate::status::RoomState;

/// The longest wait of a command for what the server knows.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// The rooms' states and dead letters, as far as they are known.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Empty if no relay has led yet.
    pub states: BTreeMap<String, RoomState>,
    /// The number of dead letters of each room that has some; `None` if the server was not asked.
    pub dead: Option<BTreeMap<String, u64>>,
}

impl Known {
    pub async fn read(operator: &Operator) -> anyhow::Result<Known> {
        let states = report::read(&operator.jetstream, &operator.names).await?;
        Ok(Known { states, dead: Some(dead::count(operator).await?) })
    }
}
