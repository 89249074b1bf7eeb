//! Every interleaving of a stage, the holder of a retained handle and the owner of the pool.
//!
//! Two things are replaced: the stages' cursor by an atomic of loom, and the bytes of the slice by
//! a cell of loom, which reports every pair of accesses that nothing orders.

use std::rc::Rc;
use std::sync::Arc;

use super::Pins;
use crate::region::Pages;
use crate::ring::layout::RingSpan;
use crate::ring::memory::Retained;
use crate::ring::{Full, RingOptions, RingPool};
use crate::sync::model::{UnsafeCell, model, thread};
use crate::sync::{AtomicU32, Ordering};

const CHUNK: u32 = 0;

/// One slice in one chunk, published before the threads start.
struct LaneModel {
    pins: Pins,
    /// The number of events that every stage has released.
    cursor: AtomicU32,
    bytes: UnsafeCell<()>,
}

impl LaneModel {
    fn new() -> Rc<Self> {
        Rc::new(Self {
            pins: Pins::new(2, 1),
            cursor: AtomicU32::new(0),
            bytes: UnsafeCell::new(()),
        })
    }

    fn read(&self) {
        self.bytes.with(|_| ());
    }

    /// A stage releases: SYNC S2.
    fn release(&self) {
        self.cursor.store(1, Ordering::Release);
    }

    /// What a lane's reclaiming and `Owner::blocked` do: writes to the bytes if their chunk is
    /// free.
    fn reuse(&self) -> bool {
        let released = self.cursor.load(Ordering::Acquire) == 1;
        let free = released && !self.pins.is_pinned(CHUNK);
        if free {
            self.bytes.with_mut(|_| ());
        }
        free
    }
}

#[test]
fn loom_a_handle_pins_its_chunk_until_another_thread_drops_it() {
    model(|| {
        let lane = LaneModel::new();
        let holder = {
            let lane = Rc::clone(&lane);
            move || {
                lane.read();
                lane.pins.unpin(CHUNK);
            }
        };
        let stage = thread::spawn({
            let lane = Rc::clone(&lane);
            move || {
                lane.read();
                assert!(lane.pins.pin(CHUNK));
                let holder = thread::spawn(holder);
                lane.release();
                holder.join().expect("the holder ends");
            }
        });
        let reused = lane.reuse() || lane.reuse();
        stage.join().expect("the stage ends");
        assert!(reused || lane.reuse(), "a chunk without a hold is free");
    });
}

#[test]
fn loom_a_clone_on_another_thread_pins_the_chunk() {
    model(|| {
        let lane = LaneModel::new();
        assert!(lane.pins.pin(CHUNK));
        lane.release();
        let there = thread::spawn({
            let lane = Rc::clone(&lane);
            lane.pins.pin_again(CHUNK);
            move || {
                lane.pins.pin_again(CHUNK);
                lane.pins.unpin(CHUNK);
                lane.read();
                lane.pins.unpin(CHUNK);
            }
        });
        let here = thread::spawn({
            let lane = Rc::clone(&lane);
            move || {
                lane.read();
                lane.pins.unpin(CHUNK);
            }
        });
        let reused = lane.reuse();
        there.join().expect("the one ends");
        here.join().expect("the other ends");
        assert!(reused || lane.reuse());
        assert_eq!(lane.pins.pinned(), 0);
    });
}

/// Pins `chunk` if the cap allows it; the cap holds at every moment that can be seen.
fn pin_and_unpin(pins: &Pins, chunk: u32) -> bool {
    let pinned = pins.pin(chunk);
    assert!(pins.pinned() <= pins.pinned_max(), "{} chunks are pinned", pins.pinned());
    if pinned {
        assert!(pins.is_pinned(chunk));
        pins.unpin(chunk);
    }
    pinned
}

fn contend(cap: u32, chunks: [u32; 2]) {
    let pins = Rc::new(Pins::new(2, cap));
    let other = thread::spawn({
        let pins = Rc::clone(&pins);
        move || pin_and_unpin(&pins, chunks[1])
    });
    let this = pin_and_unpin(&pins, chunks[0]);
    let other = other.join().expect("the other ends");
    assert!(this || other, "the cap has room for one");
    assert!(cap < 2 || this && other, "the cap has room for both");
    assert_eq!(pins.pinned(), 0, "a unit leaked");
    for chunk in [0, 1] {
        assert!(pin_and_unpin(&pins, chunk), "nothing is pinned any more");
    }
}

