//! Queues over real pools, with tiny classes and tiny bounds. Interleavings of two threads are
//! covered by `loom_tests` and tests/queue_tsan.rs.

mod bounds;
mod ends;
mod messages;
mod model;
mod waits;
mod wakers;

use super::{Dequeuer, Enqueuer, QueueOptions, queue};
use crate::class::{AtLimit, ClassOptions, ClassPool, ClassTable, Limit, PooledBuf};

/// Classes of 64, 256 and 1024 bytes with `buffers` buffers each. At that limit a get is refused.
pub(super) fn tiny_pool(buffers: usize) -> ClassPool {
    pool(buffers, AtLimit::Refuse)
}

/// As [`tiny_pool`] with one buffer of each class. At that limit a get waits.
fn waiting_pool() -> ClassPool {
    pool(1, AtLimit::Wait)
}

fn pool(buffers: usize, at_limit: AtLimit) -> ClassPool {
    let table = ClassTable::new(&[64, 256, 1024]).expect("a table");
    let options = ClassOptions {
        table,
        limit: Limit::buffers(buffers),
        at_limit,
        shrink_after: None,
        ..ClassOptions::default()
    };
    ClassPool::new(&options).expect("a small pool")
}

pub(super) fn in_use(pool: &ClassPool) -> u64 {
    let stats = pool.stats();
    stats.classes.iter().map(|class| class.in_use).sum::<u64>() + stats.direct.in_use
}

fn tiny_queue(pool: &ClassPool, messages: usize, bytes: usize) -> (Enqueuer, Dequeuer) {
    queue(pool, QueueOptions { messages, bytes }).expect("small bounds")
}

/// A message of `bytes` bytes of this value.
fn message(pool: &ClassPool, bytes: usize, value: u8) -> PooledBuf {
    let mut buf = pool.get(bytes).expect("a buffer");
    buf.fill(value);
    buf
}
