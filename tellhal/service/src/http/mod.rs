//! HTTP in and out: one bounded request and the meaning of its answer, a server with limits, errors as problem documents.

mod address;
mod client;
pub mod problem;
pub mod serve;

pub use address::{address_problem, is_loopback, public_problem};
pub use client::{Answer, Bounds, Call, Endpoint, Fetched, LONGEST_WAIT, Reach, WebSocket};
