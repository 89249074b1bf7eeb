//! Warm-up and shrinking, checked against the kernel's count of page faults.

use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use crate::class::{
    AtLimit, ClassError, ClassOptions, ClassPool, ClassTable, GetError, Limit, PooledBuf,
};
use crate::machine::page_bytes;
use crate::region::Pages;

const AFTER: Duration = Duration::from_secs(10);

/// One class, without bins: dropped buffers are in the store.
fn one_class(bytes: usize, limit: Limit) -> ClassPool {
    let table = ClassTable::new(&[bytes]).unwrap();
    ClassPool::new(&ClassOptions { table, limit, cache_bytes: 0, ..ClassOptions::default() })
        .unwrap()
}

#[test]
fn a_warm_up_makes_distinct_buffers_resident() {
    for (bytes, count) in [(64, 100), (2048, 7), (4160, 3), (1 << 20, 2)] {
        if cfg!(miri) && bytes * count > 16 << 10 {
            continue;
        }
        let pool = one_class(bytes, Limit::NONE);
        let report = pool.warm_up(count).unwrap();
        let class = report.classes[0];
        assert_eq!((class.asked, class.resident, class.touched), (count, count, count));
        assert!(
            report.to_string().contains(&format!("{count} of {count} buffers resident")),
            "{report}"
        );
        let faults = minor_faults();
        let mut all: Vec<PooledBuf> = (0..count).map(|_| pool.get(bytes).unwrap()).collect();
        all.iter_mut().for_each(|buf| buf.fill(1));
        if !cfg!(miri) {
            let pages = count * bytes / page_bytes();
            let more = minor_faults() - faults;
            assert!(
                more < 20 || more < pages / 2,
                "{more} page faults in {pages} pages that were warm"
            );
        }
        let mut places: Vec<usize> = all.iter().map(|buf| buf.as_ptr().addr()).collect();
        places.sort_unstable();
        assert!(places.windows(2).all(|pair| pair[0] + bytes <= pair[1]), "buffers overlap");
        let stats = pool.stats().classes[0];
        assert_eq!((stats.hits, stats.misses, stats.hit_rate()), (count as u64, 0, 1.0));
        assert_eq!(pool.warm_up(count).unwrap().classes[0].touched, 0, "those in use count");
    }
}

fn minor_faults() -> usize {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    after_name.split_whitespace().nth(7).and_then(|word| word.parse().ok()).unwrap_or(0)
}

#[test]
fn a_warm_up_stops_at_the_limit() {
    let pool = one_class(64, Limit::buffers(5));
    let class = pool.warm_up(9).unwrap().classes[0];
    assert_eq!((class.asked, class.resident, class.touched), (9, 5, 5));
    let wire = ClassPool::new(&ClassOptions {
        limit: Limit { bytes: 64 << 10, ..Limit::NONE },
        ..ClassOptions::default()
    });
    let residents: Vec<usize> =
        wire.unwrap().warm_up(3).unwrap().classes.iter().map(|class| class.resident).collect();
    assert_eq!(residents, [3, 3, 3, 3, 2, 1]);
}

#[test]
fn idle_buffers_give_their_pages_back() {
    let bytes = 2 * page_bytes();
    let pool = one_class(bytes, Limit::NONE);
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    assert_eq!(pool.tick(at(0)), 0);
    let mut bufs: Vec<PooledBuf> = (0..6).map(|_| pool.get(bytes).unwrap()).collect();
    bufs.iter_mut().for_each(|buf| buf.fill(7));
    bufs.truncate(2);
    assert_eq!(pool.tick(at(10)), 0, "they were needed in this period");
    assert_eq!(pool.tick(at(19)), 0);
    // In this period two of the four free ones were needed at a time.
    drop([pool.get(1).unwrap(), pool.get(1).unwrap()]);
    assert_eq!(pool.tick(at(20)), 2 * bytes);
    let class = pool.stats().classes[0];
    assert_eq!((class.resident, class.in_use, class.shrunk), (4, 2, 2));
    assert_eq!(pool.tick(at(30)), 2 * bytes);
    assert_eq!(pool.tick(at(40)), 0, "those in use stay");
    assert!(bufs.iter().all(|buf| buf.iter().all(|&byte| byte == 7)));
    // The next get is a miss, and its buffer has no old bytes.
    let again = pool.get(bytes).unwrap();
    assert!(again.iter().all(|&byte| byte == 0));
    assert_eq!(pool.stats().classes[0].misses, 7);
}

#[test]
fn what_threads_keep_shrinks_too() {
    let page = page_bytes();
    let table = ClassTable::new(&[page]).unwrap();
    let pool = ClassPool::new(&ClassOptions { table, ..ClassOptions::default() }).unwrap();
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    pool.tick(at(0));
    drop([pool.get(1).unwrap(), pool.get(1).unwrap()]);
    assert_eq!(pool.tick(at(10)), 0, "this thread has used them");
    assert_eq!(pool.tick(at(20)), 2 * page);
    assert_eq!(pool.stats().classes[0].resident, 0);
    drop(pool.get(1).unwrap());
}

