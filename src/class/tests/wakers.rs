//! Wakers that panic or use the pool at once, and futures that are forgotten.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use super::small;
use crate::class::shared::Shared;
use crate::class::wait::Waiter;
use crate::class::{AtLimit, ClassPool, PooledBuf};

/// A waker that runs something each time it wakes and once more when it is dropped.
struct Calls<W: Fn() + Send + Sync, D: Fn() + Send + Sync>(W, D);

impl<W: Fn() + Send + Sync, D: Fn() + Send + Sync> Wake for Calls<W, D> {
    fn wake(self: Arc<Self>) {
        (self.0)();
    }
}

impl<W: Fn() + Send + Sync, D: Fn() + Send + Sync> Drop for Calls<W, D> {
    fn drop(&mut self) {
        (self.1)();
    }
}

fn waker(
    on_wake: impl Fn() + Send + Sync + 'static,
    on_drop: impl Fn() + Send + Sync + 'static,
) -> Waker {
    Waker::from(Arc::new(Calls(on_wake, on_drop)))
}

fn quiet(call: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(call)).is_ok()
}

/// Gets both buffers of a pool of two, by way of the class itself: they come home at one time.
fn both(shared: &Arc<Shared>) -> [crate::class::block::Block; 2] {
    [(); 2].map(|()| shared.classes[0].get_now(shared).unwrap().unwrap())
}

#[test]
fn a_waker_that_panics_loses_nobodys_wake_up() {
    let pool = small(2, AtLimit::Wait);
    let shared = pool.shared();
    let blocks = both(shared);
    let woken = Arc::new(Mutex::new(0));
    let count = Arc::clone(&woken);
    let counts = waker(move || *count.lock().unwrap() += 1, || ());
    let panics = waker(|| panic!("a waker that panics"), || ());
    let (mut first, mut second) = (pin!(pool.get_async(1)), pin!(pool.get_async(1)));
    assert!(first.as_mut().poll(&mut Context::from_waker(&panics)).is_pending());
    assert!(second.as_mut().poll(&mut Context::from_waker(&counts)).is_pending());
    let class = &shared.classes[0];
    assert!(
        quiet(|| shared.finish(class, class.store.put(blocks.into_iter(), 2))),
        "who gives back isn't at fault"
    );
    assert_eq!(*woken.lock().unwrap(), 1, "the second was never woken");
    for future in [first, second] {
        let Poll::Ready(Ok(buf)) = future.poll(&mut Context::from_waker(Waker::noop())) else {
            panic!("not served")
        };
        drop(buf);
    }
    // And threads keep buffers again.
    assert!(
        class.near().map(|block| drop(PooledBuf::new(block, class, 0))).is_some(),
        "the bin stayed shut"
    );
}

/// A thread that ends wakes who waits; a panic in its destructors would end the process.
#[test]
fn a_waker_that_panics_ends_no_thread() {
    let pool = small(1, AtLimit::Wait);
    let theirs = pool.clone();
    let held = pool.get(1).unwrap();
    let panics = waker(|| panic!("a waker that panics"), || ());
    let mut waiting = pin!(pool.get_async(1));
    assert!(waiting.as_mut().poll(&mut Context::from_waker(&panics)).is_pending());
    std::thread::spawn(move || drop((held, theirs)))
        .join()
        .expect("the thread that drops isn't at fault");
    assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
}

#[test]
fn a_future_that_unwinds_keeps_nothing() {
    let pool = small(1, AtLimit::Wait);
    let held = pool.get(1).unwrap();
    let panics = waker(|| (), || panic!("a waker that panics when it is dropped"));
    let mut waiting = Box::pin(pool.get_async(1));
    assert!(waiting.as_mut().poll(&mut Context::from_waker(&panics)).is_pending());
    drop((panics, held));
    // The old waker goes with the next poll, which had been granted the buffer.
    let polled = catch_unwind(AssertUnwindSafe(|| {
        waiting.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }));
    drop(polled);
    drop(waiting);
    assert!(pool.try_get(1).is_ok(), "the only buffer was lost");
}

/// A waker that runs its task at once, and drops what it holds: neither under a lock.
#[test]
fn a_waker_may_use_the_pool_at_once() {
    let pool = small(1, AtLimit::Wait);
    let all = |pool: &ClassPool| {
        let _ = pool.stats();
        drop(pool.shared().classes[0].memory.growing());
        let _ = pool.try_get(1);
        drop(pool.get(100_000).unwrap());
        pool.tick(std::time::Instant::now());
    };
    let (on_wake, on_drop) = (pool.clone(), pool.clone());
    let uses = waker(move || all(&on_wake), move || all(&on_drop));
    // In line before the class has any memory: whoever maps the first slab serves it.
    let waiter = Arc::new(Waiter::task());
    assert!(waiter.poll(&uses).is_none());
    drop(uses);
    pool.shared().classes[0].store.enqueue_always(&waiter);
    assert!(pool.try_get(1).is_err(), "the only one was granted");
    let class = &pool.shared().classes[0];
    let block = waiter.take().expect("it was served by the new slab");
    drop(waiter);
    drop(PooledBuf::new(block, class, 1));
    assert!(pool.try_get(1).is_ok());
}

#[test]
fn a_waker_that_is_replaced_goes_outside_of_locks() {
    let pool = small(1, AtLimit::Wait);
    let held = pool.get(1).unwrap();
    let theirs = pool.clone();
    let uses = waker(|| (), move || _ = (theirs.stats(), theirs.try_get(1)));
    let mut waiting = Box::pin(pool.get_async(1));
    assert!(waiting.as_mut().poll(&mut Context::from_waker(&uses)).is_pending());
    drop(uses);
    assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(held);
    assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
}

/// Its borrow says that it is forgotten once the last handle goes.
#[test]
fn what_forgotten_futures_keep_goes_with_the_last_handle() {
    if cfg!(miri) {
        // It would report the futures' own memory, which is forgotten on purpose.
        return;
    }
    for is_granted in [true, false] {
        let pool = small(1, AtLimit::Wait);
        let held = pool.get(1).unwrap();
        let mut waiting = Box::pin(pool.get_async(1));
        assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        mem::forget(waiting);
        let shared = Arc::downgrade(pool.shared());
        if is_granted {
            drop(held);
            assert!(pool.try_get(1).is_err(), "as far as anybody knows, it will be polled again");
            drop(pool);
        } else {
            drop(pool);
            drop(held);
        }
        assert!(shared.upgrade().is_none(), "the pool stays for ever");
    }
}
