//! Messages of systems that send requests when something happens.
//!
//! ```text
//! request ─ door ─▶ verify (the raw body) ─▶ kind: events ─▶ intake: messages ─ door ─▶ claimed once, in the log or the spool ─▶ 2xx
//! ```
//!
//! All but the door and the requests to SNS is pure. No text of a request is a template or markup, nothing but SNS's certificates and
//! confirmations is fetched on its account, and no secret is in a log, a metric or an answer.

pub(crate) mod door;
pub(crate) mod event;
pub(crate) mod intake;
pub(crate) mod jinja;
pub(crate) mod kind;
pub(crate) mod ntfy;
pub(crate) mod request;
mod sns;
pub(crate) mod template;
pub(crate) mod tried;
mod verify;
