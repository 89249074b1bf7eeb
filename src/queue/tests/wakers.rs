//! Wakers that panic, and futures that are dropped or forgotten: no other task or thread loses a
//! message, a wake-up or a buffer by them.

use std::future::Future;
use std::mem::{ManuallyDrop, forget};
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use super::super::{CopyError, Dequeue, End, Enqueue};
use super::{in_use, message, tiny_pool, tiny_queue};
use crate::sync::{AtomicBool, AtomicU32, Ordering};

/// Counts its wake-ups, and panics in each if `panics` is set.
#[derive(Default)]
struct Task {
    panics: bool,
    woken: AtomicU32,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.woken.fetch_add(1, Ordering::Relaxed);
        assert!(!self.panics, "a waker that panics, on purpose");
    }
}

impl Task {
    fn new(panics: bool) -> Arc<Self> {
        Arc::new(Self { panics, woken: AtomicU32::new(0) })
    }

    fn poll<F: Future>(self: &Arc<Self>, future: Pin<&mut F>) -> Poll<F::Output> {
        let waker = Waker::from(Arc::clone(self));
        future.poll(&mut Context::from_waker(&waker))
    }

    fn woken(&self) -> u32 {
        self.woken.load(Ordering::Relaxed)
    }
}

#[test]
fn a_message_is_dequeued_though_the_waker_of_the_enqueuer_panics() {
    let pool = tiny_pool(8);
    let (mut enqueuer, mut dequeuer) = tiny_queue(&pool, 1, 1000);
    enqueuer.try_enqueue_copy(b"a").unwrap();
    let task = Task::new(true);
    let mut room = enqueuer.enqueue_async(message(&pool, 1, 2));
    assert!(task.poll(Pin::new(&mut room)).is_pending());
    assert_eq!(&dequeuer.try_dequeue().unwrap().expect("a message")[..], b"a");
    assert_eq!(task.woken(), 1);
    assert!(task.poll(Pin::new(&mut room)).is_ready(), "it can still be polled");
    drop(room);
    assert_eq!(dequeuer.try_dequeue().unwrap().expect("a message")[..], [2]);
}

#[test]
fn a_message_is_enqueued_though_the_waker_of_the_dequeuer_panics() {
    let pool = tiny_pool(8);
    let (mut enqueuer, mut dequeuer) = tiny_queue(&pool, 1, 1000);
    let task = Task::new(true);
    {
        let mut next = pin!(dequeuer.dequeue_async());
        assert!(task.poll(next.as_mut()).is_pending());
        enqueuer.try_enqueue_copy(b"a").unwrap();
        assert_eq!(task.woken(), 1);
        assert!(matches!(task.poll(next), Poll::Ready(Ok(Some(_)))));
    }
    enqueuer.close();
    assert!(dequeuer.dequeue().unwrap().is_none(), "the enqueuer didn't fail");
}

/// Both ends wait; each end's waker panics in turn.
#[test]
fn an_end_wakes_both_though_the_waker_of_one_panics() {
    for bad in [0, 1] {
        let pool = tiny_pool(8);
        let (mut enqueuer, mut dequeuer) = tiny_queue(&pool, 1, 1000);
        let closer = enqueuer.closer();
        let tasks = [Task::new(bad == 0), Task::new(bad == 1)];
        let mut next = pin!(dequeuer.dequeue_async());
        assert!(tasks[1].poll(next.as_mut()).is_pending());
        enqueuer.try_enqueue_copy(b"a").unwrap();
        let mut room = pin!(enqueuer.enqueue_copy_async(b"b"));
        assert!(tasks[0].poll(room.as_mut()).is_pending());
        assert!(closer.close_with("reset"), "a waker's panic doesn't reach the closer");
        assert_eq!(tasks.each_ref().map(|task| task.woken()), [1, 1]);
        assert!(matches!(tasks[0].poll(room), Poll::Ready(Err(CopyError::Closed(End::Error(_))))));
        assert!(matches!(tasks[1].poll(next), Poll::Ready(Ok(Some(_)))));
    }
}

/// An end that a panic drops wakes the other end. A second panic would end the process.
#[test]
fn an_end_that_is_unwound_survives_a_waker_that_panics() {
    let pool = tiny_pool(8);
    let (enqueuer, mut dequeuer) = tiny_queue(&pool, 1, 1000);
    let task = Task::new(true);
    let mut next = pin!(dequeuer.dequeue_async());
    assert!(task.poll(next.as_mut()).is_pending());
    // A panic during a panic is reported with its whole backtrace, which is slow under Miri.
    let hook = cfg!(miri).then(panic::take_hook);
    if hook.is_some() {
        panic::set_hook(Box::new(|_| ()));
    }
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let _enqueuer = enqueuer;
        panic!("on purpose");
    }));
    if let Some(hook) = hook {
        panic::set_hook(hook);
    }
    assert!(unwound.is_err());
    assert_eq!(task.woken(), 1);
    assert!(matches!(task.poll(next), Poll::Ready(Err(_))), "the end isn't a clean one");
}

