//! Real queues over a real pool under ThreadSanitizer (`scripts/tsan`), and as an ordinary test
//! with fewer messages.
//!
//! ```text
//! filler ──queue──▶ relay: verifies, holds some, passes them on ──queue──▶ last: verifies, drops
//!    ▲                                                                       │
//!    └──────────────── buffers, by the pool that all three share ◀───────────┘
//! ```
//! Messages travel only through queues, and buffers return only through the pool: anything else
//! that orders two threads would hide a race between them. Bounds are tiny, so that both ends sleep
//! all the time, and the pool is as small as possible, so that each buffer is soon written again.

use std::thread;

use slipring::class::{AtLimit, ClassOptions, ClassPool, ClassTable, Limit};
use slipring::queue::{Dequeuer, Enqueuer, Message, QueueOptions, queue};
use slipring_test_support::{
    Draw, PAYLOAD_BYTES_MAX, block_on, check_payload, events, forbid_membarrier, payload_len,
    write_payload,
};

/// The tests of this file share the messages among them.
const RUNS: u64 = 4;
/// The most messages that the relay holds.
const HELD: usize = 6;

#[derive(Clone, Copy, PartialEq)]
enum Wait {
    Threads,
    Tasks,
    /// Threads, and the first queue is closed in the middle.
    Closed,
}

/// Each class has the fewest buffers with which the run can't block: while the relay waits for a
/// buffer it holds `HELD` messages and one that it has just dequeued, its queue may be full, and
/// the filler may have a buffer that it fills.
fn pool(messages: usize) -> ClassPool {
    let table = ClassTable::new(&[128, 1024]).expect("a table");
    assert!(table.class_of(PAYLOAD_BYTES_MAX).is_some());
    let (limit, at_limit) = (Limit::buffers(HELD + 1 + messages + 1 + 1), AtLimit::Wait);
    ClassPool::new(&ClassOptions { table, limit, at_limit, ..ClassOptions::default() })
        .expect("a small pool")
}

/// Enqueues messages, moved or copied, until all are enqueued or the queue is closed. Returns how
/// many were enqueued.
fn fill(mut enqueuer: Enqueuer, count: u64, wait: Wait) -> u64 {
    let mut copy = vec![0; PAYLOAD_BYTES_MAX];
    for number in 0..count {
        let bytes = payload_len(number);
        let is_enqueued = if number.is_multiple_of(3) {
            write_payload(&mut copy[..bytes], number);
            match wait {
                Wait::Tasks => block_on(enqueuer.enqueue_copy_async(&copy[..bytes])).is_ok(),
                _ => enqueuer.enqueue_copy(&copy[..bytes]).is_ok(),
            }
        } else {
            let mut buf = enqueuer.pool().get(bytes).expect("it waits");
            write_payload(&mut buf, number);
            match wait {
                Wait::Tasks => block_on(enqueuer.enqueue_async(buf)).is_ok(),
                _ => enqueuer.enqueue(buf).is_ok(),
            }
        };
        if !is_enqueued {
            return number;
        }
    }
    count
}

fn next(dequeuer: &mut Dequeuer, wait: Wait) -> Option<Message> {
    let next =
        if wait == Wait::Tasks { block_on(dequeuer.dequeue_async()) } else { dequeuer.dequeue() };
    next.unwrap_or_else(|closed| {
        assert!(wait == Wait::Closed, "{closed}");
        None
    })
}

/// Holds messages, and drops them or passes them on in any order, each after a message with its
/// number. Returns how many it dequeued.
fn relay(mut dequeuer: Dequeuer, mut on: Enqueuer, seed: u64, wait: Wait) -> u64 {
    let (mut draw, mut held, mut number) = (Draw::new(seed), Vec::<(u64, Message)>::new(), 0);
    while let Some(message) = next(&mut dequeuer, wait) {
        check_payload(&message, number);
        held.push((number, message));
        number += 1;
        if draw.below(HELD as u64) < held.len() as u64 {
            let (number, message) = held.swap_remove(draw.below(held.len() as u64) as usize);
            check_payload(&message, number);
            if draw.below(2) == 0 {
                on.enqueue_copy(&number.to_le_bytes()).expect("the last one dequeues all");
                on.enqueue(message.into_buf()).expect("the last one dequeues all");
            }
        }
    }
    number
}

/// Verifies and drops what it dequeues: a number, then its message.
fn last(mut dequeuer: Dequeuer) -> u64 {
    let mut count = 0;
    while let Some(number) = dequeuer.dequeue().expect("a clean end") {
        let message = dequeuer.dequeue().expect("a clean end").expect("its message");
        check_payload(&message, u64::from_le_bytes(number[..].try_into().expect("a number")));
        count += 1;
    }
    count
}

fn run(wait: Wait, messages: usize, bytes: usize, seed: u64) {
    let count = events(20_000) / RUNS;
    let pool = pool(messages);
    let ends = || queue(&pool, QueueOptions { messages, bytes }).expect("small bounds");
    let ((enqueuer, dequeuer), (on, out)) = (ends(), ends());
    let closer = enqueuer.closer();
    let filler = thread::spawn(move || fill(enqueuer, count, wait));
    let relay = thread::spawn(move || relay(dequeuer, on, seed, wait));
    let last = thread::spawn(move || last(out));
    if wait == Wait::Closed {
        while closer.stats().dequeued_messages < count / 2 {
            thread::yield_now();
        }
        assert!(closer.close_with("reset"), "it is still open");
    }
    let (filled, relayed) =
        (filler.join().expect("the filler"), relay.join().expect("the relay verified all"));
    assert_eq!(filled, relayed, "what was enqueued is dequeued");
    assert!(filled == count || wait == Wait::Closed);
    let passed_on = last.join().expect("the last one verified all");
    let stats = closer.stats();
    assert_eq!(
        (stats.queued_messages, stats.queued_bytes, stats.wakes_lost),
        (0, 0, 0),
        "{stats:?}"
    );
    assert!(pool.stats().classes.iter().all(|class| class.in_use == 0), "{:?}", pool.stats());
    println!("{filled} messages, {passed_on} passed on; {stats:?}");
}

#[test]
fn threads_at_a_queue_of_two() {
    run(Wait::Threads, 2, 1500, 1);
}

#[test]
fn tasks_at_a_queue_of_one() {
    run(Wait::Tasks, 1, 1 << 20, 2);
}

#[test]
fn close_meets_threads() {
    run(Wait::Closed, 4, 600, 3);
}

/// ThreadSanitizer sees neither fences nor membarriers. No data depends on them, only sleeping.
#[test]
fn threads_without_membarrier() {
    forbid_membarrier();
    run(Wait::Threads, 3, 1500, 4);
}
