//! Chat commands: who may ask for which. Everything here is pure; nothing here runs a command.
//!
//! ```text
//! line ─▶ words ─▶ policy (person, room, command, arguments) ─▶ allowed, with or without an approval, or denied
//! ```

pub(crate) mod argument;
pub(crate) mod person;
pub(crate) mod policy;
pub(crate) mod words;
