//! A real lane under ThreadSanitizer (`scripts/tsan`), and as an ordinary test with fewer events.
//!
//! ```text
//!            ┌▶ first: verifies, writes a column ──────────────┐
//! IO thread ─┤                                                 ├▶ last: reads ahead, verifies, reads the column
//!            └▶ keeper: verifies, retains one of 64 ─▶ holder ─┘  (and the lane's reclaimer behind it)
//! ```
//! There are four threads beside the IO thread. Slices travel only through the ring. A channel
//! carries the retained handles from the keeper to the holder. It orders what the keeper did before
//! what the holder does, and nothing in the other direction: the holder receives without blocking,
//! so that it never enters the list of waiting receivers, which a sender reads. So only the pins
//! order the holder's reads before the owner's next write, and a race on pool memory stays visible.

mod lane_feed;

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread;
use std::time::Duration;

use lane_feed::{feed, pool};
use slipring::pipeline::{
    ColumnReader, ColumnWriter, Held, Idle, Lane, LaneSpec, Outcome, Polled, PublishRefusal,
    Reclaim, Refused, SliceReader, SliceRing, Stage, StageSpec, View, Wait,
};
use slipring::ring::{Full, Retained, RingOptions};
use slipring_test_support::{
    Draw, check_payload, events, forbid_membarrier, payload_len, write_payload,
};

/// The number of tests in this file; they share the events among them.
const RUNS: u64 = 6;
const SLOTS: usize = 64;
/// Every event with a multiple of this number is retained.
const RETAIN: u64 = 64;
/// Handles and `Held`s that are alive at the same time, to be dropped in any order.
const KEPT: u64 = 6;

type Handle = (u64, Retained);

/// A pool with as few chunks as the policy allows, so that each is reused all the time.
fn smallest_pool(reclaim: Reclaim) -> RingOptions {
    match reclaim {
        Reclaim::OnConsume => pool(4),
        Reclaim::OnOverwrite => pool(28),
    }
}

fn spec(reclaim: Reclaim, wait: Wait) -> LaneSpec {
    let pool = smallest_pool(reclaim);
    let stage = |name| StageSpec::thread(name).wait(wait).batch(5);
    LaneSpec::new(pool, SLOTS)
        .reclaim(reclaim)
        .wait(wait)
        .layer([stage("first"), stage("keeper")])
        .layer([stage("last")])
}

/// What the first stage writes into its row for the last stage.
fn result(number: u64) -> [u64; 2] {
    [number, !number]
}

fn first(mut column: ColumnWriter<u64>) -> impl FnMut(View<'_, u64>) -> Outcome {
    move |view| {
        let number = *view.meta();
        check_payload(view.bytes(), number);
        column.row(&view).expect("its own column").copy_from_slice(&result(number));
        Outcome::Done
    }
}

fn keeper(handles: Sender<Handle>) -> impl FnMut(View<'_, u64>) -> Outcome {
    move |view| {
        let number = *view.meta();
        check_payload(view.bytes(), number);
        // At the limit of retained chunks nothing is retained: the holder is slow.
        if number.is_multiple_of(RETAIN)
            && let Ok(handle) = view.retain()
        {
            handles.send((number, handle)).expect("the holder receives until the end");
        }
        Outcome::Done
    }
}

/// Verifies handles and drops them in any order. Returns how many it received.
fn holder(handles: &Receiver<Handle>, seed: u64) -> u64 {
    let (mut draw, mut kept, mut taken) = (Draw::new(seed), VecDeque::<Handle>::new(), 0);
    loop {
        match handles.try_recv() {
            Ok((number, handle)) => {
                taken += 1;
                check_payload(&handle, number);
                kept.push_back((number, handle.clone()));
            }
            Err(TryRecvError::Empty) => thread::yield_now(),
            Err(TryRecvError::Disconnected) => return taken,
        }
        if draw.below(KEPT) < kept.len() as u64 {
            let (number, handle) =
                kept.swap_remove_back(draw.below(kept.len() as u64) as usize).expect("it is there");
            check_payload(&handle, number);
        }
    }
}

/// Reads ahead and releases in any order, until the lane ends. Returns how many events it saw.
fn last(mut stage: Stage<u64>, column: &ColumnReader<u64>, seed: u64) -> u64 {
    let (mut draw, mut helds, mut seen) = (Draw::new(seed), Vec::<Held<u64>>::new(), 0);
    loop {
        match stage.read(1 + draw.below(5) as usize).expect("no stage fails") {
            Some(held) => {
                seen += held.len() as u64;
                helds.push(held);
            }
            None if helds.is_empty() && stage.has_ended() => return seen,
            None if helds.is_empty() => stage.wait_for_work(),
            None => {}
        }
        if draw.below(KEPT) < helds.len() as u64 {
            let held = helds.swap_remove(draw.below(helds.len() as u64) as usize);
            for view in held.views() {
                check_payload(view.bytes(), *view.meta());
                assert_eq!(column.row(&view), Ok(&result(*view.meta())[..]));
            }
            stage.release(held).expect("its own");
        }
    }
}

