//! tellhal: puts one tagged message on the bus, from anywhere a shell runs.
//!
//! The library owns the wire ([`message`], [`tag`], [`subject`]), how to reach the server ([`nats`], [`client`])
//! and what keeps a message while it cannot be reached ([`spool`], [`keep`], [`flush`]).
//! It is what relay, bridge and other Rust services depend on. It never routes and never posts.
#![warn(missing_docs)]

pub mod client;
pub mod flush;
pub mod keep;
pub mod message;
pub mod nats;
pub mod nearest;
pub mod refusal;
pub mod spool;
pub mod subject;
pub mod tag;
pub mod text;
pub mod timestamp;

pub use client::Publisher;
pub use keep::{Kept, Outlet};
pub use message::{Message, Severity, Status};
pub use refusal::Refusal;
pub use spool::Spool;
pub use subject::Names;
pub use tag::{Pattern, Tag};
pub use timestamp::Timestamp;
