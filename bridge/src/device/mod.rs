//! Listeners for devices that speak nothing but syslog or mail. Off unless they are configured, each with a list of the networks that may
//! use it.
//!
//! ```text
//!  datagram, line, mail ──▶ networks ──▶ rate, places ──▶ reading (pure) ──▶ log or spool ──▶ an answer, where there is one
//! ```
//!
//! Devices are not trusted: sizes, times and numbers have bounds, the tags are those of the configuration, and no message
//! is relayed to anybody.

pub(crate) mod connections;
pub(crate) mod guarded;
pub(crate) mod listeners;
pub(crate) mod mail;
pub(crate) mod networks;
pub(crate) mod rates;
pub(crate) mod syslog;
pub(crate) mod tally;
pub(crate) mod tried;
