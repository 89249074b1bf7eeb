//! When memory is reclaimed, and when it isn't: what isn't pushed yet, what is retained, and both
//! reclaim policies; and the sizes that a lane recommends.

use super::{
    Outcome, Polled, StageSpec, Started, View, assert_holds, by_hand, done, is_filled, polled,
    publish, push_number, start, tiny_pool,
};
use crate::pipeline::{LaneSpec, Reclaim, Refused};
use crate::ring::{Full, RingOptions};

/// Some laps around the ring and the pool.
const MANY: u64 = if cfg!(miri) { 48 } else { 200 };

#[test]
fn a_slice_not_yet_pushed_when_its_chunk_closes_lives_for_ten_laps() {
    let (mut lane, [mut stage]) = by_hand(|spec| spec, ["a"]);
    let mut grant = lane.reserve(500).unwrap();
    grant.fill(0xA5);
    let early = grant.commit_all();
    let at = early.as_ptr();
    // Ten laps through all eight chunks of the pool, with three slices per chunk.
    for number in 0..10 * 8 * 3 {
        let mut grant = lane.reserve(1000).unwrap();
        grant.fill(number as u8);
        let slice = grant.commit_all();
        lane.publish(slice, number).unwrap();
        let seen = |view: View<'_, u64>| {
            assert!(is_filled(view.bytes(), *view.meta() as u8));
            Outcome::Done
        };
        assert_eq!(stage.poll(1, seen), Ok(Polled::Advanced(1)));
        assert!(is_filled(&early, 0xA5), "overwritten at event {number}");
    }
    assert_eq!(lane.stats().pool.blocked_by_owner, 1);
    lane.publish(early, 240).unwrap();
    let seen = |view: View<'_, u64>| {
        assert!(view.bytes().as_ptr() == at && is_filled(view.bytes(), 0xA5));
        Outcome::Done
    };
    assert_eq!(stage.poll(1, seen), Ok(Polled::Advanced(1)));
}

#[test]
fn on_consume_an_event_is_freed_as_soon_as_every_stage_has_passed_it() {
    let (mut lane, [mut first, mut last]) = by_hand(|spec| spec, ["a", "b"]);
    publish(&mut lane, 0..6);
    assert_eq!((polled(&mut first), lane.reclaim()), (Polled::Advanced(6), 0));
    assert_eq!((last.poll(2, done), lane.reclaim()), (Ok(Polled::Advanced(2)), 2));
    let stats = lane.stats();
    assert_eq!((stats.pool.released, stats.reclaimed, lane.free_slots()), (1, 2, 4));
    assert_eq!(
        (last.poll(9, done), lane.reclaim(), lane.reclaim()),
        (Ok(Polled::Advanced(4)), 4, 0)
    );
    assert_eq!(lane.stats().pool.released, 5);
}

#[test]
fn on_overwrite_an_event_is_freed_exactly_one_ring_later() {
    let (mut lane, [mut stage]) = by_hand(|spec| spec.reclaim(Reclaim::OnOverwrite), ["a"]);
    for number in 0..MANY {
        publish(&mut lane, [number]);
        assert_eq!(
            lane.stats().pool.released,
            (number as i64 - 8).max(-1),
            "its slot was overwritten, and not before"
        );
        assert_eq!((polled(&mut stage), lane.poll().reclaimed), (Polled::Advanced(1), 1));
        assert_eq!(
            lane.stats().pool.released,
            (number as i64 - 8).max(-1),
            "consuming frees nothing"
        );
    }
}

#[test]
fn on_overwrite_a_full_ring_of_the_largest_slices_never_fills_the_pool() {
    let (mut lane, [mut stage]) = by_hand(|spec| spec.reclaim(Reclaim::OnOverwrite), ["a"]);
    for number in 0..MANY {
        let slice = lane.reserve(1024).expect("the pool holds the ring").commit_all();
        lane.publish(slice, number).unwrap();
        if number % 8 == 7 {
            assert_eq!(stage.poll(8, |_| Outcome::Done), Ok(Polled::Advanced(8)));
        }
    }
}

#[test]
fn on_overwrite_larger_slices_than_were_promised_fill_the_pool_and_say_so() {
    let (mut lane, [mut stage]) = by_hand(|spec| spec.reclaim(Reclaim::OnOverwrite), ["a"]);
    // A whole chunk each, four times what the check of the sizes assumed.
    let mut count = 0;
    let full = loop {
        match lane.reserve_rest(1024) {
            Ok(grant) => {
                let slice = grant.commit_all();
                lane.publish(slice, count).expect("the ring isn't full before the pool");
                count += 1;
            }
            Err(full) => break full,
        }
    };
    assert_eq!((full, count), (Refused::Pool(Full::Pool { asked_bytes: 1024, chunks: 8 }), 8));
    assert_eq!(stage.poll(8, |_| Outcome::Done), Ok(Polled::Advanced(8)));
    lane.begin_close();
    assert_eq!(polled(&mut stage), Polled::Ended);
    assert!(lane.close(std::time::Duration::ZERO).is_drained(), "and the lane ends in good order");
}

