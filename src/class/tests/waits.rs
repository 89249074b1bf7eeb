//! Gets at the limit: waiting, being refused, fresh buffers, and blocks that other threads keep.
//! Wakers that panic or use the pool, and futures that are forgotten.

use std::future::Future;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::{LONG, small};
use crate::class::get::{get_near, get_now};
use crate::class::memory::Block;
use crate::class::shared::ClassShared;
use crate::class::store::Waiter;
use crate::class::{AtLimit, ClassPool, GetError, PooledBuf};

/// Returns once this many gets wait.
fn until_waiting(pool: &ClassPool, count: u64) {
    while pool.stats().classes[0].waiting != count {
        thread::yield_now();
    }
}

#[test]
fn a_class_at_its_limit_refuses() {
    let exhausted = GetError::Exhausted { class_bytes: 64, buffers_max: 2 };
    for at_limit in [AtLimit::Refuse, AtLimit::Wait] {
        let pool = small(2, at_limit);
        let both = [pool.get(64).unwrap(), pool.get(1).unwrap()];
        assert_eq!(pool.try_get(64).unwrap_err(), exhausted, "{at_limit:?}");
        if at_limit == AtLimit::Refuse {
            assert_eq!(pool.get(0).unwrap_err(), exhausted);
            assert_eq!(pool.get_timeout(0, LONG).unwrap_err(), exhausted);
        }
        pool.get(65).expect("another class has a limit of its own");
        assert!(pool.stats().classes[0].refusals >= 1);
        drop(both);
        pool.try_get(64).unwrap();
    }
}

#[test]
fn a_class_at_its_limit_gives_fresh_buffers() {
    let pool = small(1, AtLimit::Fresh);
    let (pooled, fresh) = (pool.get(10).unwrap(), pool.get(10).unwrap());
    assert!(!pooled.is_direct() && fresh.is_direct() && fresh.capacity() == 10);
    let stats = pool.stats();
    assert_eq!((stats.classes[0].fresh, stats.classes[0].misses, stats.direct.gets), (1, 2, 1));
    assert_eq!((stats.classes[0].resident, stats.hit_rate()), (1, 0.0));
    drop((fresh, pooled));
    assert!(!pool.get(10).unwrap().is_direct());
}

#[test]
fn a_wait_ends_with_its_time() {
    let pool = small(1, AtLimit::Wait);
    let held = pool.get(64).unwrap();
    let timeout = Duration::from_millis(5);
    let refused = pool.get_timeout(64, timeout).unwrap_err();
    assert_eq!(refused, GetError::TimedOut { class_bytes: 64, buffers_max: 1, timeout });
    assert!(
        pool.get_timeout(64, Duration::ZERO).unwrap_err().to_string().contains("stayed in use")
    );
    let class = pool.stats().classes[0];
    assert_eq!((class.waits, class.waiting), (2, 0), "a get that gives up stops waiting");
    drop(held);
    // And threads keep buffers again, which the waits had forbidden.
    drop(pool.get_timeout(64, Duration::MAX).unwrap());
    let class = &pool.shared().classes[0];
    assert_eq!(get_near(class).map(|block| drop(PooledBuf::new(block, class, 0))), Some(()));
}

