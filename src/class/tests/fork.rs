//! A thread of the parent holds a lock while the process forks. In the child the lock is never
//! unlocked, and nothing of the pool waits for it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use slipring_test_support::in_child;

use crate::class::get::Get;
use crate::class::shared::ClassShared;
use crate::class::{
    AtLimit, ClassError, ClassOptions, ClassPool, ClassTable, GetError, Limit, PooledBuf, Ticker,
};
use crate::sync::lock;

/// A lock's name, and a function that holds it during a call.
type Lock = (&'static str, fn(&ClassShared, &dyn Fn()));

const LOCKS: [Lock; 5] = [
    ("registry", |shared, hold| {
        let _registry = shared.registry();
        hold();
    }),
    ("growth", |shared, hold| {
        let _growing = shared.classes[0].slabs.growing();
        hold();
    }),
    ("store", |shared, hold| {
        let blocks = std::iter::from_fn(|| {
            hold();
            None
        });
        drop(shared.classes[0].store.put(blocks, 0));
    }),
    ("base", |shared, hold| {
        let _base = lock(&shared.base);
        hold();
    }),
    ("period", |shared, hold| {
        let _period = lock(&shared.classes[0].period);
        hold();
    }),
];

/// What the parent has at the fork.
struct Parents<'a> {
    waiting: Pin<Box<Get<'a>>>,
    bufs: Vec<PooledBuf>,
    ticker: Ticker,
}

/// What a child does with a pool of its parent. Then it ends with the destructors of its thread.
fn use_and_drop(pool: &ClassPool, parents: Parents<'_>) {
    let Parents { mut waiting, bufs, ticker } = parents;
    let stats = pool.stats();
    assert_eq!((stats.classes[0].class_bytes, stats.classes[0].buffers_max), (64, 40));
    pool.reset_stats();
    assert_eq!(pool.get(64).unwrap_err(), GetError::Forked);
    assert_eq!(pool.get_timeout(64, Duration::MAX).unwrap_err(), GetError::Forked);
    let polled = waiting.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(polled, Poll::Ready(Err(GetError::Forked))));
    drop(waiting);
    drop(bufs);
    drop(pool.get(1 << 20).unwrap());
    assert_eq!(pool.warm_up(3).unwrap_err(), ClassError::Forked);
    assert_eq!(pool.tick(Instant::now()), 0);
    drop(ticker);
    drop(ClassPool::new(&ClassOptions::default()).unwrap().get(1).unwrap());
}

fn pool() -> ClassPool {
    let table = ClassTable::new(&[64, 4096]).unwrap();
    let (limit, at_limit) = (Limit::buffers(40), AtLimit::Wait);
    ClassPool::new(&ClassOptions { table, limit, at_limit, ..ClassOptions::default() }).unwrap()
}

#[test]
fn a_child_waits_for_no_lock_of_its_parent() {
    if cfg!(miri) {
        return;
    }
    for (name, hold) in LOCKS {
        let (pool, last) = (pool(), pool());
        drop(last.get(64).unwrap());
        let bufs: Vec<PooledBuf> =
            (0..40).map(|_| pool.get(64).unwrap()).chain([last.get(64).unwrap()]).collect();
        let mut waiting = Box::pin(pool.get_async(64));
        assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let ticker = pool.ticker(Duration::from_secs(1)).unwrap();
        let ((held, is_held), (go, wait)) = (channel(), channel::<()>());
        let of_both = [Arc::clone(pool.shared()), Arc::clone(last.shared())];
        let holder = thread::spawn(move || {
            hold(&of_both[0], &|| {
                hold(&of_both[1], &|| {
                    held.send(()).unwrap();
                    let _ = wait.recv();
                });
            });
        });
        is_held.recv().unwrap();
        let mut inherited = Some((last, Parents { waiting, bufs, ticker }));
        let status = in_child(|| {
            let (last, parents) = inherited.take().unwrap();
            use_and_drop(&pool, parents);
            drop(last);
        });
        drop(go);
        holder.join().unwrap();
        assert_eq!(status, 0, "the lock of the {name} was held");
    }
}
