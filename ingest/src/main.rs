//! The slipring service.

fn main() {}
