//! The shared parts of the benchmarks: statistics, measured processes, servers, and the NATS protocol by hand.
//! A benchmark only prints numbers: it never fails because it was slow.

pub mod delay;
pub mod nats;
pub mod process;
pub mod servers;
pub mod stats;
