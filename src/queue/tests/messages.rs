//! Messages that are slow to fill, held, large or small: what they don't hold up and don't pin.

use std::sync::mpsc::channel;
use std::thread;

use super::super::{Assembler, DequeueError, Length};
use super::{in_use, message, tiny_pool, tiny_queue};
use crate::class::{ClassOptions, ClassPool};

/// No message is copied under a lock: no file on the way in and out names a lock or a
/// read-modify-write.
// The text is the same under Miri, where a search takes seconds.
#[cfg(not(miri))]
#[test]
fn the_way_in_and_out_names_no_lock() {
    for (name, text) in [
        ("ring.rs", include_str!("../ring.rs")),
        ("enqueue.rs", include_str!("../enqueue.rs")),
        ("dequeue.rs", include_str!("../dequeue.rs")),
    ] {
        for word in ["Mutex", "lock(", "fetch_", "swap(", "compare_exchange"] {
            assert!(!text.contains(word), "{name} names {word}");
        }
    }
}

/// A thread that is slow to fill a message holds up neither the dequeuer of its own stream nor
/// another stream of the pool.
#[test]
fn a_slow_copier_holds_up_no_other_thread() {
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

/// A second dequeue before the first message is dropped loses no buffer.
#[test]
fn several_messages_are_held_and_all_return_to_the_pool() {
    let pool = tiny_pool(4);
    let (mut enqueuer, mut dequeuer) = tiny_queue(&pool, 1, 1000);
    let mut held = Vec::new();
    for value in 1..=4 {
        // The ring has one slot. It is free although all earlier messages are held.
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

/// The memory of a large message is freed with it.
#[test]
fn a_large_message_pins_nothing_once_it_is_dropped() {
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
    assert!(resident <= 16 * 2048, "{resident} bytes stay resident");
}

/// The same for a small message where a large one was expected: its buffer is of the small class.
#[test]
fn a_small_message_pins_no_large_class() {
    let pool = tiny_pool(4);
    let mut assembler = Assembler::new(&pool, 5000).unwrap();
    assembler.begin(Length::Hint(1000)).unwrap();
    assembler.append(&[6; 40]).unwrap();
    let message = assembler.complete().unwrap();
    assert_eq!((message.capacity(), &message[..]), (64, &[6; 40][..]));
    assert_eq!((assembler.stats().copied_down, in_use(&pool)), (1, 1));
}

#[test]
fn a_pool_outlives_its_handles_while_messages_are_queued_or_held() {
    let pool = tiny_pool(4);
    let (mut enqueuer, mut dequeuer) = tiny_queue(&pool, 4, 1000);
    enqueuer.try_enqueue_copy(b"held").unwrap();
    enqueuer.try_enqueue_copy(b"queued").unwrap();
    let held = dequeuer.try_dequeue().unwrap().expect("a message");
    drop((pool, enqueuer));
    let queued = dequeuer.try_dequeue().unwrap().expect("a message");
    drop(dequeuer);
    assert_eq!((&held[..], &queued.into_buf()[..]), (&b"held"[..], &b"queued"[..]));
}
