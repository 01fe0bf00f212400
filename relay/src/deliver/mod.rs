//! One worker for each room: takes deliveries from `HAL_OUT`, posts them, stores the receipt, then acknowledges.
//! The only retry loop of the relay.
//!
//! An attempt that fails for a temporary reason is repeated after 250 ms, doubling to a minute, with jitter, and never
//! earlier than the platform asks for (`Retry-After`, at most an hour). After 24 hours in the log, or at once if the room
//! refuses it for good, a delivery becomes a dead letter. When more than 20 deliveries wait, or while the limiter allows
//! no post, they go out as one post. A post is retried unchanged: its parts that were sent are not sent again. Every
//! step is bound to the lease.

mod backlog;
pub mod outbox;
mod post;
mod queue;
mod shared;
mod worker;

pub use shared::Shared;
pub use worker::run;
