//! Rivals of slipring.

fn main() {}