#[test]
fn retained_handles_pin_their_chunk_and_are_capped() {
    let (mut lane, [mut stage]) = by_hand(|spec| spec, ["a"]);
    let mut retained = Vec::new();
    let (mut refused, mut next) = (0, 0);
    while next < MANY {
        publish(&mut lane, [next]);
        let retain = |view: View<'_, u64>| {
            match view.retain() {
                Ok(handle) => retained.push((handle, *view.meta())),
                Err(error) => {
                    assert_eq!(error.pinned_chunks_max, 2);
                    refused += 1;
                }
            }
            done(view)
        };
        assert_eq!(stage.poll(1, retain), Ok(Polled::Advanced(1)));
        lane.reclaim();
        retained.iter().for_each(|(handle, number)| assert_holds(handle, *number));
        next += 1;
    }
    assert!(refused > 0 && lane.stats().pool.pinned_chunks == 2);
    std::thread::spawn(move || drop(retained)).join().unwrap();
    assert_eq!(lane.stats().pool.pinned_chunks, 0);
    assert!(push_number(&mut lane, MANY).is_ok());
}

/// RingMemory that is released while a claim is open doesn't move the claim.
#[test]
fn a_claim_stays_valid_while_others_are_given_back() {
    let Started { mut lane, stages: _alive, .. } = start(4, vec![vec![StageSpec::inline("a")]]);
    let received = lane.reserve(200).unwrap().received(200).unwrap();
    let slice = lane.reserve(100).unwrap().commit_all();
    let mut claim = lane.claim(300).unwrap();
    let place = claim.as_ptr();
    claim.fill(7);
    drop((slice, received));
    claim[299] = 8;
    assert!(
        claim.as_ptr() == place && claim[..299].iter().all(|&byte| byte == 7) && claim[299] == 8
    );
    claim.truncate(299);
    claim.truncate(1000);
    assert_eq!((claim.len(), claim.push(1)), (299, 0));
    // A claim that isn't pushed has used up nothing.
    drop(lane.claim(64).unwrap());
    let claim = lane.claim(64).unwrap();
    assert_eq!(claim.publish(2), 1);
    assert_eq!(lane.stats().slots_in_use, 2);
}

const CHUNK: usize = 4096;

fn spec_of(pool: RingOptions, reclaim: Reclaim) -> LaneSpec {
    LaneSpec::new(pool, 8).reclaim(reclaim).layer([StageSpec::inline("a")])
}

#[test]
fn a_lane_of_the_hinted_size_serves_the_same() {
    for reclaim in [Reclaim::OnConsume, Reclaim::OnOverwrite] {
        let mut pool = RingOptions { bytes: 64 * CHUNK, ..tiny_pool() };
        for _ in 0..2 {
            let mut started: Started<u64> =
                spec_of(pool.clone(), reclaim).start().expect("the hint is accepted");
            let mut stage = started.stages.remove("a").expect("it was specified");
            for lap in 0..10 {
                publish(&mut started.lane, lap * 8..lap * 8 + 8);
                assert_eq!((polled(&mut stage), started.lane.reclaim()), (Polled::Advanced(8), 8));
            }
            let (stats, right) = (started.lane.stats(), started.lane.right_size());
            assert_eq!(
                (stats.pool.refused_pool, right.is_lower_bound, right.chunk_bytes),
                (0, false, CHUNK)
            );
            assert!(
                right.pool_bytes <= 16 * CHUNK && right.pool_bytes >= stats.pool.high_water_bytes,
                "{right:?}"
            );
            pool = right.options(&pool);
        }
    }
}

#[test]
fn on_overwrite_the_hint_is_at_least_what_start_asks_for() {
    // Eight slots of 1 KiB, three per chunk, two spare chunks and two that may be pinned: more than
    // a few small slices ever used.
    let (mut lane, [mut stage]) = by_hand(|spec| spec.reclaim(Reclaim::OnOverwrite), ["a"]);
    publish(&mut lane, [0]);
    assert_eq!((polled(&mut stage), lane.reclaim()), (Polled::Advanced(1), 1));
    let right = lane.right_size();
    assert_eq!((lane.stats().pool.high_water_bytes, right.pool_bytes), (CHUNK, 8 * CHUNK));
    let smaller = RingOptions { bytes: 4 * CHUNK, ..right.options(&tiny_pool()) };
    let refused = spec_of(smaller, Reclaim::OnOverwrite)
        .start::<u64>()
        .expect_err("it is too small for a ring");
    assert!(refused.to_string().contains("pool.bytes"), "{refused}");
}