/// A task that panics when the last of its wakers is dropped.
struct BadDrop(Arc<AtomicBool>);

impl Wake for BadDrop {
    fn wake(self: Arc<Self>) {}
}

impl Drop for BadDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        panic!("a waker that panics when it is dropped, on purpose");
    }
}

#[test]
fn a_waker_that_panics_in_its_drop_has_no_other_effect() {
    let pool = tiny_pool(8);
    let (mut enqueuer, mut dequeuer) = tiny_queue(&pool, 1, 1000);
    let is_dropped = Arc::new(AtomicBool::new(false));
    // The waker isn't dropped here: the last clone is the queue's.
    let bad = ManuallyDrop::new(Waker::from(Arc::new(BadDrop(Arc::clone(&is_dropped)))));
    let task = Task::new(false);
    let mut next = pin!(dequeuer.dequeue_async());
    assert!(next.as_mut().poll(&mut Context::from_waker(&bad)).is_pending());
    drop(ManuallyDrop::into_inner(bad));
    assert!(task.poll(next.as_mut()).is_pending());
    assert!(is_dropped.load(Ordering::Relaxed), "the first waker is dropped");
    enqueuer.try_enqueue_copy(b"a").unwrap();
    assert_eq!(task.woken(), 1);
    assert!(matches!(task.poll(next), Poll::Ready(Ok(Some(_)))));
}

/// A future that was forgotten holds its waker and its buffer until its end is used again or
/// dropped.
#[test]
fn a_forgotten_future_holds_nothing_once_its_end_is_used_again() {
    let pool = tiny_pool(8);
    let (mut enqueuer, mut dequeuer) = tiny_queue(&pool, 1, 1000);
    let (closer, task) = (enqueuer.closer(), Task::new(false));
    enqueuer.try_enqueue_copy(b"a").unwrap();
    let forgotten = |mut room: Enqueue<'_>| {
        assert!(task.poll(Pin::new(&mut room)).is_pending());
        forget(room);
    };
    forgotten(enqueuer.enqueue_async(message(&pool, 1, 1)));
    assert_eq!(
        (in_use(&pool), Arc::strong_count(&task)),
        (2, 2),
        "the end holds its buffer and its waker"
    );
    forgotten(enqueuer.enqueue_async(message(&pool, 1, 2)));
    assert_eq!((in_use(&pool), Arc::strong_count(&task)), (2, 2), "those of the last one only");
    assert_eq!(&dequeuer.try_dequeue().unwrap().expect("a message")[..], b"a");
    let forgotten = |mut next: Dequeue<'_>| {
        assert!(task.poll(Pin::new(&mut next)).is_pending());
        forget(next);
    };
    forgotten(dequeuer.dequeue_async());
    let woken = task.woken();
    drop(enqueuer);
    assert_eq!(
        (in_use(&pool), task.woken()),
        (0, woken + 1),
        "the end wakes a task that may still wait"
    );
    drop(dequeuer);
    assert_eq!((Arc::strong_count(&task), closer.stats().queued_messages), (1, 0));
}

#[test]
fn an_unwound_future_holds_nothing_of_its_queue() {
    let pool = tiny_pool(8);
    let (mut enqueuer, mut dequeuer) = tiny_queue(&pool, 1, 1000);
    let task = Task::new(false);
    enqueuer.try_enqueue_copy(b"a").unwrap();
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let mut room = pin!(enqueuer.enqueue_copy_async(b"b"));
        assert!(task.poll(room.as_mut()).is_pending());
        assert!(task.poll(pin!(dequeuer.dequeue_async())).is_ready());
        let mut next = pin!(dequeuer.dequeue_async());
        assert!(task.poll(next.as_mut()).is_pending());
        panic!("on purpose");
    }));
    assert!(unwound.is_err());
    assert_eq!((in_use(&pool), Arc::strong_count(&task), task.woken()), (0, 1, 1));
    enqueuer.try_enqueue_copy(b"c").unwrap();
    assert_eq!(task.woken(), 1, "no task waits");
    assert_eq!(&dequeuer.try_dequeue().unwrap().expect("a message")[..], b"c");
}
