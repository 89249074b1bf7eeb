//! The IO thread doesn't allocate once its lane runs. A counting allocator watches it through full
//! rings, full pools, chunk switches, inline stages, events read ahead, retained handles and
//! sleeps. (Other threads may allocate: each thread has its own count.)
#![allow(unsafe_code)]

mod lane_feed;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, RefCell};
use std::hint::black_box;
use std::rc::Rc;
use std::time::Duration;

use lane_feed::{feed, pool};
use slipring::pipeline::{Lane, LaneSpec, Outcome, Refused, Stage, StageSpec, View, Wait};
use slipring::ring::{Full, Retained};
use slipring_test_support::{Draw, check_payload, events};

thread_local! {
    /// Allocations and deallocations of this thread.
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    CALLS.set(CALLS.get() + 1);
}

struct Counting;

// SAFETY: I90. The system's allocator keeps the contract of the trait, and all calls go to it
// unchanged.
unsafe impl GlobalAlloc for Counting {
    // SAFETY: I90. The caller's promises are passed on.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: I90. The arguments are the caller's.
        unsafe { System.alloc(layout) }
    }

    // SAFETY: I90. The caller's promises are passed on.
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count();
        // SAFETY: I90. The arguments are the caller's.
        unsafe { System.dealloc(at, layout) }
    }

    // SAFETY: I90. The caller's promises are passed on.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: I90. The arguments are the caller's.
        unsafe { System.alloc_zeroed(layout) }
    }

    // SAFETY: I90. The caller's promises are passed on.
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count();
        // SAFETY: I90. The arguments are the caller's.
        unsafe { System.realloc(at, layout, bytes) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SLOTS: usize = 64;
const RETAIN: u64 = 64;

/// The pool has 16 KiB, less than a ring of payloads. So the pool runs full, and also the ring when
/// payloads are small.
fn spec() -> LaneSpec {
    LaneSpec::new(pool(4), SLOTS)
        .wait(Wait::Park)
        .layer([StageSpec::inline("retain").batch(7), StageSpec::thread("verify").wait(Wait::Park)])
        .layer([StageSpec::inline("ahead")])
}

/// Reads ahead twice and releases in reverse order. Returns whether there was an event.
fn read_ahead(stage: &mut Stage<u64>) -> bool {
    let first = stage.read(5).expect("no stage fails");
    let second = stage.read(5).expect("no stage fails");
    let any = first.is_some();
    for held in [second, first].into_iter().flatten() {
        held.views().for_each(|view| check_payload(view.bytes(), *view.meta()));
        stage.release(held).expect("its own");
    }
    any
}

#[test]
fn the_counter_counts() {
    let before = CALLS.get();
    drop(black_box(Box::new(1)));
    assert_eq!(CALLS.get() - before, 2);
}

#[test]
fn the_io_thread_does_not_allocate() {
    let mut started = spec().start::<u64>().expect("a small lane");
    let mut lane = started.lane;
    let mut take = |name| started.stages.remove(name).expect("it was specified");
    let (retain, verify, mut ahead) = (take("retain"), take("verify"), take("ahead"));
    // Keeps the last two handles: each is dropped when the next but one comes.
    let kept: Rc<RefCell<[Option<Retained>; 2]>> = Rc::default();
    let keep = Rc::clone(&kept);
    let retain_some = move |view: View<'_, u64>| {
        let number = *view.meta();
        if number.is_multiple_of(RETAIN)
            && let Ok(handle) = view.retain()
        {
            keep.borrow_mut()[(number / RETAIN % 2) as usize] = Some(handle);
        }
        Outcome::Done
    };
    lane.attach(retain, retain_some).expect("it is inline");
    let verify = verify.spawn(|view| {
        check_payload(view.bytes(), *view.meta());
        Outcome::Done
    });
    let (mut draw, refusals) = (Draw::new(7), [const { Cell::new(0u64) }; 2]);
    let mut pass = |events| {
        let other = |_: &Lane<u64>, full| {
            match full {
                Some(Refused::Ring { .. }) => refusals[0].set(refusals[0].get() + 1),
                Some(Refused::Pool(Full::Pool { .. })) => refusals[1].set(refusals[1].get() + 1),
                _ => assert_eq!(full, None),
            }
            read_ahead(&mut ahead)
        };
        feed(&mut lane, events, || 1 + draw.below(12), other);
    };
    let events = events(100_000);
    // In the first laps, lists of events read ahead grow to their final size.
    pass(40 * SLOTS as u64);
    let before = CALLS.get();
    // On a busy machine the stages may be too slow, or too fast, to fill both in one pass.
    let both_were_full = || refusals.iter().all(|times| times.get() > 10);
    for _ in 0..20 {
        pass(events);
        if both_were_full() {
            break;
        }
    }
    let calls = CALLS.get() - before;
    assert!(both_were_full(), "full (ring, pool) {refusals:?} times");
    assert_eq!(calls, 0, "calls of the allocator on the IO thread in {events} events or more");
    lane.begin_close();
    while !ahead.has_ended() {
        lane.poll();
        read_ahead(&mut ahead);
    }
    assert!(kept.borrow().iter().any(Option::is_some), "nothing was retained");
    assert!(lane.close(Duration::from_secs(60)).is_drained());
    assert_eq!(verify.expect("a thread").join().error, None);
}
