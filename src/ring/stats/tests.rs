//! Checks what the right size promises: the same operations are never refused, neither by a pool of
//! that size nor by one of exactly the high water mark.

use proptest::prelude::*;
use slipring_test_support::random_runs;

use super::*;
use crate::machine::Topology;
use crate::machine::fake::topologies;
use crate::ring::options::Readers;
use crate::ring::tests::{CHUNK, MAX, Model, op, tiny, tiny_options};
use crate::ring::{Full, RingPool};

/// One operation opens at most one chunk, so a pool with more chunks than operations refuses none.
const OPERATIONS_MAX: usize = if cfg!(miri) { 60 } else { 160 };

/// The chunks opened, the waste, what is held at the end and what was refused. These are equal if
/// the same slices went into the same chunks.
fn outcome(options: &RingOptions, operations: &[(u8, u16, u16)]) -> (RingStats, RightSize) {
    let mut model = Model::over(RingPool::new(options).expect("a pool of the hinted size"));
    operations.iter().for_each(|&numbers| model.apply(op(numbers)));
    (model.pool.stats(), model.pool.right_size())
}

proptest! {
    #![proptest_config(random_runs())]

    #[test]
    fn a_pool_of_the_hinted_size_refuses_nothing(
        window in 2usize..40,
        operations in proptest::collection::vec(any::<(u8, u16, u16)>(), 1..OPERATIONS_MAX),
    ) {
        let base = tiny_options(OPERATIONS_MAX + 3, window, 2);
        let (seen, right) = outcome(&base, &operations);
        assert!(seen.refused_pool == 0 && !right.is_lower_bound, "the large pool holds everything");
        let bytes_max = 2 * (seen.high_water_bytes + 2 * CHUNK).max(8 * CHUNK);
        assert!(right.pool_bytes < bytes_max, "{right:?} for {seen:?}");
        // A pool of fewer than three chunks doesn't allow two pins.
        let bare = tiny_options((seen.high_water_bytes / CHUNK).max(3), 2, 2);
        for options in [right.options(&base), bare] {
            let (again, _) = outcome(&options, &operations);
            assert_eq!(again.refused_pool, 0, "{right:?} wasn't enough for {seen:?}: {again:?}");
            let [waste, waste_seen] = [again, seen].map(|stats| stats.tail_waste_bytes);
            assert_eq!(waste, waste_seen, "the same slices fell into other chunks");
            let figures =
                |stats: RingStats| (stats.refused_too_large, stats.released, stats.pinned_chunks);
            assert_eq!(figures(again), figures(seen));
        }
    }
}

/// Holds the last `held` slices of 1000 bytes, four per chunk, for some laps. Returns how often the
/// pool refused.
fn run_fifo(pool: &mut RingPool, held: i64) -> u64 {
    for _ in 0..held * 4 {
        if let Ok(slice) = pool.copy_in(&[7; 1000]) {
            let pushed = pool.push(slice).expect("its own pool");
            pool.release(pushed.sequence() - held);
        }
    }
    pool.stats().refused_pool
}

#[test]
fn the_hint_is_no_larger_than_it_has_to_be() {
    let base = tiny_options(64, 8, 0);
    let mut pool = RingPool::new(&base).unwrap();
    assert_eq!(run_fifo(&mut pool, 88), 0);
    let (stats, right) = (pool.stats(), pool.right_size());
    // 88 slices fill 22 chunks, and one more chunk is being written.
    let chunks = stats.high_water_bytes / CHUNK;
    assert_eq!(chunks, 23, "{stats:?}");
    // A burst doesn't widen the window. A window of eight chunks would double the default chunk.
    assert_eq!((right.pool_bytes, right.window_bytes), (32 * CHUNK, 7 * CHUNK));
    assert_eq!(
        (right.chunk_bytes, right.pinned_chunks_max, right.is_lower_bound),
        (CHUNK, 0, false)
    );
    assert_eq!(run_fifo(&mut tiny(chunks, 8, 0), 88), 0);
    assert_ne!(
        run_fifo(&mut tiny(chunks - 1, 8, 0), 88),
        0,
        "one chunk less would not have served"
    );
    assert!(right.to_string().contains("128 KiB with a window of 28 KiB"), "{right}");
}

