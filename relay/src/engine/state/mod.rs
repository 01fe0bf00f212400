//! What the fold remembers between two entries.

pub mod seen;
pub mod throttle;
