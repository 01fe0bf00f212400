//! What the bridge listens to, one file each. A source only makes messages; the outbox keeps them.

pub(crate) mod tcp;
