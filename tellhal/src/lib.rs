//! tellhal: publishes one tagged message on the bus, from anywhere a shell runs.
//!
//! The library holds the wire format ([`message`], [`tag`], [`subject`]), the connection to the server
//! ([`nats`], [`client`]) and the spool that keeps messages while the server cannot be reached ([`spool`],
//! [`keep`], [`flush`]). Relay, bridge and other Rust services depend on it. It never routes and never posts.
#![warn(missing_docs)]

pub mod address;
pub mod attached;
pub mod audit;
mod body;
pub mod client;
pub mod command;
pub mod ends;
pub mod file;
pub mod fingerprint;
pub mod flush;
pub mod handler;
pub mod keep;
pub mod message;
pub mod nats;
pub mod nearest;
pub mod nkey;
pub mod paint;
pub mod refusal;
pub mod severity;
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

/// The version that all programs show with `--version`. Builds for users name the sources' commit in it.
pub const VERSION: &str = env!("TELLHAL_VERSION");
