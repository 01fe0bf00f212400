//! An empty program, for the cost of a process itself.

fn main() {}
