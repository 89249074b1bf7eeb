//! Many pools on one thread, threads that end while others read their counts, and threads that stay
//! inside their bins.

use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use super::small;
use crate::class::shared::BinAt;
use crate::class::threads::with_bin;
use crate::class::{AtLimit, ClassPool, ClassStats, PooledBuf};

/// Every pool of a thread is found with a load and a comparison, whatever other pools there are.
#[test]
fn pools_of_a_thread_stay_near() {
    let counts: &[usize] = if cfg!(miri) { &[5] } else { &[2, 5, 9, 16] };
    for &count in counts {
        let mut pools: Vec<ClassPool> = (0..count).map(|_| small(10, AtLimit::Wait)).collect();
        // Other tests make pools at the same time: on a machine with many cores, more than there
        // are places.
        pools.retain(|pool| pool.shared().has_place());
        let both = |first: &ClassPool, second: &ClassPool| {
            drop((first.get(64).unwrap(), second.get(64).unwrap()));
            [first, second]
                .iter()
                .all(|pool| with_bin(pool.shared().id(), BinAt::of(0), |_| ()).is_some())
        };
        for (index, first) in pools.iter().enumerate() {
            assert!(
                pools[..index].iter().all(|second| both(first, second)),
                "two of {count} pools share a place"
            );
        }
    }
}

/// Counters of ended threads move from their bins to the registry. A reader sees them in exactly
/// one place at every moment.
#[test]
fn counters_never_go_back_while_threads_end() {
    let rounds = if cfg!(miri) { 5 } else { 300 };
    let pool = small(50, AtLimit::Wait);
    let (ended, all_ended) = channel::<()>();
    let theirs = pool.clone();
    let ending = thread::spawn(move || {
        for _ in 0..rounds {
            let pool = theirs.clone();
            let work =
                move || (0..100).for_each(|_| drop([pool.get(1).unwrap(), pool.get(2).unwrap()]));
            thread::spawn(work).join().unwrap();
        }
        drop(ended);
    });
    let mut before = ClassStats::default();
    while all_ended.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
        let now = pool.stats().classes[0];
        let counters = |class: &ClassStats| {
            [class.gets, class.puts, class.hits, class.misses, class.reused_bytes]
        };
        for (now, before) in counters(&now).into_iter().zip(counters(&before)) {
            assert!(now >= before, "a counter went from {before} back to {now}");
        }
        before = now;
    }
    ending.join().unwrap();
    assert_eq!(pool.stats().classes[0].gets, 200 * rounds);
}

/// An owner that lost its CPU inside its bin: others don't wait for it, and a waiter gets what the
/// owner puts in.
#[test]
fn an_owner_inside_its_bin_holds_up_no_thread() {
    let pool = small(1, AtLimit::Wait);
    let (theirs, id) = (pool.clone(), pool.shared().id());
    let ((inside, is_inside), (go, wait), (out, is_out)) = (channel(), channel::<()>(), channel());
    let (end, ending) = channel::<()>();
    let owner = thread::spawn(move || {
        drop(theirs.get(64).unwrap());
        with_bin(id, BinAt::of(0), |bin| {
            assert!(bin.occupy());
            inside.send(()).unwrap();
            let _ = wait.recv();
            bin.vacate();
        });
        out.send(()).unwrap();
        // Its bin holds the only buffer, and it doesn't use it any more.
        let _ = ending.recv();
    });
    is_inside.recv().unwrap();
    assert!(pool.try_get(64).is_err(), "the only buffer is out of reach");
    assert_eq!(pool.stats().classes[0].in_use, 0, "the statistics don't wait either");
    let theirs = pool.clone();
    let waits = thread::spawn(move || {
        drop(theirs.get_timeout(64, super::LONG).expect("a buffer of an idle thread"))
    });
    let mut task = Box::pin(pool.get_async(64));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(task.as_mut().poll(&mut context).is_pending());
    // Both wait, and both have looked into the bin in vain. A thread that came later would find it
    // open at its first look.
    while pool.stats().classes[0].waiting < 2 {
        thread::yield_now();
    }
    thread::sleep(Duration::from_millis(20));
    drop(go);
    is_out.recv().unwrap();
    // Either of the two may have come first.
    let buf = loop {
        if let std::task::Poll::Ready(buf) = task.as_mut().poll(&mut context) {
            break buf.unwrap();
        }
        thread::yield_now();
    };
    drop(buf);
    waits.join().unwrap();
    drop(end);
    owner.join().unwrap();
}

#[test]
fn an_async_wait_is_a_wait_and_no_refusal() {
    let pool = small(1, AtLimit::Wait);
    let held: PooledBuf = pool.get(64).unwrap();
    let mut task = Box::pin(pool.get_async(64));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(
        task.as_mut().poll(&mut context).is_pending()
            && task.as_mut().poll(&mut context).is_pending()
    );
    let class = pool.stats().classes[0];
    assert_eq!((class.waits, class.refusals, class.waiting), (1, 0, 1));
    drop(held);
    assert!(task.as_mut().poll(&mut context).is_ready());
    let refusing = small(1, AtLimit::Refuse);
    let _held = refusing.get(64).unwrap();
    assert!(Box::pin(refusing.get_async(64)).as_mut().poll(&mut context).is_ready());
    let class = refusing.stats().classes[0];
    assert_eq!((class.waits, class.refusals), (0, 1));
}
