//! One thread gets buffers and another drops them, for a long time: dropped buffers come back, and
//! memory stays flat.
//!
//! The long form is `SLIPRING_EVENTS=100000000 cargo test --release --test class_sustained`.

use std::thread;

use slipring::class::{ClassOptions, ClassPool};
use slipring::queue::{QueueOptions, queue};

/// The most messages between the two threads.
const BETWEEN: usize = 64;
/// The most buffers of a class that a thread keeps. Half as many are in transit to or from it.
const KEPT: u64 = 32;

fn events() -> u64 {
    let events = std::env::var("SLIPRING_EVENTS").ok().and_then(|events| events.parse().ok());
    events.unwrap_or(if cfg!(debug_assertions) { 200_000 } else { 2_000_000 })
}

#[test]
fn what_another_thread_drops_keeps_memory_flat() {
    let pool = ClassPool::new(&ClassOptions::default()).unwrap();
    let (mut enqueuer, mut dequeuer) =
        queue(&pool, QueueOptions { messages: BETWEEN, bytes: 1 << 30 }).unwrap();
    let consumer = thread::spawn(move || {
        let mut expected = 0_u64;
        while let Some(message) = dequeuer.dequeue().unwrap() {
            assert_eq!(
                message[..8],
                expected.to_le_bytes(),
                "a buffer was overwritten, or came out of order"
            );
            expected += 1;
        }
        expected
    });
    let lens = [64, 2048, 5000, 30_000];
    let mut resident_max = 0;
    for event in 0..events() {
        let mut buf = pool.get(lens[event as usize % lens.len()]).unwrap();
        buf[..8].copy_from_slice(&event.to_le_bytes());
        enqueuer.enqueue(buf).unwrap();
        if event % (1 << 16) == 0 {
            resident_max = pool
                .stats()
                .classes
                .iter()
                .map(|class| class.resident)
                .max()
                .unwrap_or(0)
                .max(resident_max);
        }
    }
    enqueuer.close();
    assert_eq!(consumer.join().unwrap(), events());
    let stats = pool.stats();
    let last =
        stats.classes.iter().map(|class| class.resident).max().unwrap_or(0).max(resident_max);
    // Both threads' bins, what is between them, one buffer in each thread, and half a bin in
    // transit.
    assert!(
        last <= 2 * KEPT + BETWEEN as u64 + 2 + KEPT / 2,
        "{last} buffers of one class are resident\n{stats}"
    );
    assert!(
        stats.classes.iter().all(|class| class.in_use == 0 && class.gets == class.puts),
        "{stats}"
    );
    let misses: u64 = stats.classes.iter().map(|class| class.misses).sum();
    assert!(misses <= 4 * last, "memory was populated again and again\n{stats}");
}
