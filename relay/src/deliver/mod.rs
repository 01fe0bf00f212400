//! One worker for each room: takes deliveries from the room's queue, posts them, stores the receipt, which moves the queue
//! forward. The only retry loop of the relay.
//!
//! An attempt that fails for a temporary reason is repeated after 250 ms, doubling to a minute, with jitter, and never
//! earlier than the platform asks for (`Retry-After`, at most an hour). After 24 hours in the log, or at once if the room
//! refuses it for good, a delivery becomes a dead letter. So do the oldest of a failing room when more wait for it than may.
//! When more than 20 deliveries wait, or while the limiter allows no post, they go out as one post. A post is retried
//! unchanged: its parts that were sent are not sent again. Every step is bound to the lease.
//!
//! A receipt is stored while the next post is under way, so a crash leaves at most two posts of a room without their receipts.
//! The new leader posts both again, in their order. A relay that only loses its lease keeps them in memory instead
//! (`shared::Unsaved`).

mod batch;
pub(crate) mod contents;
pub mod ledger;
pub mod notes;
mod outlet;
mod post;
pub mod queues;
mod shared;
mod worker;

pub use shared::{Shared, Unsaved};
pub use worker::{Served, run};
