//! The defects of the ancestor (system S3): none of them comes back.

use std::sync::mpsc::channel;
use std::thread;

use super::super::{Assembler, DequeueError, Length};
use super::{in_use, message, tiny_pool, tiny_queue};
use crate::class::{ClassOptions, ClassPool};

/// There a message was copied under the ring's lock. Here no file of the way in and out names a
/// lock or a read-modify-write, ...
// The text is the same under Miri, where a search takes seconds.
#[cfg(not(miri))]
#[test]
fn the_way_in_and_out_names_no_lock() {
    for (name, text) in [
        ("ring.rs", include_str!("../ring.rs")),
        ("inlet.rs", include_str!("../inlet.rs")),
        ("outlet.rs", include_str!("../outlet.rs")),
        ("enqueue.rs", include_str!("../enqueue.rs")),
        ("dequeue.rs", include_str!("../dequeue.rs")),
        ("message.rs", include_str!("../message.rs")),
    ] {
        for word in ["Mutex", "lock(", "fetch_", "swap(", "compare_exchange"] {
            assert!(!text.contains(word), "{name} names {word}");
        }
    }
}

/// ... and whoever is slow to fill a message holds nobody up: neither the dequeuer of its own
/// stream nor another stream of the pool.
#[test]
fn a_slow_copier_holds_nobody_up() {
    let pool = tiny_pool(8);
    let (mut enqueuer, mut dequeuer) = tiny_queue(&pool, 4, 1000);
    let (mut other_in, mut other_out) = tiny_queue(&pool, 4, 1000);
    enqueuer.try_enqueue_copy(b"before").unwrap();
    let ((half, is_half), (go, goes)) = (channel(), channel());
    let slow_pool = pool.clone();
    let copier = thread::spawn(move || {
        let mut buf = slow_pool.get(100).unwrap();
        buf[..50].fill(1);
        half.send(()).unwrap();
        goes.recv().unwrap();
        buf[50..].fill(1);
        enqueuer.enqueue(buf).unwrap();
    });
    is_half.recv().unwrap();
    assert_eq!(&dequeuer.dequeue().unwrap().expect("a message")[..], b"before");
    assert!(matches!(dequeuer.try_dequeue(), Err(DequeueError::Empty)));
    other_in.enqueue_copy(b"other").unwrap();
    assert_eq!(&other_out.dequeue().unwrap().expect("a message")[..], b"other");
    go.send(()).unwrap();
    assert_eq!(dequeuer.dequeue().unwrap().expect("a message")[..], [1; 100]);
    copier.join().unwrap();
}

/// There a second dequeue before Done lost a buffer.
#[test]
fn several_messages_are_held_and_all_come_home() {
    let pool = tiny_pool(4);
    let (mut enqueuer, mut dequeuer) = tiny_queue(&pool, 1, 1000);
    let mut held = Vec::new();
    for value in 1..=4 {
        // A ring of one slot: it is free though all before are held.
        enqueuer.try_enqueue(message(&pool, 50, value)).unwrap();
        held.push(dequeuer.try_dequeue().unwrap().expect("a message"));
    }
    assert!(enqueuer.try_enqueue_copy(b"a").is_err(), "the pool has four buffers");
    for (message, value) in held.iter().zip(1..) {
        assert_eq!(message[..], [value; 50]);
    }
    held.swap_remove(1);
    let elsewhere = thread::spawn(move || drop(held));
    elsewhere.join().unwrap();
    assert_eq!(in_use(&pool), 0);
    (1..=4).for_each(|value| drop(message(&pool, 50, value)));
}

/// There one message of 32 MB pinned 32 MB for ever.
#[test]
fn a_large_message_pins_nothing_once_it_is_done() {
    let bytes = if cfg!(miri) { 100_000 } else { 32 << 20 };
    let pool = ClassPool::new(&ClassOptions::default()).unwrap();
    let (mut enqueuer, mut dequeuer) = tiny_queue(&pool, 4, 1000);
    enqueuer.enqueue_copy(&vec![5; bytes]).unwrap();
    let large = dequeuer.dequeue().unwrap().expect("a message");
    assert_eq!((large.len(), pool.stats().direct.in_use), (bytes, 1));
    drop(large);
    enqueuer.enqueue_copy(b"small").unwrap();
    let stats = pool.stats();
    assert_eq!((stats.direct.in_use, stats.classes[0].in_use), (0, 1));
    let resident: u64 = stats.classes.iter().map(|class| class.resident_bytes).sum();
    assert!(resident <= 16 * 2048, "{resident} bytes are kept");
}

/// As above for a message that came small where a large one was expected: its buffer is of the
/// small class.
#[test]
fn a_small_message_pins_no_large_class() {
    let pool = tiny_pool(4);
    let mut assembler = Assembler::new(&pool, 5000).unwrap();
    assembler.begin(Length::Hint(1000)).unwrap();
    assembler.append(&[6; 40]).unwrap();
    let message = assembler.finish().unwrap();
    assert_eq!((message.capacity(), &message[..]), (64, &[6; 40][..]));
    assert_eq!((assembler.stats().copied_down, in_use(&pool)), (1, 1));
}

/// There the gauges stayed up after a close.
#[test]
fn gauges_go_down_after_a_close() {
    let pool = tiny_pool(8);
    for is_drained in [true, false] {
        let (mut enqueuer, mut dequeuer) = tiny_queue(&pool, 4, 1000);
        (1..=3).for_each(|value| enqueuer.try_enqueue(message(&pool, 10, value)).unwrap());
        let closer = enqueuer.closer();
        assert!(closer.close("the peer has gone"));
        assert_eq!((closer.stats().queued_messages, closer.stats().queued_bytes), (3, 30));
        if is_drained {
            (1..=3).for_each(|value| {
                assert_eq!(dequeuer.dequeue().unwrap().expect("a message")[..], [value; 10])
            });
            assert!(dequeuer.dequeue().is_err());
        } else {
            drop(dequeuer);
        }
        assert_eq!(
            (closer.stats().queued_messages, closer.stats().queued_bytes, in_use(&pool)),
            (0, 0, 0)
        );
    }
}

/// Close waits for nobody who holds a message, and the message is good and goes home long after.
#[test]
fn close_waits_for_no_held_message() {
    let pool = tiny_pool(4);
    let (mut enqueuer, mut dequeuer) = tiny_queue(&pool, 4, 1000);
    enqueuer.enqueue(message(&pool, 10, 7)).unwrap();
    let held = dequeuer.dequeue().unwrap().expect("a message");
    assert!(enqueuer.close("the peer has gone"));
    assert!(dequeuer.dequeue().is_err());
    drop((enqueuer, dequeuer));
    assert_eq!((held[..].to_vec(), in_use(&pool)), (vec![7; 10], 1));
    drop(held);
    assert_eq!(in_use(&pool), 0);
}
