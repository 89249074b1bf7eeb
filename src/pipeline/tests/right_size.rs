//! What the lane says would have served it, on both reclaim policies.

use super::{by_hand, polled, publish, tiny_pool};
use crate::pipeline::{LaneSpec, Polled, Reclaim, StageSpec, Started};
use crate::ring::RingOptions;

const CHUNK: usize = 4096;

fn spec(pool: RingOptions, reclaim: Reclaim) -> LaneSpec {
    LaneSpec::new(pool, 8).reclaim(reclaim).layer([StageSpec::inline("a")])
}

#[test]
fn a_lane_of_the_hinted_size_serves_the_same() {
    for reclaim in [Reclaim::OnConsume, Reclaim::OnOverwrite] {
        let mut pool = RingOptions { bytes: 64 * CHUNK, ..tiny_pool() };
        for _ in 0..2 {
            let mut started: Started<u64> =
                spec(pool.clone(), reclaim).start().expect("the hint is accepted");
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
    // Eight slots of 1 KiB, three a chunk, two chunks to spare and two that may be pinned: more
    // than a few small slices ever used.
    let (mut lane, [mut stage]) = by_hand(|spec| spec.reclaim(Reclaim::OnOverwrite), ["a"]);
    publish(&mut lane, [0]);
    assert_eq!((polled(&mut stage), lane.reclaim()), (Polled::Advanced(1), 1));
    let right = lane.right_size();
    assert_eq!((lane.stats().pool.high_water_bytes, right.pool_bytes), (CHUNK, 8 * CHUNK));
    let smaller = RingOptions { bytes: 4 * CHUNK, ..right.options(&tiny_pool()) };
    let refused =
        spec(smaller, Reclaim::OnOverwrite).start::<u64>().expect_err("it is too small for a ring");
    assert!(refused.to_string().contains("pool.bytes"), "{refused}");
}