#[test]
fn a_pool_that_was_full_gives_a_lower_bound() {
    let mut pool = tiny(4, 4, 1);
    assert_eq!(pool.right_size(), pool.right_size());
    assert!(!pool.right_size().is_lower_bound, "nothing was refused yet");
    assert!(matches!(pool.copy_in(&[1; MAX + 1]), Err(Full::TooLarge { .. })));
    assert!(!pool.right_size().is_lower_bound, "no pool of these chunks holds such a slice");
    assert_ne!(run_fifo(&mut pool, 100), 0);
    let right = pool.right_size();
    assert_eq!((right.pool_bytes, right.is_lower_bound), (4 * CHUNK, true));
    assert_eq!(pool.stats().high_water_bytes, right.pool_bytes, "all of it was in use");
    assert!(right.to_string().contains("more than a pool of 16 KiB would"), "{right}");
}

/// Everything but the named options is the default, on every machine.
#[test]
fn pool_and_window_alone_keep_the_default_chunk() {
    let (mut cases, mut smaller) = (0, 0);
    // Machines with one CPU: the number of CPUs makes no difference here.
    let topologies = if cfg!(miri) { vec![Topology::default()] } else { topologies() };
    for (at, topology) in
        topologies.iter().filter(|topology| topology.cpus().len() <= 1).enumerate()
    {
        for (pool_shift, max_slice_bytes) in (14..if cfg!(miri) { 17 } else { 31 })
            .flat_map(|shift| [64, 3000, 40_000, 300_000].map(|slice_bytes| (shift, slice_bytes)))
        {
            for window_bytes in
                [None, Some(96 << 10), Some(640 << 10), Some(1 << 20), Some(7 << 20)]
            {
                // An explicit window doesn't depend on the machine.
                if at > 0 && window_bytes.is_some() {
                    continue;
                }
                let bytes = (1usize << pool_shift) + (1 << (pool_shift - 2));
                let base =
                    RingOptions { bytes, max_slice_bytes, window_bytes, ..RingOptions::default() };
                for readers in [Readers::OwnCore, Readers::OtherCores] {
                    let (all, less) = keeps_the_chunk(&base, topology, readers);
                    (cases, smaller) = (cases + all, smaller + less);
                }
            }
        }
    }
    assert!(
        cases > if cfg!(miri) { 100 } else { 1000 } && smaller * 4 > cases,
        "{smaller} of {cases} cases hint at a smaller pool"
    );
}

/// The number of sizes that were checked, and how many of them were for a smaller pool.
fn keeps_the_chunk(base: &RingOptions, topology: &Topology, readers: Readers) -> (usize, usize) {
    let layout_of = |options: &RingOptions| options.layout_on(|| topology, readers);
    let Ok(layout) = layout_of(base) else { return (0, 0) };
    let (mut cases, mut smaller) = (0, 0);
    for busy in (1..=layout.chunks() as usize).step_by(1 + layout.chunks() as usize / 7) {
        let stats =
            RingStats { high_water_bytes: busy * layout.chunk_bytes(), ..RingStats::default() };
        let right = RightSize::of(&stats, &layout, 0);
        let (bytes, window_bytes) = (right.pool_bytes, Some(right.window_bytes));
        let again =
            layout_of(&RingOptions { bytes, window_bytes, ..base.clone() }).expect("it fits");
        assert_eq!(again.chunk_bytes(), layout.chunk_bytes(), "{right:?} from {layout:?}");
        assert!(again.chunks() as usize >= busy && right.pool_bytes <= layout.pool_bytes());
        assert!(layout_of(&right.options(base)).is_ok(), "{right:?}");
        cases += 1;
        smaller += usize::from(right.pool_bytes < layout.pool_bytes());
    }
    (cases, smaller)
}
