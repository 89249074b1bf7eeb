//! A forked child has a copy of a lane, without the threads of its stages. The child may end its
//! copy in any way, and the parent's lane goes on.
#![allow(unsafe_code)]

use std::os::fd::AsRawFd;
use std::time::Duration;

use slipring::pipeline::{
    Lane, LaneSpec, Outcome, PanicPolicy, Polled, Stage, StageSpec, StageThread,
};
use slipring::ring::RingOptions;
use slipring_test_support::in_child;

const LONG: Duration = Duration::from_secs(60);

/// Three layers: an attached stage, a stage on a thread, and a stage that the test polls.
fn lane(policy: PanicPolicy) -> (Lane<u64>, StageThread, Stage<u64>) {
    let pool = RingOptions { bytes: 1 << 20, max_slice_bytes: 512, ..RingOptions::default() };
    let layers =
        [StageSpec::inline("first"), StageSpec::thread("second"), StageSpec::inline("third")];
    let spec = layers
        .into_iter()
        .fold(LaneSpec::new(pool, 64), |spec, stage| spec.layer([stage]))
        .on_panic(policy);
    let mut started = spec.start::<u64>().expect("a small lane");
    let [first, second, third] = ["first", "second", "third"]
        .map(|name| started.stages.remove(name).expect("it was specified"));
    started.lane.attach(first, |_| Outcome::Done).expect("it is inline");
    let second = second.spawn(|_| Outcome::Done).expect("a thread");
    (started.lane, second, third)
}

fn publish(lane: &mut Lane<u64>, request: u64) {
    let mut claim = lane.claim(8).expect("there is room");
    claim.copy_from_slice(&request.to_le_bytes());
    claim.publish(request);
    lane.poll();
}

#[test]
fn a_child_ends_its_copy_and_the_parent_goes_on() {
    for policy in [PanicPolicy::Poison, PanicPolicy::Detach, PanicPolicy::Abort] {
        let (mut lane, second, mut third) = lane(policy);
        (0..10).for_each(|request| publish(&mut lane, request));
        // In `Option`s, so that the child can move its own copies out.
        let (mut lane, mut third) =
            (Some(lane), Some(third.poll(5, |_| Outcome::Done).map(|_| third).expect("it lives")));
        for way in 0..4 {
            let status = in_child(|| {
                let mut lane = lane.take().expect("a lane");
                assert!(lane.stats().published >= 10 && lane.failure().is_none());
                match way {
                    0 => drop(lane),
                    1 => {
                        publish(&mut lane, 99);
                        let report = lane.close(Duration::from_millis(20));
                        assert!(
                            report.late.contains(&"second".to_owned()),
                            "its thread isn't here: {report:?}"
                        );
                    }
                    2 => {
                        // The handle first, as an early return may do. Under Abort that would end
                        // the child.
                        if policy != PanicPolicy::Abort {
                            drop(third.take());
                        }
                        lane.poll();
                        drop(lane);
                    }
                    _ => lane.begin_close(),
                }
            });
            assert_eq!(status, 0, "{policy:?}, way {way}");
        }
        let (mut lane, mut third) = (lane.take().expect("a lane"), third.take().expect("a stage"));
        (10..20).for_each(|request| publish(&mut lane, request));
        lane.begin_close();
        let mut seen = Vec::new();
        while third.poll(100, |view| {
            seen.push(*view.meta());
            Outcome::Done
        }) != Ok(Polled::Ended)
        {
            lane.poll();
        }
        assert!(lane.close(LONG).is_drained());
        assert_eq!(second.join().processed, 20);
        assert!(seen.is_sorted() && seen.last() == Some(&19), "{seen:?}");
    }
}

/// Parent and child share the descriptor. A child that cleared it would lose its parent's wake-up.
#[test]
fn a_child_loses_no_wake_up_of_its_parents() {
    let (mut lane, second, third) = lane(PanicPolicy::Poison);
    let is_readable = |lane: &Lane<u64>| {
        let mut entry =
            libc::pollfd { fd: lane.wake_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: I92. One entry, which outlives the call.
        (unsafe { libc::poll(&raw mut entry, 1, 0) }) == 1
    };
    // A failure wakes a thread that has prepared to sleep.
    assert!(lane.prepare_sleep(true), "there is nothing to do");
    drop(third);
    assert!(is_readable(&lane));
    assert_eq!(in_child(|| lane.awake()), 0);
    assert!(is_readable(&lane), "the child has cleared it");
    assert_eq!(in_child(|| assert!(!lane.prepare_sleep(false), "it is poisoned")), 0);
    lane.awake();
    assert!(!is_readable(&lane));
    drop(lane);
    assert_eq!(second.join().error, None, "nothing was published");
}