#[test]
fn waiters_are_served_in_order() {
    let pool = small(1, AtLimit::Wait);
    let held = pool.get(64).unwrap();
    let (arrived, order) = channel();
    let threads: Vec<_> = (0..3)
        .map(|index| {
            let (theirs, arrived) = (pool.clone(), arrived.clone());
            let thread = thread::spawn(move || {
                let buf = theirs.get_timeout(64, LONG).unwrap();
                arrived.send(index).unwrap();
                drop(buf);
            });
            until_waiting(&pool, index + 1);
            thread
        })
        .collect();
    drop(held);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(order.try_iter().collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(pool.stats().classes[0].in_use, 0);
}

/// A thread that keeps `count` free buffers in its bin, and sleeps until the sender is dropped.
fn keeper(pool: &ClassPool, count: usize) -> (JoinHandle<()>, Sender<()>) {
    let ((ready, is_ready), (go, wait)) = (sync_channel(1), channel::<()>());
    let theirs = pool.clone();
    let thread = thread::spawn(move || {
        drop((0..count).map(|_| theirs.get(64).unwrap()).collect::<Vec<PooledBuf>>());
        ready.send(()).unwrap();
        let _ = wait.recv();
        drop(theirs.get(64).unwrap());
    });
    is_ready.recv().unwrap();
    (thread, go)
}

#[test]
fn what_an_idle_thread_keeps_is_used_at_the_limit() {
    for at_limit in [AtLimit::Wait, AtLimit::Refuse, AtLimit::Fresh] {
        let pool = small(4, at_limit);
        let (thread, go) = keeper(&pool, 4);
        let all: Vec<PooledBuf> = (0..4).map(|_| pool.get(64).unwrap()).collect();
        assert!(all.iter().all(|buf| !buf.is_direct()), "{at_limit:?}");
        assert_eq!(pool.stats().classes[0].resident, 4);
        drop(all);
        drop(go);
        thread.join().unwrap();
    }
}

/// Few buffers, many threads: each is served, and no buffer has two owners.
#[test]
fn many_threads_share_few_buffers() {
    let rounds = if cfg!(miri) { 10 } else { 2000 };
    let pool = small(3, AtLimit::Wait);
    let threads: Vec<_> = (0..5_u8)
        .map(|mine| {
            let pool = pool.clone();
            thread::spawn(move || {
                for _ in 0..rounds {
                    let mut buf = pool.get_timeout(64, LONG).expect("a wake-up was lost");
                    buf.fill(mine);
                    thread::yield_now();
                    assert!(
                        buf.iter().all(|&byte| byte == mine),
                        "this buffer has another owner too"
                    );
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let class = pool.stats().classes[0];
    assert_eq!((class.in_use, class.waiting, class.gets), (0, 0, 5 * rounds));
    assert!(class.resident <= 3);
}

/// A waker that counts.
#[derive(Default)]
struct Count(Mutex<u32>);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        *self.0.lock().unwrap() += 1;
    }
}

impl Count {
    fn new() -> (Arc<Self>, Waker) {
        let count = Arc::new(Self::default());
        (Arc::clone(&count), Waker::from(count))
    }

    fn count(&self) -> u32 {
        *self.0.lock().unwrap()
    }
}

fn poll<F: Future>(future: Pin<&mut F>, waker: &Waker) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(waker))
}

#[test]
fn a_task_waits() {
    let pool = small(1, AtLimit::Wait);
    let (first, waker) = Count::new();
    let (second, other) = Count::new();
    let held = pool.get(64).unwrap();
    let mut get = pin!(pool.get_async(64));
    assert!(poll(get.as_mut(), &waker).is_pending());
    // A task may be moved: the last waker is woken.
    assert!(poll(get.as_mut(), &other).is_pending());
    drop(held);
    assert_eq!((first.count(), second.count()), (0, 1));
    let Poll::Ready(Ok(buf)) = poll(get.as_mut(), &other) else {
        panic!("it was woken for nothing")
    };
    assert_eq!(buf.len(), 64);
    let mut refused = pin!(pool.get_async(usize::MAX));
    assert!(matches!(poll(refused.as_mut(), &waker), Poll::Ready(Err(GetError::TooLarge { .. }))));
    let refusing = small(1, AtLimit::Refuse);
    let _held = refusing.get(64).unwrap();
    assert!(matches!(
        poll(pin!(refusing.get_async(64)), &waker),
        Poll::Ready(Err(GetError::Exhausted { .. }))
    ));
}

#[test]
fn a_dropped_future_hands_on_what_it_was_granted() {
    let pool = small(1, AtLimit::Wait);
    let (woken, waker) = Count::new();
    let held = pool.get(64).unwrap();
    let mut granted = Box::pin(pool.get_async(64));
    let mut next = pin!(pool.get_async(64));
    let mut left = Box::pin(pool.get_async(64));
    for future in [granted.as_mut(), next.as_mut(), left.as_mut()] {
        assert!(poll(future, &waker).is_pending());
    }
    drop(left);
    drop(held);
    assert_eq!((woken.count(), pool.stats().classes[0].waiting), (1, 1));
    drop(granted);
    assert_eq!(woken.count(), 2);
    assert!(matches!(poll(next.as_mut(), &waker), Poll::Ready(Ok(_))));
}

#[test]
fn threads_and_tasks_are_served_in_one_order() {
    let pool = small(1, AtLimit::Wait);
    let (woken, waker) = Count::new();
    let held = pool.get(64).unwrap();
    let mut get = pin!(pool.get_async(64));
    assert!(poll(get.as_mut(), &waker).is_pending());
    let (done, is_done): (_, Receiver<()>) = channel();
    let theirs = pool.clone();
    let thread = thread::spawn(move || {
        drop(theirs.get_timeout(64, LONG).unwrap());
        drop(done);
    });
    until_waiting(&pool, 2);
    drop(held);
    assert_eq!(woken.count(), 1);
    let Poll::Ready(Ok(buf)) = poll(get.as_mut(), &waker) else { panic!("it came first") };
    assert!(is_done.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty));
    drop(buf);
    thread.join().unwrap();
}

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

/// Gets both blocks of a pool of two, so that they can be put back at the same time.
fn both(shared: &Arc<ClassShared>) -> [Block; 2] {
    [(); 2].map(|()| get_now(shared, &shared.classes[0]).unwrap().unwrap())
}

#[test]
fn a_waker_that_panics_loses_no_wake_up() {
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
        quiet(|| shared.after_unlock(class, class.store.put(blocks.into_iter(), 2))),
        "the thread that puts back isn't at fault"
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
        get_near(class).map(|block| drop(PooledBuf::new(block, class, 0))).is_some(),
        "its owner is still locked out"
    );
}

