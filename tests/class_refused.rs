//! Class pools in a process that forbids itself `membarrier(2)` after it has registered for it.
//! Getters at the limit still get what other threads keep.

use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use slipring::class::{AtLimit, ClassOptions, ClassPool, ClassTable, Limit, PooledBuf};

use slipring_test_support::forbid_membarrier;

/// Long enough that only a starved getter waits so long.
const LONG: Duration = slipring_test_support::patience(20);

/// One class of 64 bytes.
fn small(buffers: usize, at_limit: AtLimit) -> ClassPool {
    let table = ClassTable::new(&[64]).unwrap();
    ClassPool::new(&ClassOptions {
        table,
        limit: Limit::buffers(buffers),
        at_limit,
        ..ClassOptions::default()
    })
    .unwrap()
}

#[test]
fn what_an_idle_thread_keeps_is_used_without_the_barrier() {
    for at_limit in [AtLimit::Wait, AtLimit::Refuse] {
        let pool = small(2, at_limit);
        let ((ready, is_ready), (go, wait)) = (channel(), channel::<()>());
        let theirs = pool.clone();
        let keeper = thread::spawn(move || {
            drop([(); 2].map(|()| theirs.get(64).unwrap()));
            ready.send(()).unwrap();
            let _ = wait.recv();
        });
        is_ready.recv().unwrap();
        let getter = thread::spawn(move || {
            forbid_membarrier();
            let both = [(); 2].map(|()| pool.get_timeout(64, LONG));
            assert!(
                both.iter().all(Result::is_ok),
                "{at_limit:?}: {both:?}, though two buffers are free"
            );
        });
        let got = getter.join();
        drop(go);
        keeper.join().unwrap();
        got.expect("the getter is served");
    }
}

/// As `many_threads_share_few_buffers` of the unit tests: emptying threads that can only nap never
/// share a buffer with its owner.
#[test]
fn threads_share_few_buffers_without_the_barrier() {
    let pool = small(3, AtLimit::Wait);
    let threads: Vec<_> = (0..5_u8)
        .map(|mine| {
            let pool = pool.clone();
            thread::spawn(move || {
                forbid_membarrier();
                for _ in 0..100 {
                    let mut buf: PooledBuf =
                        pool.get_timeout(64, LONG).expect("a wake-up was lost");
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
    assert_eq!(pool.stats().classes[0].in_use, 0);
}
