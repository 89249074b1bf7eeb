//! Every interleaving of both ends of a queue, and of a third thread that closes it: items arrive
//! whole and in order, no wake-up is lost (loom reports it when all threads wait forever), and
//! items that aren't dequeued are handed back or dropped.
//!
//! The slots are loom's cells, so loom reports a race if a count doesn't hand them over. The
//! barrier is the fence.
#![forbid(unsafe_code)]

use std::task::{Context, Poll, Wake, Waker};

use super::dequeue::{Outlet, Popped};
use super::enqueue::{Inlet, QueueRefusal, ends};
use super::ring::{Count, QueueRing, Weigh};
use super::shared::{End, EnqueuerPanicked};
use crate::sync::model::{model, thread};
use crate::sync::{Arc, Thread, current_thread, park};

/// Weighs as many bytes as its number, and has a share in the count of the items that exist.
struct Item(usize, #[expect(dead_code, reason = "its count is read")] Arc<()>);

impl Weigh for Item {
    fn weight_bytes(&self) -> usize {
        self.0
    }
}

fn push(inlet: &mut Inlet<Item>, number: usize, existing: &Arc<()>) -> bool {
    match inlet.push(Item(number, Arc::clone(existing)), None) {
        Ok(()) => true,
        Err(QueueRefusal::Ended(Item(back, _))) => {
            assert_eq!(back, number, "the item itself is handed back");
            false
        }
        Err(QueueRefusal::Full(..)) => unreachable!("without a time limit it waits"),
    }
}

/// Pops everything up to the end: numbers in order. Returns the last one.
fn drain(outlet: &mut Outlet<Item>) -> usize {
    let mut last = 0;
    loop {
        match outlet.pop(None) {
            Popped::Item(Item(number, _)) => last = next(last, number),
            Popped::Empty => unreachable!("without a time limit it waits"),
            Popped::Ended => return last,
        }
    }
}

fn next(last: usize, number: usize) -> usize {
    assert_eq!(number, last + 1, "items arrive in order");
    number
}

/// A task is a thread that parks.
struct Task(Thread);

impl Wake for Task {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.unpark();
    }
}

fn waker() -> Waker {
    Waker::from(std::sync::Arc::new(Task(current_thread())))
}

