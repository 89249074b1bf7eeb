//! A forked child has copies of what its parent had, and one thread. What it makes itself works.
//! What its parent made never blocks, whatever other threads of the parent did at the fork
//! (`src/class/tests/fork.rs` holds each lock).

use std::time::{Duration, Instant};

use slipring::class::{
    self, AtLimit, ClassError, ClassOptions, ClassPool, ClassTable, GetError, Limit, PooledBuf,
};

use slipring_test_support::in_child;

/// One class of 64 bytes.
fn small(buffers: usize) -> ClassPool {
    let table = ClassTable::new(&[64]).unwrap();
    ClassPool::new(&ClassOptions {
        table,
        limit: Limit::buffers(buffers),
        ..ClassOptions::default()
    })
    .unwrap()
}

/// Everything that a pool does, from its beginning to its end.
fn lives(pool: ClassPool) {
    pool.warm_up(3).unwrap();
    let bufs: Vec<PooledBuf> = (0..50).map(|_| pool.get(1000).unwrap()).collect();
    let theirs = pool.clone();
    std::thread::spawn(move || {
        drop(bufs.into_iter().chain([theirs.get(1).unwrap()]).collect::<Vec<_>>())
    })
    .join()
    .unwrap();
    drop(pool.get(1 << 20).unwrap());
    let stats = pool.stats();
    assert_eq!(
        (stats.classes[0].gets, stats.classes[0].in_use, stats.direct.puts),
        (51, 0, 1),
        "{stats}"
    );
    let start = Instant::now();
    assert!(
        (0..3).map(|period| pool.tick(start + Duration::from_secs(10 * period))).sum::<usize>() > 0
    );
    drop(pool.ticker(Duration::from_millis(1)).unwrap());
    pool.reset_stats();
    assert_eq!(pool.stats().classes[0].gets, 0);
}

#[test]
fn a_pool_of_the_parents_gives_copies_and_then_refuses() {
    let pool = ClassPool::new(&ClassOptions::default()).unwrap();
    let mut held = pool.get(100).unwrap();
    held.fill(1);
    drop(pool.get(100).unwrap());
    let status = in_child(|| {
        held.fill(2);
        let mut kept = pool.get(100).expect("one is in the thread's bin");
        kept.fill(3);
        assert_eq!(pool.get(3000).unwrap_err(), GetError::Forked);
        assert_eq!(pool.warm_up(1).unwrap_err(), ClassError::Forked);
        assert_eq!(pool.tick(Instant::now()), 0);
        drop(kept);
    });
    assert_eq!(status, 0, "the child's checks failed");
    assert!(held.iter().all(|&byte| byte == 1), "the child wrote into the parent's buffer");
    // The parent's pool still works.
    drop(held);
    assert_eq!(pool.get(3000).unwrap().len(), 3000);
    assert_eq!(pool.stats().classes[0].in_use, 0);
}

#[test]
fn a_child_zeroes_its_own_copy() {
    let pool = small(9);
    let mut held = pool.get(64).unwrap();
    held.fill(1);
    held.zero_on_drop();
    let at = held.as_ptr();
    let status = in_child(|| {
        drop(held);
        let again = pool.get(64).expect("it went to the thread's bin");
        assert!(again.as_ptr() == at && again[..] == [0; 64]);
    });
    assert_eq!(status, 0, "the child's checks failed");
}

#[test]
fn a_pool_that_the_child_makes_works() {
    let before = small(9);
    drop(before.get(1).unwrap());
    let status = in_child(|| {
        lives(ClassPool::new(&ClassOptions::default()).unwrap());
        let own = small(1);
        let grandchild = in_child(|| {
            assert_eq!(own.get(1).unwrap_err(), GetError::Forked);
            lives(ClassPool::new(&ClassOptions::default()).unwrap());
        });
        assert_eq!(grandchild, 0, "the grandchild's checks failed");
        drop(own.get(1).unwrap());
    });
    assert_eq!(status, 0, "the child's checks failed");
}

#[test]
fn the_plain_functions_work_in_a_child() {
    let theirs = class::get(100).unwrap();
    let pool = class::default_pool();
    let status = in_child(|| {
        class::warm_up(2).unwrap();
        assert!(!std::ptr::eq(class::default_pool(), pool), "the child's pool is another");
        let bufs: Vec<PooledBuf> = (0..50).map(|_| class::get(3000).unwrap()).collect();
        assert_eq!((class::stats().classes[1].in_use, class::stats().classes[0].gets), (50, 0));
        drop((bufs, theirs));
        class::reset_stats();
        assert_eq!(class::stats().classes[1].gets, 0);
    });
    assert_eq!(status, 0, "the child's checks failed");
    assert!(std::ptr::eq(class::default_pool(), pool));
    drop(class::get(3000).unwrap());
}

#[test]
fn a_threads_bins_end_with_the_child() {
    let pool = small(50);
    drop((0..32).map(|_| pool.get(1).unwrap()).collect::<Vec<_>>());
    let held: Vec<PooledBuf> = (0..10).map(|_| pool.get(1).unwrap()).collect();
    assert_eq!(in_child(|| drop((held, pool))), 0, "the child's thread ended badly");
    assert_eq!(in_child(|| ()), 0, "handles and buffers may be left to the end");
}

#[test]
fn direct_buffers_are_freed_in_the_child() {
    let table = ClassTable::new(&[64]).unwrap();
    let (limit, at_limit) = (Limit::buffers(1), AtLimit::Fresh);
    let pool = ClassPool::new(&ClassOptions { table, limit, at_limit, ..ClassOptions::default() })
        .unwrap();
    let pooled = pool.get(1).unwrap();
    let (fresh, large) = (pool.get(1).unwrap(), pool.get(100_000).unwrap());
    assert!(fresh.is_direct() && large.is_direct());
    let in_no_pool = PooledBuf::direct(100_000).unwrap();
    let status = in_child(|| {
        drop((fresh, large));
        drop(pool.get(100_000).unwrap());
        let direct = pool.stats().direct;
        assert_eq!((direct.gets, direct.puts, direct.in_use), (3, 3, 0));
        drop(in_no_pool);
        drop(PooledBuf::direct(100_000).unwrap());
        drop((pooled, pool));
    });
    assert_eq!(status, 0, "the child's checks failed");
}

#[test]
fn a_ticker_of_the_parents_is_dropped_in_the_child() {
    let pool = small(9);
    let ticker = pool.ticker(Duration::from_millis(1)).unwrap();
    assert_eq!(
        in_child(|| drop((ticker, pool))),
        0,
        "the child waited for a thread that it doesn't have"
    );
}
