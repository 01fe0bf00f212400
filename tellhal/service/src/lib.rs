//! The common parts of both services: configuration, secrets, leases, HTTP in and out, TLS, a process's life, and the chat
//! platforms' own protocols. Routing and commands are not here.
//!
//! ```text
//!  relay ──▶ service ──▶ tellhal
//!  bridge ─▶
//! ```

pub mod config;
pub mod hidden;
pub mod http;
pub mod lease;
pub mod metrics;
pub mod pages;
pub mod platform;
pub mod process;
pub mod secret;
pub mod stored;
pub mod streams;
pub mod supervisor;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod text;
pub mod tls;
pub mod zone;
