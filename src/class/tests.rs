//! The pool through its public interface.

mod fork;
mod life;
mod model;
mod shrink;
mod threads;
mod waits;

use std::time::Duration;

use super::{AtLimit, ClassOptions, ClassPool, ClassTable, Limit};

/// Two small classes, with at most `buffers` of each.
fn small(buffers: usize, at_limit: AtLimit) -> ClassPool {
    let table = ClassTable::new(&[64, 4096]).unwrap();
    ClassPool::new(&ClassOptions {
        table,
        limit: Limit::buffers(buffers),
        at_limit,
        ..ClassOptions::default()
    })
    .unwrap()
}

/// Long enough that only a lost wake-up takes so long. scripts/twins, which loses wake-ups on
/// purpose, waits less.
const LONG: Duration = slipring_test_support::patience(60);
