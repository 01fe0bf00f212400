//! One worker a room: takes deliveries from `HAL_OUT`, posts them, keeps the receipt, then acknowledges.
//! The only retry loop of the relay.
//!
//! A try that fails for a passing reason is repeated after 250 ms, doubling to a minute, with jitter, and never
//! before the platform's own wish (`Retry-After`, at most an hour). After 24 hours in the log, or at once when
//! the room says it will never take it, a delivery becomes a dead letter. When more than 20 wait, or while the
//! limiter makes us wait, what waits goes out as one post. A post is retried as it is: what was sent of it is
//! not sent again. Every step is bound to the lease.

mod backlog;
pub mod outbox;
mod post;
mod queue;
mod worker;

pub use worker::{Shared, run};
