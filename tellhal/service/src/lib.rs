//! The ground that both services stand on: configuration, secrets, leases, HTTP in and out, TLS, a process's life,
//! and the chat platforms' own protocols. Only what the relay and the bridge both need is here; neither routing nor
//! commands are known to it.
//!
//! ```text
//!  relay ──▶ service ──▶ tellhal
//!  bridge ─▶
//! ```

pub mod config;
pub mod http;
pub mod lease;
pub mod platform;
pub mod process;
pub mod secret;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod text;
pub mod tls;
