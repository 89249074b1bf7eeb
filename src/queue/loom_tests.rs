//! Every interleaving of both ends of a queue, and of a third that closes it: items arrive whole
//! and in order, no wake-up is lost (loom reports it when all threads wait forever), and items that
//! aren't dequeued are handed back or dropped.
//!
//! The slots are loom's cells, so loom reports a race if a cursor doesn't hand them over. The
//! barrier is the fence.
#![forbid(unsafe_code)]

use std::task::{Context, Poll, Wake, Waker};

use super::end::End;
use super::inlet::{Inlet, Refused, ends};
use super::outlet::{Outlet, Taken};
use super::ring::{Count, Ring, Weigh};
use crate::sync::model::{model, thread};
use crate::sync::{Arc, Thread, current_thread, park};

/// Weighs as many bytes as its number, and shares a count of those that are alive.
struct Item(usize, #[expect(dead_code, reason = "its count is looked at")] Arc<()>);

impl Weigh for Item {
    fn weight_bytes(&self) -> usize {
        self.0
    }
}

fn push(inlet: &mut Inlet<Item>, number: usize, alive: &Arc<()>) -> bool {
    match inlet.push(Item(number, Arc::clone(alive)), None) {
        Ok(()) => true,
        Err(Refused::Ended(Item(back, _))) => {
            assert_eq!(back, number, "what comes back is what was given");
            false
        }
        Err(Refused::Full(..)) => unreachable!("without a time it waits"),
    }
}

/// Everything to the end, which must be numbers in order.
fn drain(outlet: &mut Outlet<Item>) -> usize {
    let mut last = 0;
    loop {
        match outlet.pop(None) {
            Taken::Item(Item(number, _)) => last = next(last, number),
            Taken::Empty => unreachable!("without a time it waits"),
            Taken::Ended => return last,
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
        // Anew each time, as an executor may.
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
        let alive = Arc::new(());
        let count = Arc::clone(&alive);
        let enqueuer = thread::spawn(move || {
            (1..=2).for_each(|number| assert!(push(&mut inlet, number, &count)))
        });
        assert_eq!(drain(&mut outlet), 2);
        enqueuer.join().expect("the enqueuer ends");
        drop(outlet);
        assert_eq!(Arc::strong_count(&alive), 1);
    });
}

/// Of four bytes, one and two fit, three waits for both to go: a dequeue isn't always room enough.
#[test]
fn loom_the_byte_bound_wakes() {
    model(|| {
        let (mut inlet, mut outlet) = ends(4, 3);
        let alive = Arc::new(());
        (1..=2).for_each(|number| assert!(push(&mut inlet, number, &alive)));
        let enqueuer = thread::spawn(move || assert!(push(&mut inlet, 3, &alive)));
        assert_eq!(drain(&mut outlet), 3);
        enqueuer.join().expect("the enqueuer ends");
    });
}

fn error() -> End {
    End::Closed(std::sync::Arc::new(super::end::EnqueuerPanicked))
}

/// Whatever was taken before the error is dequeued, whatever comes after it is handed back, and
/// nothing stays in the ring.
#[test]
fn loom_close_meets_both_ends() {
    model(|| {
        let (mut inlet, mut outlet) = ends(1, 100);
        let alive = Arc::new(());
        let (shared, count) = (Arc::clone(inlet.shared()), Arc::clone(&alive));
        let closer = thread::spawn(move || shared.finish(error()));
        let enqueuer = thread::spawn(move || {
            let taken = push(&mut inlet, 1, &count);
            (inlet, usize::from(taken))
        });
        let dequeued = drain(&mut outlet);
        let (inlet, taken) = enqueuer.join().expect("the enqueuer ends");
        assert!(closer.join().expect("the closer ends"), "nobody else ended it");
        assert_eq!(dequeued, taken, "an item that was taken is dequeued");
        assert!(matches!(outlet.end(), Some(End::Closed(_))));
        assert_eq!(
            Arc::strong_count(&alive),
            1,
            "the queue keeps nothing, though both its ends are alive"
        );
        drop((inlet, outlet));
    });
}

#[test]
fn loom_close_wakes_an_enqueuer_that_waits() {
    model(|| {
        let (mut inlet, mut outlet) = ends(1, 100);
        let alive = Arc::new(());
        let (shared, count) = (Arc::clone(inlet.shared()), Arc::clone(&alive));
        assert!(push(&mut inlet, 1, &alive));
        let enqueuer = thread::spawn(move || (push(&mut inlet, 2, &count), inlet));
        assert!(shared.finish(error()));
        let (is_taken, inlet) = enqueuer.join().expect("the enqueuer ends");
        assert!(!is_taken, "nobody has made room");
        assert_eq!((drain(&mut outlet), Arc::strong_count(&alive)), (1, 1));
        drop(inlet);
    });
}

/// An enqueuer that is late for a dequeuer that goes gets its item back, or the dequeuer drops it.
#[test]
fn loom_a_dropped_dequeuer_leaves_nothing_behind() {
    model(|| {
        let (mut inlet, outlet) = ends(1, 100);
        let alive = Arc::new(());
        let count = Arc::clone(&alive);
        let enqueuer = thread::spawn(move || {
            (1..=2).all(|number| push(&mut inlet, number, &count));
            inlet
        });
        drop(outlet);
        let inlet = enqueuer.join().expect("the enqueuer ends");
        assert_eq!(Arc::strong_count(&alive), 1);
        drop(inlet);
    });
}

#[test]
fn loom_tasks_at_both_ends() {
    model(|| {
        let (mut inlet, mut outlet) = ends(1, 100);
        let alive = Arc::new(());
        let enqueuer = thread::spawn(move || {
            for number in 1..=2 {
                let mut item = Some(Item(number, Arc::clone(&alive)));
                assert!(block_on(|context| inlet.poll_push(context, &mut item)).is_ok());
            }
            inlet.forget();
        });
        let mut last = 0;
        while let Taken::Item(Item(number, _)) = block_on(|context| outlet.poll_pop(context)) {
            last = next(last, number);
        }
        assert_eq!(last, 2);
        enqueuer.join().expect("the enqueuer ends");
    });
}

/// A future that was polled and dropped has taken no wake-up with it: the thread that waits after
/// it gets its own.
#[test]
fn loom_a_dropped_future_takes_no_wake_up_with_it() {
    model(|| {
        let (mut inlet, mut outlet) = ends(2, 100);
        let alive = Arc::new(());
        let enqueuer = thread::spawn(move || {
            assert!(push(&mut inlet, 1, &alive));
            inlet
        });
        let waker = waker();
        let first = match outlet.poll_pop(&Context::from_waker(&waker)) {
            Poll::Ready(taken) => taken,
            Poll::Pending => {
                outlet.forget();
                outlet.pop(None)
            }
        };
        assert!(matches!(first, Taken::Item(Item(1, _))));
        drop(enqueuer.join().expect("the enqueuer ends"));
        assert!(matches!(outlet.pop(None), Taken::Ended));
    });
}

/// The ends are Send: who waits later waits as another thread.
#[test]
fn loom_an_end_moves_between_two_waits() {
    model(|| {
        let (mut inlet, mut outlet) = ends(1, 100);
        let alive = Arc::new(());
        let enqueuer = thread::spawn(move || {
            (1..=2).for_each(|number| assert!(push(&mut inlet, number, &alive)))
        });
        assert!(matches!(outlet.pop(None), Taken::Item(Item(1, _))));
        let second =
            thread::spawn(move || assert!(matches!(outlet.pop(None), Taken::Item(Item(2, _)))));
        second.join().expect("the second dequeuer ends");
        enqueuer.join().expect("the enqueuer ends");
    });
}

/// A look from outside while a message goes out and the next comes in: it sees no more bytes than
/// one of them has.
#[test]
fn loom_a_look_from_outside_keeps_to_the_bound() {
    model(|| {
        let (mut producer, mut consumer) = Ring::ends(1, 100, Count::default());
        let ring = Arc::clone(producer.ring());
        let both = thread::spawn(move || {
            let alive = Arc::new(());
            for _ in 0..2 {
                producer.room(10).expect("it is empty");
                producer.put(Item(10, Arc::clone(&alive)));
                assert!(consumer.pop().is_some());
            }
        });
        let (enqueued, dequeued) = ring.counts();
        let queued = enqueued.since(dequeued);
        assert!(queued.messages <= 1 && queued.bytes <= 10, "{enqueued:?} and {dequeued:?}");
        both.join().expect("both ends end");
    });
}