/// A thread that ends wakes waiters; a panic in its destructors would end the process.
#[test]
fn a_waker_that_panics_ends_no_thread() {
    let pool = small(1, AtLimit::Wait);
    let theirs = pool.clone();
    let held = pool.get(1).unwrap();
    let panics = waker(|| panic!("a waker that panics"), || ());
    let mut waiting = pin!(pool.get_async(1));
    assert!(waiting.as_mut().poll(&mut Context::from_waker(&panics)).is_pending());
    thread::spawn(move || drop((held, theirs)))
        .join()
        .expect("the thread that drops isn't at fault");
    assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
}

#[test]
fn a_future_that_unwinds_loses_no_buffer() {
    let pool = small(1, AtLimit::Wait);
    let held = pool.get(1).unwrap();
    let panics = waker(|| (), || panic!("a waker that panics when it is dropped"));
    let mut waiting = Box::pin(pool.get_async(1));
    assert!(waiting.as_mut().poll(&mut Context::from_waker(&panics)).is_pending());
    drop((panics, held));
    // The next poll drops the old waker. The future was granted the buffer before.
    let polled = catch_unwind(AssertUnwindSafe(|| {
        waiting.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }));
    drop(polled);
    drop(waiting);
    assert!(pool.try_get(1).is_ok(), "the only buffer was lost");
}

/// A waker that runs its task in the call, and another when it is dropped: neither under a lock.
#[test]
fn a_waker_may_use_the_pool_in_its_call() {
    let pool = small(1, AtLimit::Wait);
    let all = |pool: &ClassPool| {
        let _ = pool.stats();
        drop(pool.shared().classes[0].slabs.growing());
        let _ = pool.try_get(1);
        drop(pool.get(100_000).unwrap());
        pool.tick(std::time::Instant::now());
    };
    let (on_wake, on_drop) = (pool.clone(), pool.clone());
    let uses = waker(move || all(&on_wake), move || all(&on_drop));
    // It waits before the class has any memory: the thread that maps the first slab serves it.
    let waiter = Arc::new(Waiter::task());
    assert!(waiter.poll(&uses).is_none());
    drop(uses);
    pool.shared().classes[0].store.enqueue_always(&waiter);
    assert!(pool.try_get(1).is_err(), "the only one was granted");
    let class = &pool.shared().classes[0];
    let block = waiter.take_granted().expect("it was served by the new slab");
    drop(waiter);
    drop(PooledBuf::new(block, class, 1));
    assert!(pool.try_get(1).is_ok());
}

#[test]
fn a_waker_that_is_replaced_is_dropped_outside_of_locks() {
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

/// Their borrow of the handle shows that they are forgotten once the last handle is dropped.
#[test]
fn buffers_of_forgotten_futures_come_back_with_the_last_handle() {
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
            assert!(
                pool.try_get(1).is_err(),
                "for all that the pool knows, it will be polled again"
            );
            drop(pool);
        } else {
            drop(pool);
            drop(held);
        }
        assert!(shared.upgrade().is_none(), "the pool stays forever");
    }
}
