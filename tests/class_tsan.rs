//! A real class pool under ThreadSanitizer (`scripts/tsan`), and as an ordinary test with fewer
//! rounds.
//!
//! Threads share nothing but the pool. One writes into a buffer and drops it; another gets it and
//! overwrites it. The buffer goes through a bin, the store, a thread that empties bins, or a
//! waiter. Nothing else orders the two threads, so that a race on a buffer's bytes stays visible.

use std::thread;
use std::time::{Duration, Instant};

use slipring::class::{AtLimit, ClassOptions, ClassPool, ClassTable, Limit, PooledBuf};

const THREADS: u64 = 4;

fn rounds() -> u64 {
    let events = std::env::var("SLIPRING_EVENTS").ok().and_then(|events| events.parse().ok());
    events.unwrap_or(20_000) / THREADS
}

fn pool(buffers: usize, cache_bytes: usize) -> ClassPool {
    let table = ClassTable::new(&[64, 256]).unwrap();
    let limit = Limit::buffers(buffers);
    ClassPool::new(&ClassOptions {
        table,
        limit,
        cache_bytes,
        at_limit: AtLimit::Wait,
        ..ClassOptions::default()
    })
    .unwrap()
}

/// Gets, writes, reads and drops, now and then two buffers at a time. It doesn't wait for the
/// second, so that threads never wait for each other in a circle.
fn work(pool: &ClassPool, mine: u8, rounds: u64) {
    for round in 0..rounds {
        let mut first = pool.get_timeout(64, Duration::from_secs(60)).expect("a wake-up was lost");
        first.fill(mine);
        let second: Option<PooledBuf> = if round % 3 == 0 { pool.try_get(64).ok() } else { None };
        let second = second.map(|mut buf| {
            buf.fill(!mine);
            buf
        });
        if round % 64 == 0 {
            pool.tick(Instant::now() + Duration::from_secs(20 * round));
        }
        assert!(
            first.iter().all(|&byte| byte == mine),
            "another thread wrote into a buffer of this one"
        );
        assert!(second.iter().flat_map(|buf| buf.iter()).all(|&byte| byte == !mine));
    }
}

fn run(pool: &ClassPool) {
    let threads: Vec<_> = (0..THREADS)
        .map(|mine| {
            let pool = pool.clone();
            thread::spawn(move || work(&pool, mine as u8, rounds()))
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let class = pool.stats().classes[0];
    assert_eq!((class.in_use, class.waiting), (0, 0));
    assert!(class.gets >= THREADS * rounds());
}

#[test]
fn buffers_change_hands_through_bins() {
    run(&pool(6, 4096));
}

#[test]
fn buffers_change_hands_through_waiters() {
    run(&pool(2, 4096));
}

#[test]
fn buffers_change_hands_through_the_store() {
    run(&pool(5, 0));
}

/// Without membarrier both sides pass fences: the pool's other kind of barrier.
#[test]
fn buffers_change_hands_without_membarrier() {
    let made = pool(1, 4096);
    thread::spawn(move || {
        slipring_test_support::forbid_membarrier();
        run(&pool(6, 4096));
        // This pool was made without the filter: this thread naps before it empties bins.
        let keeps = made.get(64).unwrap();
        assert!(made.try_get(64).is_err());
        drop(keeps);
        made.try_get(64).unwrap();
    })
    .join()
    .unwrap();
}