/// Two buffers share a page, which is given back when both are idle.
#[test]
fn a_page_is_given_back_when_no_buffer_on_it_is_needed() {
    let pool = one_class(page_bytes() / 2, Limit::NONE);
    let start = Instant::now();
    let at = |periods: u32| start + AFTER * periods;
    let mut bufs: Vec<PooledBuf> = (0..4).map(|_| pool.get(page_bytes() / 2).unwrap()).collect();
    bufs.sort_by_key(|buf| buf.as_ptr().addr());
    bufs.iter_mut().for_each(|buf| buf.fill(3));
    let kept = bufs.swap_remove(0);
    drop(bufs);
    (0..3).for_each(|period| _ = pool.tick(at(period)));
    let class = pool.stats().classes[0];
    assert_eq!(
        (class.resident, class.shrunk),
        (2, 2),
        "the neighbour of a buffer in use keeps its page"
    );
    assert!(kept.iter().all(|&byte| byte == 3));
    drop(kept);
    // The other buffer on its page has been cold for a while.
    (3..6).for_each(|period| _ = pool.tick(at(period)));
    assert_eq!(pool.stats().classes[0].resident, 0);
}

#[test]
fn a_pool_that_keeps_everything_never_shrinks() {
    let pool = ClassPool::new(&ClassOptions {
        shrink_after: None,
        cache_bytes: 0,
        ..ClassOptions::default()
    })
    .unwrap();
    drop(pool.get(1).unwrap());
    let now = Instant::now();
    assert_eq!(
        [0, 100, 200].map(|seconds| pool.tick(now + Duration::from_secs(seconds))),
        [0, 0, 0]
    );
    assert_eq!(pool.stats().classes[0].resident, 1);
}

#[test]
fn a_ticker_ticks_until_it_or_the_pool_is_dropped() {
    let options = ClassOptions {
        shrink_after: Some(Duration::from_millis(1)),
        cache_bytes: 0,
        ..ClassOptions::default()
    };
    let pool = ClassPool::new(&options).unwrap();
    let ticker = pool.ticker(Duration::ZERO).unwrap();
    drop(pool.get(1).unwrap());
    while pool.stats().classes[0].resident > 0 {
        thread::yield_now();
    }
    drop(ticker);
    let ticker = pool.ticker(Duration::from_millis(1)).unwrap();
    drop(pool);
    drop(ticker);
}

#[test]
fn huge_classes_work() {
    if cfg!(miri) {
        return;
    }
    let options = ClassOptions {
        table: ClassTable::object(),
        pages: Pages::PreferThp,
        ..ClassOptions::default()
    };
    let pool = ClassPool::new(&options).unwrap();
    let start = Instant::now();
    let mut buf = pool.get((4 << 20) + 1).unwrap();
    assert_eq!(buf.capacity(), 16 << 20);
    buf[4 << 20] = 1;
    drop(buf);
    (0..3).for_each(|period| _ = pool.tick(start + AFTER * period));
    assert_eq!(pool.stats().classes[2].shrunk, 1);
}

/// More than the machine has: an error that names the limit, rather than a kill.
#[test]
fn a_class_that_no_memory_holds_is_an_error() {
    if cfg!(miri) {
        return;
    }
    let pool = one_class(1 << 30, Limit::NONE);
    let refused = pool.warm_up(100_000).unwrap_err();
    assert!(matches!(refused, ClassError::Region(_)), "{refused}");
    assert_eq!(pool.stats().classes[0].resident, 0);
    assert!(pool.get(1).is_ok(), "the pool still works");
}

/// As documented: while a tick holds the only buffer, a get that doesn't wait is refused, and one
/// that waits gets it.
#[test]
fn what_a_tick_holds_is_refused_or_waited_for() {
    for at_limit in [AtLimit::Refuse, AtLimit::Wait] {
        let table = ClassTable::new(&[64]).unwrap();
        let (limit, cache_bytes) = (Limit::buffers(1), 0);
        let pool = ClassPool::new(&ClassOptions {
            table,
            limit,
            at_limit,
            cache_bytes,
            ..ClassOptions::default()
        });
        let pool = pool.unwrap();
        drop(pool.get(1).unwrap());
        let class = &pool.shared().classes[0];
        let (warm, neighbours) = class.store.move_out_idle(1, class.slabs.unit_bytes());
        assert!(matches!(pool.try_get(1), Err(GetError::Exhausted { .. })));
        let waits = (at_limit == AtLimit::Wait).then(|| {
            let theirs = pool.clone();
            let waits = thread::spawn(move || theirs.get(1).map(drop));
            while pool.stats().classes[0].waiting == 0 {
                thread::yield_now();
            }
            waits
        });
        pool.shared().after_unlock(class, class.store.move_in(Vec::new(), warm, neighbours));
        assert!(waits.is_none_or(|waits| waits.join().unwrap().is_ok()));
        drop(pool.get(1).unwrap());
    }
}

/// The warm-up asks for more than the class may have, while another thread gets buffers.
#[test]
fn a_warm_up_beyond_the_limit_ends_while_others_get() {
    for _ in 0..if cfg!(miri) { 1 } else { 400 } {
        let buffers = if cfg!(miri) { 8 } else { 1000 };
        let pool = one_class(64, Limit::buffers(buffers));
        let (going, seen) = channel();
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut held = Vec::with_capacity(buffers);
                for number in 0..buffers {
                    held.extend(pool.try_get(64).ok());
                    if number == buffers / 10 {
                        going.send(()).unwrap();
                    }
                }
            });
            seen.recv().unwrap();
            let warm = pool
                .warm_up(1_000_000_000)
                .expect("there is memory for all that the class may have");
            assert!(warm.classes[0].resident <= buffers, "{warm:?}");
        });
    }
}