#[test]
fn loom_the_cap_holds_for_two_chunks() {
    model(|| contend(1, [0, 1]));
}

/// Two threads pin the same chunk, the only one that may be pinned: the second thread needs no
/// unit, whenever it comes.
fn share(cap: u32) {
    let pins = Rc::new(Pins::new(2, cap));
    let other = thread::spawn({
        let pins = Rc::clone(&pins);
        move || assert!(pins.pin(CHUNK), "the chunk is pinned, or the cap has room for it")
    });
    assert!(pins.pin(CHUNK), "the chunk is pinned, or the cap has room for it");
    other.join().expect("the other ends");
    assert!(pins.pinned() == 1 && pins.is_pinned(CHUNK));
    pins.unpin(CHUNK);
    assert!(pins.pinned() == 1 && pins.is_pinned(CHUNK), "one of two handles is left");
    pins.unpin(CHUNK);
    assert!(pins.pinned() == 0 && !pins.is_pinned(CHUNK), "a unit or a pin leaked");
    assert!(pin_and_unpin(&pins, 1), "nothing is pinned any more");
}

#[test]
fn loom_a_chunk_that_is_being_pinned_is_granted_at_the_cap() {
    model(|| share(1));
}

/// Both may get a unit for the same first pin. The second one returns its unit.
#[test]
fn loom_a_race_for_the_first_pin_takes_one_unit() {
    model(|| share(2));
}

/// A chunk that is unpinned while another thread pins it either stays pinned or is pinned anew.
#[test]
fn loom_the_cap_holds_for_one_chunk() {
    model(|| contend(1, [CHUNK, CHUNK]));
}

/// Two threads ask for one chunk, and none may be pinned: both are refused, and no count is left.
#[test]
fn loom_at_a_cap_of_none_both_are_refused() {
    model(|| {
        let pins = Rc::new(Pins::new(1, 0));
        let other = thread::spawn({
            let pins = Rc::clone(&pins);
            move || assert!(!pins.pin(CHUNK))
        });
        assert!(!pins.pin(CHUNK));
        other.join().expect("the other ends");
        assert!(pins.pinned() == 0 && !pins.is_pinned(CHUNK));
    });
}

/// A pool of two chunks of 4 KiB.
fn pool() -> RingPool {
    let options = RingOptions {
        bytes: 2 * 4096,
        max_slice_bytes: 2048,
        chunk_bytes: Some(4096),
        window_bytes: Some(2 * 4096),
        pages: Pages::Small,
        ..RingOptions::default()
    };
    RingPool::new(&options).expect("two chunks")
}

/// The same with the real pool and real handles: only the cursor and the tracked cell belong to the
/// model.
#[test]
fn loom_the_real_pool_waits_for_a_handle() {
    model(|| {
        let mut pool = pool();
        let slice = pool.copy_in(&[7; 64]).expect("an empty pool");
        let span: RingSpan = pool.push_span(slice).expect("its own slice");
        let [first, second, third] = [(); 3]
            .map(|()| pool.copy_in(&[0; 2048]).expect("one in the first chunk, two in the second"));
        let lane = LaneModel::new();
        let stage = thread::spawn({
            let (lane, memory) = (Rc::clone(&lane), Arc::clone(pool.memory()));
            move || {
                lane.read();
                let retained = Retained::new(&memory, span).expect("the cap has room");
                let holder = thread::spawn({
                    let lane = Rc::clone(&lane);
                    move || {
                        assert_eq!(retained[..], [7; 64]);
                        lane.read();
                        drop(retained);
                    }
                });
                lane.release();
                holder.join().expect("the holder ends");
            }
        });

        drop(first);
        let mut reuse = || {
            pool.release(i64::from(lane.cursor.load(Ordering::Acquire)) - 1);
            let found = pool.copy_in(&[9; 2048]);
            assert!(!matches!(found, Err(Full::TooLarge { .. })));
            // The second chunk is held, so a new slice can only be in the first.
            let reused = found.is_ok();
            if reused {
                lane.bytes.with_mut(|_| ());
            }
            reused
        };
        let reused = reuse() || reuse();
        stage.join().expect("the stage ends");
        assert!(reused || reuse(), "a chunk without a hold is free");
        drop((second, third));
    });
}
