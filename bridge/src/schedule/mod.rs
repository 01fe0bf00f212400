//! Schedules: messages and commands at their times, once however many bridges run. `when`, `days`, `record`, `job` and `listed` are
//! pure; `clock` waits, stores and fires.

mod clock;
pub(crate) mod days;
pub(crate) mod job;
pub(crate) mod jobs;
pub(crate) mod listed;
pub(crate) mod raw;
pub(crate) mod record;
pub(crate) mod when;