fn run(reclaim: Reclaim, wait: Wait, seed: u64) {
    let events = events(20_000) / RUNS;
    let spec = spec(reclaim, wait);
    let (writer, reader) = spec.column("first", 2).expect("the stage was added");
    let mut started = spec.start::<u64>().expect("a small lane");
    let (sender, receiver) = channel();
    let holder = thread::spawn(move || holder(&receiver, seed));
    let mut take = |name| started.stages.remove(name).expect("it was specified");
    let (a, b, c) = (take("first"), take("keeper"), take("last"));
    let a = a.spawn(first(writer)).expect("a thread");
    let b = b.spawn(keeper(sender)).expect("a thread");
    let c = thread::spawn(move || last(c, &reader, seed + 1));
    let (mut draw, mut refusals) = (Draw::new(seed), [0; 2]);
    let other = |_: &Lane<u64>, full| {
        match full {
            Some(Refused::Ring { .. }) => refusals[0] += 1,
            Some(Refused::Pool(Full::Pool { .. })) => refusals[1] += 1,
            _ => assert_eq!(full, None),
        }
        false
    };
    feed(&mut started.lane, events, || 1 + draw.below(8), other);
    let stats = started.lane.stats();
    let report = started.lane.close(Duration::from_secs(60));
    assert!(report.is_drained() && report.published == events, "{report:?}");
    assert_eq!((a.join().processed, b.join().processed), (events, events));
    assert_eq!(c.join().expect("the last stage verified all"), events);
    let retained = holder.join().expect("the holder verified all");
    assert!(retained > 0, "no handle was ever retained");
    assert!(stats.stages.iter().all(|stage| stage.wakes_lost == 0), "{stats:#?}");
    println!(
        "{reclaim:?} {wait:?}: {events} events, {retained} retained, full (ring, pool) {refusals:?} times"
    );
}

#[test]
fn on_consume_parked() {
    run(Reclaim::OnConsume, Wait::Park, 1);
}

#[test]
fn on_consume_with_backoff() {
    run(Reclaim::OnConsume, Wait::Backoff, 2);
}

#[test]
fn on_overwrite_parked() {
    run(Reclaim::OnOverwrite, Wait::Park, 3);
}

#[test]
fn on_overwrite_with_backoff() {
    run(Reclaim::OnOverwrite, Wait::Backoff, 4);
}

/// Verifies every event in place, in batches of one to five. Returns how many there were.
fn read_slices(mut reader: SliceReader<u64>, seed: u64) -> u64 {
    let (mut draw, mut idle) = (Draw::new(seed), Idle::new(Wait::default()));
    loop {
        match reader
            .poll(1 + draw.below(5) as usize, |view| check_payload(view.bytes(), *view.meta()))
        {
            Polled::Ended => return reader.next_sequence() as u64,
            Polled::Idle => {
                idle.pass();
            }
            _ => idle.reset(),
        }
    }
}

/// Slices in the slots of a ring. The owner drops what it overwrites, two readers read the bytes,
/// and the last of the three to go drops the slots.
#[test]
fn slices_in_events() {
    let events = events(20_000) / RUNS;
    let (mut ring, readers) = SliceRing::<u64>::new(&smallest_pool(Reclaim::OnOverwrite), SLOTS, 2)
        .expect("a small ring");
    let threads: Vec<_> = readers
        .into_iter()
        .zip(6..)
        .map(|(reader, seed)| thread::spawn(move || read_slices(reader, seed)))
        .collect();
    let mut idle = Idle::new(Wait::default());
    for number in 0..events {
        let mut grant = ring.reserve(payload_len(number)).expect("the pool holds a ring");
        write_payload(&mut grant, number);
        let mut slice = grant.commit_all();
        while let Err(refused) = ring.publish(slice, number) {
            assert_eq!(refused.why, PublishRefusal::Full { slots: SLOTS });
            slice = refused.slice;
            idle.pass();
        }
        idle.reset();
    }
    drop(ring);
    threads
        .into_iter()
        .for_each(|thread| assert_eq!(thread.join().expect("a reader verified all"), events));
}

/// ThreadSanitizer sees neither fences nor membarriers. Only sleeping depends on them, no data
/// does.
#[test]
fn on_consume_parked_with_fences() {
    forbid_membarrier();
    run(Reclaim::OnConsume, Wait::Park, 5);
}
