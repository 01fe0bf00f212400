//! MQTT: topics that become messages. One bridge at a time is connected to a broker.
//!
//! `intake` is pure: the message of what has arrived. `record` is pure: which messages were taken and are not acknowledged, so
//! that one that is delivered again is told once. `session` connects and acknowledges, `sessions` runs what is configured.

pub(crate) mod intake;
mod record;
mod session;
pub(crate) mod sessions;
pub(crate) mod tried;
