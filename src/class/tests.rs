//! The pool through its public interface.

mod bounds;
mod fork;
mod life;
mod model;
mod shrink;
mod threads;
mod wakers;

use std::time::Duration;

use super::{AtLimit, ClassOptions, ClassPool, ClassTable, Limit};

/// Two small classes, at most so many buffers of each.
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

/// Long enough that nothing but a lost wake-up lasts so long; scripts/twins, whose lost ones are on
/// purpose, waits less.
const LONG: Duration = slipring_test_support::patience(60);
