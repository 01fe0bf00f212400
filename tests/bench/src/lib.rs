//! What the benchmarks share: numbers, measured processes, servers, and the NATS protocol by hand.
//! Nothing here judges a number: a benchmark prints, it never fails because it was slow.

pub mod delay;
pub mod nats;
pub mod process;
pub mod servers;
pub mod stats;