fn block_on<T>(mut poll: impl FnMut(&Context<'_>) -> Poll<T>) -> T {
    loop {
        // A new waker for each poll, as an executor may make one.
        let waker = waker();
        match poll(&Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => {
                park();
            }
        }
    }
}

#[test]
fn loom_items_arrive_whole_and_in_order() {
    model(|| {
        let (mut inlet, mut outlet) = ends(1, 100);
        let existing = Arc::new(());
        let count = Arc::clone(&existing);
        let enqueuer = thread::spawn(move || {
            (1..=2).for_each(|number| assert!(push(&mut inlet, number, &count)))
        });
        assert_eq!(drain(&mut outlet), 2);
        enqueuer.join().expect("the enqueuer ends");
        drop(outlet);
        assert_eq!(Arc::strong_count(&existing), 1);
    });
}

/// The bound is three bytes: items of one and two fit, and the item of three waits until both are
/// popped. So one pop doesn't always make enough room.
#[test]
fn loom_the_byte_bound_wakes() {
    model(|| {
        let (mut inlet, mut outlet) = ends(4, 3);
        let existing = Arc::new(());
        (1..=2).for_each(|number| assert!(push(&mut inlet, number, &existing)));
        let enqueuer = thread::spawn(move || assert!(push(&mut inlet, 3, &existing)));
        assert_eq!(drain(&mut outlet), 3);
        enqueuer.join().expect("the enqueuer ends");
    });
}

fn error() -> End {
    End::Error(std::sync::Arc::new(EnqueuerPanicked))
}

/// An item that was pushed before the error is popped, an item that comes after it is handed back,
/// and none stays in the ring.
#[test]
fn loom_close_meets_both_ends() {
    model(|| {
        let (mut inlet, mut outlet) = ends(1, 100);
        let existing = Arc::new(());
        let (shared, count) = (Arc::clone(inlet.shared()), Arc::clone(&existing));
        let closer = thread::spawn(move || shared.close_as(error()));
        let enqueuer = thread::spawn(move || {
            let is_pushed = push(&mut inlet, 1, &count);
            (inlet, usize::from(is_pushed))
        });
        let dequeued = drain(&mut outlet);
        let (inlet, pushed) = enqueuer.join().expect("the enqueuer ends");
        assert!(closer.join().expect("the closer ends"), "only the closer ended it");
        assert_eq!(dequeued, pushed, "an item that was pushed is popped");
        assert!(matches!(outlet.end(), Some(End::Error(_))));
        assert_eq!(
            Arc::strong_count(&existing),
            1,
            "the queue holds nothing, though both its ends exist"
        );
        drop((inlet, outlet));
    });
}

#[test]
fn loom_close_wakes_an_enqueuer_that_waits() {
    model(|| {
        let (mut inlet, mut outlet) = ends(1, 100);
        let existing = Arc::new(());
        let (shared, count) = (Arc::clone(inlet.shared()), Arc::clone(&existing));
        assert!(push(&mut inlet, 1, &existing));
        let enqueuer = thread::spawn(move || (push(&mut inlet, 2, &count), inlet));
        assert!(shared.close_as(error()));
        let (is_pushed, inlet) = enqueuer.join().expect("the enqueuer ends");
        assert!(!is_pushed, "there was no room");
        assert_eq!((drain(&mut outlet), Arc::strong_count(&existing)), (1, 1));
        drop(inlet);
    });
}

/// If an enqueuer pushes while the dequeuer is dropped, its item is handed back, or the dequeuer
/// drops it.
#[test]
fn loom_a_dropped_dequeuer_leaves_nothing_behind() {
    model(|| {
        let (mut inlet, outlet) = ends(1, 100);
        let existing = Arc::new(());
        let count = Arc::clone(&existing);
        let enqueuer = thread::spawn(move || {
            (1..=2).all(|number| push(&mut inlet, number, &count));
            inlet
        });
        drop(outlet);
        let inlet = enqueuer.join().expect("the enqueuer ends");
        assert_eq!(Arc::strong_count(&existing), 1);
        drop(inlet);
    });
}

#[test]
fn loom_tasks_at_both_ends() {
    model(|| {
        let (mut inlet, mut outlet) = ends(1, 100);
        let existing = Arc::new(());
        let enqueuer = thread::spawn(move || {
            for number in 1..=2 {
                let mut item = Some(Item(number, Arc::clone(&existing)));
                assert!(block_on(|context| inlet.poll_push(context, &mut item)).is_ok());
            }
            inlet.cancel_wait();
        });
        let mut last = 0;
        while let Popped::Item(Item(number, _)) = block_on(|context| outlet.poll_pop(context)) {
            last = next(last, number);
        }
        assert_eq!(last, 2);
        enqueuer.join().expect("the enqueuer ends");
    });
}

/// A future that was polled and dropped has consumed no wake-up: a thread that waits after it gets
/// its own.
#[test]
fn loom_a_dropped_future_consumes_no_wake_up() {
    model(|| {
        let (mut inlet, mut outlet) = ends(2, 100);
        let existing = Arc::new(());
        let enqueuer = thread::spawn(move || {
            assert!(push(&mut inlet, 1, &existing));
            inlet
        });
        let waker = waker();
        let first = match outlet.poll_pop(&Context::from_waker(&waker)) {
            Poll::Ready(popped) => popped,
            Poll::Pending => {
                outlet.cancel_wait();
                outlet.pop(None)
            }
        };
        assert!(matches!(first, Popped::Item(Item(1, _))));
        drop(enqueuer.join().expect("the enqueuer ends"));
        assert!(matches!(outlet.pop(None), Popped::Ended));
    });
}

/// The ends are Send: the second wait may be on another thread.
#[test]
fn loom_an_end_moves_between_two_waits() {
    model(|| {
        let (mut inlet, mut outlet) = ends(1, 100);
        let existing = Arc::new(());
        let enqueuer = thread::spawn(move || {
            (1..=2).for_each(|number| assert!(push(&mut inlet, number, &existing)))
        });
        assert!(matches!(outlet.pop(None), Popped::Item(Item(1, _))));
        let second =
            thread::spawn(move || assert!(matches!(outlet.pop(None), Popped::Item(Item(2, _)))));
        second.join().expect("the second dequeuer ends");
        enqueuer.join().expect("the enqueuer ends");
    });
}

/// A snapshot while one message comes out and the next goes in: it shows no more bytes than one of
/// them has.
#[test]
fn loom_a_snapshot_shows_no_more_than_the_bound() {
    model(|| {
        let (mut producer, mut consumer) = QueueRing::ends(1, 100, Count::default());
        let ring = Arc::clone(producer.ring());
        let both = thread::spawn(move || {
            let existing = Arc::new(());
            for _ in 0..2 {
                producer.room(10).expect("it is empty");
                producer.put(Item(10, Arc::clone(&existing)));
                assert!(consumer.pop().is_some());
            }
        });
        let (enqueued, dequeued) = ring.counts();
        let queued = enqueued.since(dequeued);
        assert!(queued.messages <= 1 && queued.bytes <= 10, "{enqueued:?} and {dequeued:?}");
        both.join().expect("both ends end");
    });
}
