//! Nothing: what a process itself costs.

fn main() {}
